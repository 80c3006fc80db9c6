"""The page of suspects: what its pictures show, and that a browser shows all of it."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import PETS, plain_params
from PIL import Image
from scipy import ndimage

from segpipe.common.codec import encode_png
from segpipe.label import page
from segpipe.label.quality import Judgement
from segpipe.label.suspects import Suspect
from segpipe.preprocess.intensity import RGB_OF_8_BITS
from segpipe.report import grids

SIZE = (1200, 1600)
REGION = slice(500, 620), slice(300, 500)  # 120 rows, 200 columns


def judgement():
    """A mask that says pet where the model is sure of the background."""
    mask = np.ones(SIZE, np.uint8)
    mask[REGION] = 0
    every = np.ones(SIZE, np.float32)
    return Judgement(mask, every, np.ones(SIZE, np.uint8), every)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page on one picture of noise, and that picture."""
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    sample = {"name": b"large", "image": encode_png(picture)}
    seen = SimpleNamespace(bands="rgb", levels=RGB_OF_8_BITS)
    judge = SimpleNamespace(
        predictor=SimpleNamespace(input=seen, classes=PETS), splits={"large": "test"}
    )
    share = 120 * 200 / (1200 * 1600)
    box = (500, 300, 120, 200)
    suspect = Suspect("large", "test", 0.1, "pet", 0.2, 1, "pet", "background", share, 0.983, box)
    folder = tmp_path_factory.mktemp("page") / "suspects"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "judged", lambda *_: iter([(sample, judgement())]))
        page.write([suspect], ["1 mask judged"], [judge], plain_params().report, folder)
    return folder, picture


def test_the_region_is_shown_pixel_by_pixel_in_a_closed_outline(written):
    """A quarter of its edges is shown round it: 180 x 300 px from row 470, column 250."""
    folder, picture = written
    with Image.open(folder / "figures/suspect-1-region.png") as opened:
        shown = np.asarray(opened.convert("RGB"))
    expected = picture[470:650, 250:550].copy()
    ring = np.zeros((180, 300), bool)
    ring[29, 50:250] = ring[150, 50:250] = ring[30:150, 49] = ring[30:150, 250] = True
    expected[ring] = grids.CRIMSON
    top, left = (shown.shape[0] - 180) // 2, (shown.shape[1] - 300) // 2
    assert min(top, left) >= 0, "the figure is at least as large as the part"
    np.testing.assert_array_equal(shown[top : top + 180, left : left + 300], expected)
    crimson = (shown == grids.CRIMSON).all(-1)
    _, parts = ndimage.label(crimson, np.ones((3, 3)))
    assert parts == 1
    assert ndimage.binary_fill_holes(crimson).sum() == ring.sum() + 120 * 200


def test_the_captions_name_the_share_of_the_region_on_one_line(written):
    """120 x 200 of 1200 x 1600 pixels are 1.25 %."""
    folder, _ = written
    text = (folder / "index.html").read_text()
    assert (
        "with 98\N{NO-BREAK SPACE}%, on 1.2\N{NO-BREAK SPACE}% of the picture (framed: 200 x 120" in text
    )
    assert "The region in large, 1.2\N{NO-BREAK SPACE}% of the picture, pixel by pixel." in text
    assert " %" not in text


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_without_a_network_shows_the_page(written, visit, width):
    folder, _ = written
    visited = visit(folder / "index.html", width)
    loaded = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
    assert visited.page.evaluate(loaded) == visited.page.evaluate("document.images.length") == 2
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert visited.complaints == []
