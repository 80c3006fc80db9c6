"""The page of `segpipe serve`, in Chromium: every way to give a picture, and what comes back."""

import base64
import io
import re

import numpy as np
import pytest
import served
from PIL import Image
from served import DARK_BLUE, GREEN, RED, png

PICTURE = {
    "name": "a.png",
    "mimeType": "image/png",
    "buffer": png([[RED, (200, 100, 100)], [GREEN, DARK_BLUE]]),
}
DROP = """([name, type, data, count]) => {
  const transfer = new DataTransfer()
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0))
  for (let i = 0; i < (count ?? 1); i++) transfer.items.add(new File([bytes], name, { type }))
  const how = { dataTransfer: transfer, bubbles: true, cancelable: true }
  document.body.dispatchEvent(new DragEvent("drop", how))
}"""
PIXELS = """() => {
  const canvas = document.getElementById("canvas")
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
}"""


@pytest.fixture
def visited(visit, server):
    return visit(server.get("/").url)


def choose(page, picture=PICTURE):
    page.set_input_files("#file", picture)
    page.wait_for_selector("#result:visible, #said:text-matches('expected|reached')")


def pixels(page):
    return np.array(page.evaluate(PIXELS)).reshape(2, 2, 4)[..., :3].tolist()


def strengthen(page, value):
    page.locator("#strength").fill(str(value))


def tab_to(page, name):
    """Press Tab until an element has the focus."""
    while page.evaluate("document.activeElement.id") != name:
        page.keyboard.press("Tab")


def text(page, selector):
    return page.locator(selector).inner_text().replace("\xa0", " ")


def test_a_dropped_picture_comes_back_with_its_shares(visited):
    data = base64.b64encode(PICTURE["buffer"]).decode()
    visited.page.evaluate(DROP, ["a.png", "image/png", data])
    visited.page.wait_for_selector("#result:visible")
    rows = [
        row.inner_text().replace("\xa0", " ").split("\t")
        for row in visited.page.locator("#shares tr").all()
    ]
    assert rows == [["red", "50.0 %"], ["green", "25.0 %"], ["blue", "25.0 %"]]
    sure = (255 + 200 + 255 + 51) / 4 / 255
    assert text(visited.page, "#confidence") == f"Mean confidence: {sure:.1%}.".replace("%", " %")
    assert (text(visited.page, "#name"), visited.complaints) == ("a.png", [])


def test_the_slider_goes_from_the_picture_to_the_mask(visited):
    choose(visited.page)
    strengthen(visited.page, 0)
    assert pixels(visited.page) == [[[*RED], [200, 100, 100]], [[*GREEN], [*DARK_BLUE]]]
    strengthen(visited.page, 100)
    assert pixels(visited.page) == [[[255, 0, 0], [255, 0, 0]], [[0, 255, 0], [0, 0, 255]]]
    strengthen(visited.page, 50)
    assert np.abs(np.array(pixels(visited.page)[0][1]) - (227.5, 50, 50)).max() <= 2


def test_a_click_tells_the_class_and_the_confidence_of_the_pixel(visited):
    choose(visited.page)
    box = visited.page.locator("#canvas").bounding_box()
    for row, column, said in ((0, 1, "red, confidence 78.4 %"), (1, 1, "blue, confidence 20.0 %")):
        place = {"x": (column + 0.5) * box["width"] / 2, "y": (row + 0.5) * box["height"] / 2}
        visited.page.locator("#canvas").click(position=place)
        assert text(visited.page, "#pixel") == f"Row {row}, column {column}: {said}."


def test_the_keyboard_is_enough(visited):
    page = visited.page
    page.on("filechooser", lambda chooser: chooser.set_files(PICTURE))
    tab_to(page, "choose")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:visible")
    tab_to(page, "canvas")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert text(page, "#pixel") == "Row 0, column 0: red, confidence 100.0 %."
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert page.locator("#strength").input_value() == "100"
    page.keyboard.press("Tab")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "a.png"
    assert np.asarray(Image.open(download.value.path())).tolist() == [[1, 1], [2, 3]]


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_window_needs_no_scrolling_aside_in_light_and_dark(visit, server, dark):
    visited = visit(server.get("/").url, width=400, dark=dark)
    wide = io.BytesIO()
    Image.new("RGB", (1000, 300), "blue").save(wide, "PNG")
    choose(visited.page, PICTURE | {"buffer": wide.getvalue(), "name": f"{'long' * 30}.png"})
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= 400
    ground = visited.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    assert visited.complaints == []


def luminance(colour):
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    channels = np.array([int(c) / 255 for c in re.findall(r"\d+", colour)[:3]])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("dark", [False, True])
def test_texts_and_buttons_stand_out_in_light_and_dark(visit, server, dark):
    page = visit(server.get("/").url, dark=dark).page
    choose(page)
    style = "([selector, what]) => getComputedStyle(document.querySelector(selector))[what]"
    body = page.evaluate(style, ["body", "backgroundColor"])
    for selector in ("h1", ".soft", "#said", "caption", "th", "td", "#choose", "#download"):
        colour, own = (page.evaluate(style, [selector, what]) for what in ("color", "backgroundColor"))
        ground = body if own == "rgba(0, 0, 0, 0)" else own
        darker, lighter = sorted(map(luminance, (colour, ground)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"WCAG's contrast, of {selector}"
    assert (luminance(body) < 0.1) == dark


@pytest.mark.slow
def test_the_page_asks_its_own_server_alone_and_says_when_that_is_gone(visit, model):
    with served.serving(model) as own:
        visited = visit(own.get("/").url)
        choose(visited.page)
    asked = [url for url in visited.requests if not url.startswith(("data:", "blob:"))]
    assert asked and all(url.startswith(own.address) for url in asked)
    choose(visited.page)
    assert text(visited.page, "#said").startswith("The server cannot be reached")


def test_a_broken_file_is_told_in_a_sentence_and_the_next_picture_is_shown(visited):
    choose(visited.page, PICTURE | {"buffer": PICTURE["buffer"][:50], "name": "cut.png"})
    assert text(visited.page, "#said").startswith("cut.png: an unreadable image")
    assert not visited.page.locator("#result").is_visible()
    choose(visited.page)
    assert (text(visited.page, "#name"), text(visited.page, "#said")) == ("a.png", "")


def test_markup_in_a_name_stays_text(visited):
    name = "<script>alert(1)<img src=x onerror=alert(2)>.png"
    dialogs = []
    visited.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    choose(visited.page, PICTURE | {"name": name})
    assert text(visited.page, "#name") == name
    choose(visited.page, PICTURE | {"name": name, "buffer": b"no picture"})
    assert text(visited.page, "#said").startswith(f"{name}: no image format")
    assert visited.page.locator("img, main script").count() == 0
    assert (dialogs, [said for said in visited.complaints if "422" not in said]) == ([], [])


def test_a_format_that_browsers_do_not_know_shows_the_mask_alone(visited):
    tiff = io.BytesIO()
    Image.new("RGB", (2, 2), "lime").save(tiff, "TIFF")
    choose(visited.page, PICTURE | {"buffer": tiff.getvalue(), "name": "a.tif"})
    assert "you see the mask alone" in text(visited.page, "#said")
    strengthen(visited.page, 100)
    assert pixels(visited.page) == [[[0, 255, 0]] * 2] * 2


def test_a_foreign_picture_has_a_remark(visited):
    deep = io.BytesIO()
    Image.fromarray(np.full((2, 2), 65535, np.uint16)).save(deep, "PNG")
    choose(visited.page, PICTURE | {"buffer": deep.getvalue()})
    assert text(visited.page, "#remark").startswith("The model may not know such pictures: uint16")


def test_the_token_is_asked_for_once(visit, strict):
    page = visit(strict.get("/").url).page
    page.set_input_files("#file", PICTURE)
    page.fill("#token", "sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:visible")
    choose(page, PICTURE | {"name": "b.png"})
    assert (text(page, "#name"), page.locator("#ask").is_visible()) == ("b.png", False)


def test_the_camera_gives_a_picture(visited):
    visited.page.click("#camera")
    visited.page.click("#take")
    visited.page.wait_for_selector("#result:visible")
    assert text(visited.page, "#name") == "camera.jpg"
    assert visited.page.evaluate("document.getElementById('video').srcObject") is None


def test_a_camera_that_is_on_is_not_opened_again(visited):
    visited.page.evaluate("""() => {
      const media = navigator.mediaDevices, open = media.getUserMedia.bind(media)
      window.streams = []
      media.getUserMedia = async (how) => { const s = await open(how); streams.push(s); return s }
      element("camera").click()
      element("camera").click()
    }""")
    visited.page.click("#close")
    tracks = "streams.map((s) => s.getTracks()[0].readyState)"
    assert visited.page.evaluate(tracks) == ["ended"]
    visited.page.click("#camera")
    visited.page.click("#take")
    visited.page.wait_for_selector("#result:visible")
    assert visited.page.evaluate(tracks) == ["ended", "ended"]


def test_an_answer_that_is_not_the_server_s_is_told_with_its_status(visited):
    page = visited.page
    page.route("**/predict*", lambda route: route.fulfill(status=413, body="<html>too large</html>"))
    page.set_input_files("#file", PICTURE)
    page.wait_for_selector("#said:text-matches('413')")
    assert text(page, "#said").startswith("No answer of segpipe came back (status 413)")


def test_a_token_that_no_header_can_hold_is_told_as_such(visit, strict):
    page = visit(strict.get("/").url).page
    page.set_input_files("#file", PICTURE)
    page.fill("#token", "zażółć")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said:text-matches('ASCII')")
    page.fill("#token", "sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:visible")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "No file was dropped"), (3, "Only the first of 3 files was sent.")]
)
def test_a_drop_of_no_file_or_of_several_is_told(visited, count, said):
    data = base64.b64encode(PICTURE["buffer"]).decode()
    visited.page.evaluate(DROP, ["a.png", "image/png", data, count])
    visited.page.wait_for_selector(f"#said:text-matches('{said}')")
