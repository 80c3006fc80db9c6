"""500 malformed requests: each ends in a 4xx or in a closed connection, and the server lives."""

import io
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from served import RED, png

GOOD = png(np.tile(RED, (20, 30, 1)))
FORM = "multipart/form-data; boundary=B"
SAVED = {"PNG": {}, "JPEG": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {}, "BMP": {}}


def encoded(kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **SAVED[kind])
    return buffer.getvalue()


def cut(rng):
    """A picture without its end. Of some formats a little less is still a whole picture."""
    data = encoded(rng.choice([*SAVED]))
    return data[: rng.integers(0, len(data) // 2)]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(rng):
    """A PNG of a few bytes that claims, or unpacks to, very many pixels."""
    edge = int(rng.integers(5_001, 60_000))
    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))


def tiff_bomb(rng):
    """A TIFF whose tags claim many bands or pixels."""
    tags = [
        (256, int(rng.integers(4_000, 1 << 31))), (257, int(rng.integers(7_000, 1 << 31))), (258, 8),
        (259, int(rng.choice([1, 5, 8]))), (262, 1), (273, 8), (277, int(rng.integers(1, 60_000))),
        (278, 1), (279, 100),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def noise(rng):
    return rng.bytes(int(rng.integers(0, 2_000)))


def form(data):
    head = b'--B\r\nContent-Disposition: form-data; name="p"; filename="x"\r\n\r\n'
    return head + data + b"\r\n--B--\r\n"


def request(body, kind=FORM, length=None, method="POST"):
    head = (
        f"{method} /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    )
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def broken_form(rng):
    """A form whose boundary, headers or end are damaged."""
    body = bytearray(form(GOOD))
    for _ in range(3):
        body[rng.integers(0, 60)] = rng.integers(0, 256)
    return request(bytes(body[: rng.integers(3, 70)]))


def wrong_type(rng):
    kinds = ["text/plain", "application/json", "image/png", "multipart/mixed; boundary=B", "", "\x7f"]
    return request(GOOD, kind=rng.choice(kinds))


def wrong_http(rng):
    lines = [
        b"POST /predict\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        noise(rng) + b"\r\n\r\n",
    ]
    return [
        *lines, request(form(GOOD), length="many"), request(form(GOOD), length=-5),
        request(b"", method="GET"), request(form(GOOD), length=10**12), b"A" * 100_000,
    ][rng.integers(0, 8)]  # fmt: skip


KINDS = {
    "cut": lambda rng: request(form(cut(rng))),
    "bomb": lambda rng: request(form(bomb(rng))),
    "tiff bomb": lambda rng: request(form(tiff_bomb(rng))),
    "noise": lambda rng: request(form(noise(rng))),
    "broken form": broken_form,
    "wrong type": wrong_type,
    "wrong http": wrong_http,
    "body that stops": lambda rng: request(form(GOOD))[: rng.integers(120, 150)],
}


def answered(server, data, ends):
    """Send bytes; return the status line, empty where the server closed without one."""
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as file:
                return file.read().decode()
        except ConnectionError:  # it was closed before all was sent
            return ""


@pytest.mark.slow
def test_malformed_requests_end_in_4xx_and_the_server_lives(server, rng):
    for number in range(500):
        name = [*KINDS][number % len(KINDS)]
        answer = answered(server, KINDS[name](rng), ends=name in ("body that stops", "wrong http"))
        assert not answer or answer.startswith("HTTP/1.1 4"), (number, name, answer)
        assert answer or name in ("body that stops", "wrong http"), (number, name)
        assert "Traceback" not in answer and "site-packages" not in answer, (number, name, answer)
    assert server.predict(GOOD).status_code == 200


@pytest.mark.slow
def test_bodies_that_never_end_are_given_up_together(strict):
    token = "Authorization: Bearer sesame"
    held = [strict.hold(GOOD, token) for _ in range(20)]
    start = time.monotonic()
    assert [one.rest() for one in held] == 20 * ["HTTP/1.1 408 Request Timeout"]
    assert time.monotonic() - start < 10, "not one after another, a second each"
    assert strict.predict(GOOD).status_code == 200
