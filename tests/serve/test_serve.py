"""`segpipe serve`: what it answers, what it refuses, and how it stops. Servers are real, on loopback."""

import asyncio
import base64
import contextlib
import io
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import unquote

import numpy as np
import psutil
import pytest
import requests
import served
import tifffile
from helpers import ROOT, environment, error_line, run
from PIL import Image
from pycocotools import mask as coco
from rasterio.io import MemoryFile
from served import BLUE, DARK_BLUE, GREEN, RED, png
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from segpipe.common.errors import UserError
from segpipe.common.parallel import usable_cores
from segpipe.common.profile import Mark, Profile, reference
from segpipe.fetch.jpeg import scans
from segpipe.fetch.sample import BadSampleError
from segpipe.serve import answers
from segpipe.serve.app import create_app
from segpipe.serve.callers import refusal
from segpipe.serve.model import Picture, Prediction, Served, load
from segpipe.serve.requests import Room, Upload, read, result_within, uploads
from segpipe.serve.settings import Settings, is_loopback, token

PICTURE = png([[RED, RED, GREEN, DARK_BLUE]])


def test_json_tells_shares_run_lengths_and_confidence_worked_out_by_hand(server):
    answer = server.predict(PICTURE)
    assert answer.headers["content-type"] == "application/json"
    (found,) = answer.json()["pictures"]
    assert (found["name"], found["height"], found["width"], found["remark"]) == ("a.png", 1, 4, "")
    assert {one["name"]: one["share"] for one in found["classes"]} == {
        "red": 0.5,
        "green": 0.25,
        "blue": 0.25,
    }
    assert [(one["value"], one["colour"]) for one in found["classes"]] == [
        (1, "#ff0000"), (2, "#00ff00"), (3, "#0000ff")
    ]  # fmt: skip
    decoded = [coco.decode(one["rle"]).tolist() for one in found["classes"]]
    assert decoded == [[[1, 1, 0, 0]], [[0, 0, 1, 0]], [[0, 0, 0, 1]]]
    assert found["confidence"] == pytest.approx((3 + 51 / 255) / 4)
    assert "mask" not in found


def test_maps_add_the_mask_and_the_confidence_of_each_pixel(server):
    (found,) = server.predict(PICTURE, query="?maps=true").json()["pictures"]
    mask, confidences = (
        Image.open(io.BytesIO(base64.b64decode(found[name]))) for name in ("mask", "confidences")
    )
    assert np.asarray(mask).tolist() == [[1, 1, 2, 3]]
    assert np.asarray(mask.convert("RGB")).tolist() == [[[*RED], [*RED], [*GREEN], [*BLUE]]]
    assert np.asarray(confidences).tolist() == [[255, 255, 255, 51]]


def test_the_mask_is_the_file_that_predict_writes_and_the_overlay_is_half_and_half(server):
    mask = server.predict(PICTURE, headers={"Accept": "image/png"})
    assert mask.headers["content-type"] == "image/png"
    assert np.asarray(Image.open(io.BytesIO(mask.content))).tolist() == [[1, 1, 2, 3]]
    grey = png(np.full((16, 16, 3), (100, 100, 99)))
    answer = server.predict(grey, headers={"Accept": "image/jpeg"})
    overlay = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert overlay.shape == (16, 16, 3)
    assert np.abs(overlay.mean((0, 1)) - (177.5, 50, 49.5)).max() < 2


@pytest.mark.parametrize(
    ("asked", "accept", "expected"),
    [
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, "image/*", "png"),
        (None, "text/html, image/jpeg;q=0.9, */*;q=0.1", "overlay"),
        (None, "image/png;q=0, image/jpeg", "overlay"),
        (None, "image/png;q=0.5;x=1, image/jpeg ; Q=0.6", "overlay"),
        (None, "image/jpeg;eq=0;q=0.9, image/png;q=0.8", "overlay"),
        (None, "image/png;q=\xb2, image/jpeg;q=0.9", "png"),
        (None, "image/png;q=0, image/*", "overlay"),
        (None, "application/json;q=0, */*", "png"),
        (None, "application/json;q=0.1, */*;q=0.5", "png"),
        (None, "image/jpeg;q=0.5,", "overlay"),
        ("png", "application/json", "png"),
    ],
)
def test_the_query_or_else_accept_chooses_the_format(asked, accept, expected):
    assert answers.chosen_format(asked, accept, 1) == expected


def test_several_headers_accept_count_as_one(server):
    lines = ["POST /predict HTTP/1.1", "Host: localhost", "Connection: close", "Accept: text/html"]
    lines += ["Accept: image/png", "Content-Type: multipart/form-data; boundary=B"]
    assert b"content-type: image/png" in sent(server, lines, served.form(PICTURE))


def sent(server, lines, body=b""):
    """Send a request of these lines; return the whole answer."""
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head + body)
        with connection.makefile("rb") as file:
            return file.read()


def test_several_pictures_come_as_json_in_their_order_and_as_nothing_else(server):
    pictures = [("b.png", png([[GREEN]])), ("a.png", png([[RED, RED]]))]
    found = server.predict(*pictures).json()["pictures"]
    assert [(one["name"], one["width"]) for one in found] == [("b.png", 1), ("a.png", 2)]
    refused = server.predict(*pictures, query="?format=png")
    assert (refused.status_code, refused.json()["detail"]) == (
        406, "2 pictures, and image/png holds one; ask for application/json"
    )  # fmt: skip


def in_16_bits():
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 2), 65535, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def test_grey_alpha_and_16_bits_are_read_as_predict_reads_them(server):
    alpha = io.BytesIO()
    Image.new("RGBA", (2, 2), (0, 0, 255, 0)).save(alpha, "PNG")
    for data, name in ((png([[7, 7]]), "red"), (in_16_bits(), "red"), (alpha.getvalue(), "blue")):
        (found,) = server.predict(data).json()["pictures"]
        assert {one["name"] for one in found["classes"] if one["share"]} == {name}


def test_foreign_pictures_are_remarked_and_requests_are_counted(server):
    before = numbers(server)
    found = server.predict(PICTURE, in_16_bits()).json()["pictures"]
    assert [one["remark"] for one in found] == [
        "", "uint16, and the model was trained on 8 bits; taken as 0 to 65535"
    ]  # fmt: skip
    server.predict(b"no picture")
    server.get("/no/such/path")
    more = {name: value - before.get(name, 0) for name, value in numbers(server).items()}
    assert more["segpipe_pictures_total"] == 2
    assert more["segpipe_foreign_pictures_total"] == 1
    assert more['segpipe_requests_total{path="/predict",status="200"}'] == 1
    assert more['segpipe_requests_total{path="/predict",status="422"}'] == 1
    assert more['segpipe_requests_total{path="other",status="404"}'] == 1
    assert more['segpipe_request_seconds_count{path="/predict"}'] == 2


def numbers(server):
    lines = [line for line in server.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_card_and_the_interface_can_be_read(server):
    assert server.get("/model").json() == served.card()
    interface = server.get("/openapi.json").json()
    assert {"/predict", "/model", "/health", "/metrics"} == {*interface["paths"]}
    answers_ = interface["paths"]["/predict"]["post"]["responses"]
    assert {*answers_} >= {"200", "401", "408", "413", "415", "422", "429", "503"}
    assert {*answers_["200"]["content"]} == {"application/json", "image/png", "image/jpeg"}


def claimed(width, height):
    """A PNG of a few bytes that claims to be large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def animation():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "changes", "said"),
    [
        pytest.param(
            png([[RED] * 9]),
            {"tiles": {"scale": 0.3, "margin": 0.0, "keep_empty": 1.0}},
            "a.png: 9x1 px, less than one at scale 0.3; expected a larger picture",
            id="less than a pixel",
        ),
        pytest.param(
            in_16_bits(),
            {"intensity": [[10, 20]] * 3},
            "a.png: a picture of uint16; expected uint8, as the file takes it; "
            "`segpipe predict` takes others",
            id="more bits than the range",
        ),
    ],
)
def test_a_picture_that_the_file_would_take_wrongly_is_refused(tmp_path, data, changes, said):
    path = served.write_model(tmp_path / "model.onnx", served.card(**changes))
    with pytest.raises(BadSampleError) as error:
        load(path).read(Upload("a.png", data), 100)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        pytest.param(b"", 422, "an empty file", id="empty"),
        pytest.param(b"hello", 422, "no image format", id="text"),
        pytest.param(PICTURE[:50], 422, "unreadable image", id="cut"),
        pytest.param(animation(), 422, "an animation: holds 2 frames", id="animated"),
        pytest.param(claimed(6000, 5000), 413, "30.0 million pixels", id="large"),
        pytest.param(
            claimed(2**31 - 1, 2**31 - 1), 413, "expected 25 million pixels at most", id="bomb"
        ),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_with_a_sentence(server, data, status, said):
    answer = server.predict(("../../bad.png", data))
    detail = answer.json()["detail"]
    assert (answer.status_code, detail.startswith("bad.png: ")) == (status, True), detail
    assert said in detail
    assert "/" not in detail.replace("RGB/", "") and "Traceback" not in detail


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(server):
    large = b"0" * 33_000_000
    assert server.predict(large).status_code == 413
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    head = b'--B\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n'
    in_parts = (part for part in [head] + 33 * [b"0" * 1_000_000])
    answer = requests.post(f"{server.address}/predict", data=in_parts, headers=kind, timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (
        413, "a body of more than 32 MB; send fewer or smaller pictures"
    )  # fmt: skip


def test_bodies_without_pictures_are_refused(server):
    post, url = server.client.post, f"{server.address}/predict"
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    found = {
        "raw": post(url, data=PICTURE).status_code,
        "field": post(url, files={"x": (None, "text")}).status_code,
        "broken": post(url, data=b"no form", headers=form).status_code,
        "no boundary": post(url, data=b"", headers={"Content-Type": "multipart/form-data"}).status_code,
        "17 files": server.predict(*[PICTURE] * 17).status_code,
        "unknown format": server.predict(PICTURE, query="?format=bmp").status_code,
    }
    assert found == {
        "raw": 415, "field": 400, "broken": 400, "no boundary": 400, "17 files": 400,
        "unknown format": 422
    }  # fmt: skip


def test_an_edge_that_the_graph_cannot_hold_is_refused():
    """Four times that of a square of the most pixels."""
    tiles = {"resize": "tiles", "tiles": {"scale": 1.0, "margin": 0.25, "keep_empty": 1.0}}
    for of in (served.card(), served.card(**tiles)):
        model = Served(of, lambda images: (images[..., 0], images[..., 0]))
        picture = model.read(Upload("a.png", png(np.zeros((1, 400, 3)))), 10_000)
        assert picture.seen.shape == (1, 400, 3)
        with pytest.raises(HTTPException) as refused:
            model.read(Upload("a.png", png(np.zeros((401, 1, 3)))), 10_000)
        assert (refused.value.status_code, refused.value.detail) == (
            413, "a.png: an edge of 401 px; expected 400 at most; cut it into parts"
        )  # fmt: skip


def of_many_scans(extra):
    """A progressive JPEG of 8 x 8 grey pixels, whose last scan comes some more times."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    return data[:-2] + extra * data[data.rindex(b"\xff\xda") : -2] + data[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(server):
    own = scans(of_many_scans(0))
    assert (own, scans(of_many_scans(7)), scans(PICTURE)) == (6, 13, 0)
    assert server.predict(of_many_scans(100 - own)).status_code == 200
    refused = server.predict(of_many_scans(101 - own))
    assert (refused.status_code, refused.json()["detail"]) == (
        413, "a.png: a progressive JPEG of more than 100 scans; expected fewer; save it anew"
    )  # fmt: skip


def test_a_tiff_around_such_a_jpeg_is_refused_too(server):
    def wrapped(jpeg):
        entries = [(256, 8), (257, 8), (258, 8), (259, 7), (262, 1), (273, 122), (277, 1), (278, 8)]
        entries.append((279, len(jpeg)))
        tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        return b"II*\x00" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4) + jpeg

    assert server.predict(wrapped(of_many_scans(3))).status_code == 200
    refused = server.predict(wrapped(of_many_scans(95)))
    assert refused.status_code == 422
    assert "a TIFF with a progressive JPEG of more than 100 scans" in refused.json()["detail"]


def banded(count):
    """A TIFF of these bands, a pixel's side by side."""
    buffer = io.BytesIO()
    pixels = np.zeros((4, 6, count), np.uint8)
    tifffile.imwrite(buffer, pixels, photometric="minisblack", planarconfig="contig", metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("bands", "data", "said"),
    [
        pytest.param(
            "rgb", banded(5), "5 bands that are no RGB; expected grey or RGB, as the model takes",
            id="five of RGB",
        ),
        pytest.param(
            [1, 9], PICTURE, "3 bands in the file; expected 9 at least, as the model's bands say",
            id="three of nine",
        ),
    ],
)  # fmt: skip
def test_a_picture_of_other_bands_is_refused_with_those_of_the_model(tmp_path, bands, data, said):
    of = served.card(bands=bands)
    path = served.write_model(tmp_path / "model.onnx", of)
    with served.in_this_process(create_app(load(path), Settings(model=path))) as address:
        answer = asked(address, data)
    assert (answer.status_code, answer.json()["detail"]) == (422, f"a.png: {said}")


SLOW = """
import sys, time
from segpipe import cli
from segpipe.serve.model import Served
Served.predict = lambda self, picture: time.sleep(60)
cli.main()
"""


def test_ctrl_c_ends_it_while_a_picture_is_being_predicted(model):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "serve", str(model), "--port", "0", "--timeout", "0.5"],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    address = re.search(r"http://\S+", process.stdout.readline()).group()
    server = served.Server(process, address)
    assert server.predict(PICTURE).status_code == 503
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "undefined", "punycode"])
def test_a_form_is_read_as_utf_8_whatever_its_charset(server, charset):
    body = served.form(PICTURE).replace(b"a.png", "\\ud800+2AA-é.png".encode())
    kind = f"multipart/form-data; charset={charset}; boundary=B"
    answer = server.client.post(f"{server.address}/predict", data=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["pictures"][0]["name"]) == (200, "ud800+2AA-é.png")


def test_a_form_without_its_end_is_refused_whatever_came_of_it(server):
    part = served.form(PICTURE).removesuffix(b"--B--\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    post, url = server.client.post, f"{server.address}/predict"
    for body in (part, part + part[:-10], part[:-10]):
        refused = post(url, data=body, headers=kind)
        assert (refused.status_code, refused.json()["detail"]) == (
            400, "the form ends before its closing boundary; send the whole body"
        )  # fmt: skip
    other = served.form(PICTURE).replace(b"filename=", b"filename*=UTF-8''")
    refused = post(url, data=other, headers=kind)
    assert (refused.status_code, refused.json()["detail"]) == (
        400, "a part with filename*=; expected filename= (RFC 7578, 4.2)"
    )  # fmt: skip


def test_head_is_answered_where_get_is(server):
    for path in ("/", "/page.js", "/health", "/model", "/metrics", "/openapi.json"):
        head = server.client.head(server.address + path)
        assert (head.status_code, head.content) == (200, b""), path


def test_each_refusal_is_a_sentence_in_json(server, strict):
    assert server.get("/no/such").json()["detail"].startswith("no such path here; expected one of /, ")
    refused = server.get("/predict")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["detail"] == "GET is not answered here; expected POST"
    broken = sent(server, ["POST /predict"])
    assert broken.startswith(b"HTTP/1.1 400 ") and b'{"detail": "no valid HTTP; expected' in broken
    asking = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    preflight = strict.client.options(f"{strict.address}/predict", headers=asking)
    assert preflight.status_code == 403
    assert preflight.json()["detail"].startswith("a page of https://example.com; expected")


@pytest.mark.slow
def test_headers_that_never_end_and_answers_that_nobody_takes_are_given_up(model):
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3))
    with served.serving(model, "--timeout", "5") as server:
        host, _, port = server.address.removeprefix("http://").rpartition(":")
        stuck = socket.create_connection((host, int(port)), timeout=60)
        stuck.sendall(b"GET / HTTP/1.1\r\nHost: local")
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        body = served.form(png(pixels))
        head = (
            "POST /predict?maps=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
        )
        reader.sendall(f"{head}boundary=B\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert reader.recv(15) == b"HTTP/1.1 200 OK"
        with stuck, reader:
            with contextlib.suppress(ConnectionError):
                assert stuck.recv(10) == b""
            time.sleep(11)
            held = psutil.Process(server.process.pid).net_connections()
            assert [one.status for one in held if one.status == psutil.CONN_ESTABLISHED] == []
        assert server.predict(PICTURE).status_code == 200


def test_work_for_callers_that_hung_up_never_begins():
    recorder = Recorder()
    recorder.goes_on.clear()
    settings = Settings(model="a.onnx", workers=usable_cores())  # one thread
    with served.in_this_process(create_app(recorder, settings)) as address:
        held = [served.Held(address, b"", ()) for _ in range(3)]
        for one in held:
            one.socket.sendall(one.body)
        while not recorder.names:
            time.sleep(0.01)
        for one in held:
            one.socket.close()
        end = time.monotonic() + 20
        while 'path="/predict",status="499"} 3.0' not in requests.get(f"{address}/metrics").text:
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        recorder.goes_on.set()
        last = {"p": ("last", b"")}
        assert requests.post(f"{address}/predict", files=last, timeout=60).status_code == 200
    assert recorder.names == ["a.png", "last"]


def test_a_full_queue_is_said_and_empties_again():
    recorder = Recorder()
    recorder.goes_on.clear()
    settings = Settings(model="a.onnx", workers=usable_cores(), queue=0)  # one thread, one place
    with served.in_this_process(create_app(recorder, settings)) as address, ThreadPoolExecutor() as pool:
        taken = pool.submit(asked, address, b"")
        while not recorder.names:
            time.sleep(0.01)
        refused = asked(address, b"")
        recorder.goes_on.set()
        assert taken.result().status_code == 200
        assert asked(address, b"").status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["detail"] == "too many requests are waiting; send it again in a second"


def asked(address, picture):
    return requests.post(f"{address}/predict", files={"p": ("a.png", picture)}, timeout=60)


def test_bodies_that_arrive_slowly_keep_nobody_out(model):
    settings = Settings(model=model, workers=usable_cores(), queue=0)  # one place
    with served.in_this_process(create_app(load(model), settings)) as address:
        held = [served.Held(address, PICTURE, ()) for _ in range(5)]
        for one in held:
            one.socket.sendall(one.body[:-20])
        assert asked(address, PICTURE).status_code == 200
        for one in held:
            one.socket.sendall(one.body[-20:])
            assert one.rest() == "HTTP/1.1 200 OK"


def test_bodies_under_way_share_as_many_bytes_as_the_places_could_hold(model, monkeypatch):
    rooms = []
    kept = "segpipe.serve.app.Room"
    monkeypatch.setattr(kept, lambda most: rooms.append(Room(most)) or rooms[0])
    settings = Settings(model=model, workers=usable_cores(), queue=0, megabytes=1)  # one place
    with served.in_this_process(create_app(load(model), settings)) as address:
        held = served.Held(address, bytes(900_000), ())
        held.socket.sendall(held.body[:700_000])
        end = time.monotonic() + 20
        while rooms[0].free > 300_000:  # else the body under way may be the one that is refused
            assert time.monotonic() < end, rooms[0].free
            time.sleep(0.02)
        assert asked(address, bytes(400_000)).status_code == 429
        assert asked(address, PICTURE).status_code == 200
        held.socket.close()
        until(422, address, bytes(400_000))


def until(status, address, picture):
    """Ask until this status comes."""
    end = time.monotonic() + 20
    while (found := asked(address, picture).status_code) != status:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_room_is_taken_by_the_byte_and_given_back():
    room = Room(10)
    with room.body() as first:
        first(7)
        with pytest.raises(HTTPException) as refused, room.body() as other:
            other(2)
            other(2)
        assert refused.value.status_code == 429
        with room.body() as last:
            last(3)
    with room.body() as all_of_it:
        all_of_it(10)


def test_a_slow_body_is_refused_and_the_server_lives(strict):
    assert strict.hold(PICTURE, "Authorization: Bearer sesame").rest() == "HTTP/1.1 408 Request Timeout"
    assert strict.predict(PICTURE).status_code == 200


def test_work_that_takes_too_long_is_refused_and_never_begins():
    work: Future = Future()
    with ThreadPoolExecutor(1) as other, pytest.raises(HTTPException) as refused:
        # In a thread of its own: Playwright's loop runs in this one.
        other.submit(lambda: asyncio.run(result_within(work, 0.01, asyncio.Event().wait))).result()
    assert (refused.value.status_code, work.cancelled()) == (503, True)


class Recorder:
    """Stands for a model: notes the names of pictures, and how many arrays were held before each."""

    def __init__(self):
        self.card, self.classes = {}, served.COLOURS
        self.names, self.held, self.arrays = [], [], []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def read(self, upload, most):
        self.names.append(upload.name)
        self.held.append(sum(array() is not None for array in self.arrays))
        assert self.goes_on.wait(60)
        return Picture(upload.name, *2 * [self.noted((4, 5, 3), np.uint8)], None, "")

    def predict(self, picture):
        return Prediction(self.noted((4, 5), np.uint8), self.noted((4, 5), np.float32))

    def noted(self, shape, kind):
        array = np.zeros(shape, kind)
        self.arrays.append(weakref.ref(array))
        return array


class Foreign(Recorder):
    """Finds every picture foreign by the share of a class."""

    def __init__(self, name):
        super().__init__()
        self.mark = Mark(1.5, f"share of {name}", 0.9, 0.1, 0.3)

    def predict(self, picture):
        return super().predict(picture)._replace(mark=self.mark)


def test_a_class_in_any_script_marks_a_foreign_picture_in_every_type_of_answer():
    for name, in_header in (("猫", "%E7%8C%AB"), ("50 %; łapa", "50 %25%3B %C5%82apa")):
        app = create_app(Foreign(name), Settings(model="a.onnx"))
        with served.in_this_process(app) as address:
            found = [
                requests.post(f"{address}/predict?format={kind}", files={"p": ("a", b"")}, timeout=60)
                for kind in ("png", "overlay", "json")
            ]
        assert [one.status_code for one in found] == [200] * 3
        headers = [one.headers.get("X-Segpipe-Foreign") for one in found]
        assert headers == [f"1.50; share of {in_header}"] * 2 + [None]
        assert found[2].json()["pictures"][0]["foreign_by"] == unquote(headers[0][6:])


def test_pixels_without_data_count_neither_for_shares_nor_for_confidence(server):
    """Two of six: left are two red ones of 255, and green ones of 255 and 153 (0.6)."""
    rows = np.zeros((2, 3, 3), np.uint8)
    rows[0, 1:], rows[1, 1], rows[1, 2] = RED, GREEN, (0, 153, 0)
    with MemoryFile() as file:
        layout = {"driver": "GTiff", "height": 2, "width": 3, "count": 3, "dtype": "uint8", "nodata": 0}
        with file.open(**layout) as opened:
            opened.write(np.moveaxis(rows, -1, 0))
        (found,) = server.predict(("a.tif", file.read())).json()["pictures"]
    assert [one["share"] for one in found["classes"]] == [0.5, 0.5, 0]
    assert found["confidence"] == pytest.approx((3 + 0.6) / 4)


class Failing(Recorder):
    """Fails at its first picture."""

    def predict(self, picture):
        if len(self.names) == 1:
            raise RuntimeError("/secret/path")
        return super().predict(picture)


def test_an_error_of_the_server_says_nothing_of_its_inside_and_the_next_picture_is_predicted():
    with served.in_this_process(create_app(Failing(), Settings(model="a.onnx"))) as address:
        failed, then = (asked(address, b"") for _ in range(2))
    assert (failed.status_code, failed.headers["content-type"]) == (500, "application/json")
    assert failed.json() == {"detail": "an error of the server; its log says more"}
    assert then.status_code == 200


def test_a_model_that_predicts_nan_is_told_and_the_next_picture_is_predicted():
    def run(images):
        confidence = images[..., 0] / np.float32(255)
        return images[..., 1], np.where(confidence == 1, np.nan, confidence)

    app = create_app(Served(served.card(), run), Settings(model="a.onnx"))
    with served.in_this_process(app) as address:
        failed, then = (asked(address, png([[colour]])) for colour in (RED, DARK_BLUE))
    assert (failed.status_code, failed.json()) == (
        500, {"detail": "a.png: the model predicts NaN or infinity"}
    )  # fmt: skip
    assert then.status_code == 200


def test_a_request_holds_one_picture_at_a_time():
    recorder = Recorder()
    with served.in_this_process(create_app(recorder, Settings(model="a.onnx"))) as address:
        files = [("p", (name, b"")) for name in "abc"]
        answer = requests.post(f"{address}/predict", files=files, timeout=60)
    assert [one["name"] for one in answer.json()["pictures"]] == [*"abc"]
    assert recorder.held == [0, 0, 0]


def test_work_stops_between_pictures_once_nobody_waits():
    recorder = Recorder()
    recorder.goes_on.clear()
    settings = Settings(model="a.onnx", seconds=2, workers=usable_cores())  # one thread
    with served.in_this_process(create_app(recorder, settings)) as address:
        files = [("p", (name, b"")) for name in "abc"]
        assert requests.post(f"{address}/predict", files=files, timeout=60).status_code == 503
        recorder.goes_on.set()
        last = {"p": ("last", b"")}
        assert requests.post(f"{address}/predict", files=last, timeout=60).status_code == 200
    assert recorder.names == ["a", "last"]


def test_a_large_file_waits_on_disk_until_it_is_read():
    body = b"0" * 2_000_000
    form = served.form(body)
    kind = (b"content-type", b"multipart/form-data; boundary=B")

    async def receive():
        return {"type": "http.request", "body": form, "more_body": False}

    async def received():
        request = Request({"type": "http", "method": "POST", "headers": [kind]}, receive)
        async with uploads(request, Settings(model="a.onnx"), Room(10**7)) as (file,):
            return file._in_memory, read(file)

    with ThreadPoolExecutor(1) as other:
        in_memory, upload = other.submit(lambda: asyncio.run(received())).result()
    assert (in_memory, upload.name, upload.data) == (False, "a.png", body)


def test_a_body_that_cannot_be_put_aside_is_told_and_the_server_lives(model, locked_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(locked_disk))
    with served.in_this_process(create_app(load(model), Settings(model=model))) as address:
        failed, then = asked(address, bytes(2_000_000)), asked(address, PICTURE)
    assert (failed.status_code, failed.json()["detail"]) == (
        500,
        "the server cannot keep the body (Read-only file system); whoever runs it must look at its "
        "temporary folder",
    )
    assert then.status_code == 200


def test_it_listens_on_this_machine_alone(server):
    found = psutil.Process(server.process.pid).net_connections()
    assert [one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "secret", "noted"), [("0.0.0.0", "", True), ("0.0.0.0", "x", False), ("::1", "", False)]
)
def test_a_server_that_is_open_to_the_network_without_a_token_says_so(
    segpipe, monkeypatch, host, secret, noted
):
    monkeypatch.setenv("SEGPIPE_TOKEN", secret)
    started = []

    def run(settings, *where):
        started.append(where)
        raise SystemExit(0)  # as the command does not return once it has served

    monkeypatch.setattr("segpipe.serve.run.run", run)
    code, said, _ = segpipe("serve", "a.onnx", "--host", host)
    note = "note: anybody who reaches 0.0.0.0 may use the model; set SEGPIPE_TOKEN to ask for a token\n"
    assert (code, said, started) == (0, note if noted else "", [(host, 8000)])


def test_only_callers_with_the_token_get_through(strict):
    nobody = {"Authorization": None}
    assert strict.get("/health", headers=nobody).status_code == 200
    assert strict.get("/", headers=nobody).status_code == 200
    wrong = {"Authorization": "Bearer sésame".encode("latin-1")}
    for path in ("/model", "/metrics"):
        assert strict.get(path, headers=nobody).status_code == 401
        assert strict.get(path, headers=wrong).status_code == 401
    refused = strict.predict(PICTURE, headers=wrong)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["detail"] == "a wrong token; expected the header Authorization: Bearer TOKEN"
    assert strict.predict(PICTURE).status_code == 200


def test_pages_from_elsewhere_may_call_it_only_where_they_are_allowed(server, strict):
    header, elsewhere = "access-control-allow-origin", {"Origin": "https://example.org"}
    refused = server.predict(PICTURE, headers=elsewhere)
    assert (refused.status_code, header in refused.headers) == (403, False)
    assert refused.json()["detail"] == (
        f"a page of https://example.org; expected one of {server.address.removeprefix('http://')}, or "
        "of an origin that --allow-origin names"
    )
    assert server.predict(PICTURE, headers={"Origin": "null"}).status_code == 403
    assert server.predict(PICTURE, headers={"Origin": server.address}).status_code == 200
    assert strict.predict(PICTURE, headers=elsewhere).headers[header] == "https://example.org"
    assert strict.predict(PICTURE, headers={"Origin": "https://example.com"}).status_code == 403


def test_a_name_that_leads_to_this_machine_from_elsewhere_is_refused(server, strict):
    """A page of that name, whose address changed to this machine's, could read the answers."""
    refused = server.get(
        "/model", headers={"Host": "example.org:8000", "Origin": "http://example.org:8000"}
    )
    assert refused.status_code == 403
    assert refused.json()["detail"] == (
        "the host example.org:8000; expected a name of this machine, or one that --allow-origin names"
    )
    assert server.get("/model", headers={"Host": "[::1]:8000"}).status_code == 200
    assert strict.get("/model", headers={"Host": "example.org"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "local", "origins", "answered"),
    [
        ({"host": "gpu.lan", "origin": "http://gpu.lan"}, False, (), True),
        ({"host": "gpu.lan", "origin": "https://gpu.lan"}, False, (), True),
        ({"host": "gpu.lan", "origin": "http://gpu.lan:81"}, False, (), False),
        ({"host": "gpu.lan"}, True, ("https://gpu.lan:444",), True),
        ({"host": "gpu.lan", "origin": "http://else.where"}, True, ("*",), True),
        ({}, True, (), True),
        ({"host": "127.0.0.2:8000"}, True, (), True),
        ({"host": "gpu.lan", "origin": "https://a.org"}, False, ("HTTPS://A.org:443/",), True),
        ({"host": "gpu.lan", "origin": "http://a.org:8080"}, False, ("http://a.org:8080/",), True),
    ],
)
def test_what_is_answered_by_host_and_origin(headers, local, origins, answered):
    settings = Settings(model="a.onnx", local=local, origins=origins)
    assert (refusal(Headers(headers), settings) == "") == answered


@pytest.mark.parametrize(
    "value", ["example.org", "https://", "https://a.org/page", "ftp://a.org", "a:b"]
)
def test_what_is_no_origin_is_refused_at_the_start(value):
    with pytest.raises(UserError, match="no origin for --allow-origin; expected one such as https://"):
        Settings(model="a.onnx", origins=(value,))


def test_only_this_machine_reaches_loopback_addresses():
    near, far = ("127.0.0.1", "127.9.9.9", "::1", "LOCALHOST"), ("0.0.0.0", "::", "gpu.lan", "")
    assert tuple(host for host in near + far if is_loopback(host)) == near


@pytest.mark.parametrize("port", ["99999", "-5"])
def test_a_port_beyond_those_that_there_are_is_refused(model, segpipe, port):
    code, _, complained = segpipe("serve", model, "--port", port)
    assert code == 2 and "equal to" in complained


def left(temporary):
    """What a server left there beside `.ses`, a file of ONNX Runtime's own."""
    return [path for path in temporary.iterdir() if path.name != ".ses"]


def test_a_request_under_way_is_answered_after_the_signal_to_stop(model, tmp_path):
    with served.serving(model, TMPDIR=str(tmp_path)) as server:
        held = server.hold(PICTURE)
        server.process.send_signal(signal.SIGTERM)
        while served.listens(server):
            pass
        assert held.finish() == "HTTP/1.1 200 OK"
        assert server.process.wait(60) == -signal.SIGTERM
    assert left(tmp_path) == []


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly(model):
    with served.serving(model) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0


@pytest.mark.slow
def test_a_killed_worker_takes_no_request_of_another_with_it(model, tmp_path):
    with served.serving(model, "--workers", "2", TMPDIR=str(tmp_path)) as server:
        (killed, _), (_, other) = served.one_a_worker(server, PICTURE).items()
        psutil.Process(killed).kill()
        assert other.finish() == "HTTP/1.1 200 OK"
        assert server.predict(PICTURE).status_code == 200
        assert "segpipe_pictures_total 2.0" in server.get("/metrics").text.splitlines()
    assert left(tmp_path) == []


@pytest.mark.slow
def test_under_load_a_killed_worker_fails_its_own_requests_alone_and_another_is_started(model):
    ended = threading.Event()

    def ask(address):
        """Ask one after another; a connection that was lost, before the answer or in it, is None."""
        while not ended.is_set():
            try:
                yield asked(address, PICTURE).status_code
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                yield None

    with served.serving(model, "--workers", "2") as server, ThreadPoolExecutor(8) as pool:
        killed, kept = served.one_a_worker(server, PICTURE)
        asking = [pool.submit(lambda: list(ask(server.address))) for _ in range(8)]
        try:
            time.sleep(1)
            psutil.Process(killed).kill()
            while not served.one_a_worker(server, PICTURE).keys() - {killed, kept, None}:
                pass
        finally:
            ended.set()
    for found in (one.result() for one in asking):
        lost = found.count(None)
        assert lost <= 1, "the one that was in the worker"
        assert found.count(200) == len(found) - lost > 5


@pytest.mark.slow
def test_a_request_in_one_of_two_workers_is_answered_after_the_signal_to_stop(model):
    with served.serving(model, "--workers", "2") as server:
        (_, held), (other, idle) = served.one_a_worker(server, PICTURE).items()
        idle.finish()
        server.process.send_signal(signal.SIGTERM)
        while psutil.pid_exists(other) and psutil.Process(other).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)  # the signal has come to the workers, and this one held nothing
        assert held.finish() == "HTTP/1.1 200 OK"
        assert server.process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(None, "it lacks the property segpipe.json", id="someone else's"),
        pytest.param({"format": 99}, "a card of format 99", id="another version"),
        pytest.param({"export": {"whole": False}}, "holds the network alone", id="network alone"),
        pytest.param(
            {"export": {**served.card()["export"], "output": {"name": "labels"}}},
            "lacks labels, which its card names",
            id="no mask",
        ),
        pytest.param({"export": {"whole": True}}, "its card lacks 'input', which serve", id="no names"),
        pytest.param({"classes": None}, "its card: ", id="no classes"),
        pytest.param({"profile": {"traits": {}, "limit": 2.0}}, "it lacks 'judged'", id="no judged"),
        pytest.param({"format": "4"}, "a card of format '4', and", id="a text as format"),
    ],
)
def test_what_a_file_lacks_to_be_served_is_said(tmp_path, changes, said):
    path = served.write_model(
        tmp_path / "other.onnx", None if changes is None else served.card(**changes)
    )
    with pytest.raises(UserError, match=re.escape(said)):
        load(path)


def test_a_card_that_is_a_list_is_said(tmp_path):
    with pytest.raises(UserError, match="not a model that segpipe saved"):
        load(served.write_model(tmp_path / "other.onnx", []))


def test_a_damaged_graph_is_said(tmp_path, model):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(model.read_bytes().replace(b"ArgMax", b"ArgMix"))
    with pytest.raises(UserError, match="ONNX Runtime cannot open it"):
        load(path)


@pytest.mark.parametrize("name", ["model.keras", "missing.onnx"])
def test_other_files_are_answered_with_the_command_that_exports(tmp_path, name):
    with pytest.raises(UserError, match="`segpipe export --to onnx`"):
        load(tmp_path / name)


def test_a_port_in_use_ends_in_one_line(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error = error_line(run("segpipe", "serve", str(model), "--port", port, cwd=ROOT))
    assert error == f"error: 127.0.0.1:{port}: Address already in use; give another --port or --host\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", ""), "--host is empty; give an address: 127.0.0.1, or 0.0.0.0 for all networks"),
        (("--host", "a" * 70), f"{'a' * 70}: no name of a host; give an address such as 127.0.0.1"),
        (("--timeout", "inf"), "inf seconds: expected a finite number"),
        (("--max-megapixels", "inf"), "inf megapixels: expected a finite number"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(model, segpipe, options, said):
    code, _, complained = segpipe("serve", model, *options)
    assert (code, complained) == (1, f"error: {said}\n")


def test_a_token_that_no_header_can_hold_is_refused(monkeypatch):
    monkeypatch.setenv("SEGPIPE_TOKEN", "sésame")
    with pytest.raises(UserError, match="SEGPIPE_TOKEN: expected ASCII letters"):
        token()


def test_a_picture_far_from_the_profile_in_the_card_is_remarked(tmp_path):
    bright = reference("brightness", [200, 201, 202, 203, 204])
    of = served.card(profile=Profile({"brightness": bright}, 2.0, 9, 1, None).to_json())
    model = load(served.write_model(tmp_path / "model.onnx", of))
    pictures = [model.read(Upload("a.png", png(np.full((8, 8, 3), grey))), 100) for grey in (100, 202)]
    dark, known = (answers.Result(picture, model.predict(picture)) for picture in pictures)
    # 102 below the middle, where 2 is the least step that counts: 51 steps, over a limit of 2.
    assert dark.remark == "25.50 times the limit: brightness 100, known pictures 200 to 204"
    assert known.remark == ""
    mark = dark.prediction.mark
    assert (mark.score, mark.trait, known.prediction.mark.foreign) == (25.5, "brightness", False)


def test_every_type_of_answer_marks_a_foreign_picture(tmp_path):
    bright = reference("brightness", [200, 201, 202, 203, 204])
    of = served.card(profile=Profile({"brightness": bright}, 2.0, 9, 1, None).to_json())
    path = served.write_model(tmp_path / "model.onnx", of)
    dark, known = (png(np.full((8, 8, 3), grey)) for grey in (100, 202))
    with served.in_this_process(create_app(load(path), Settings(model=path))) as address:
        for accept in ("image/png", "image/jpeg"):
            headers = {"Accept": accept}
            answers = [
                requests.post(f"{address}/predict", files={"p": one}, headers=headers, timeout=60)
                for one in (dark, known)
            ]
            found = [one.headers.get("X-Segpipe-Foreign") for one in answers]
            assert found == ["25.50; brightness", None]
        files = [("p", dark), ("p", known)]
        found = requests.post(f"{address}/predict", files=files, timeout=60).json()["pictures"]
    assert [(one["distance"], one["foreign_by"]) for one in found] == [(25.5, "brightness"), (0.0, "")]
