"""PNG of 16 bits, whose colours Pillow would cut to 8, and JPEG 2000."""

import io
import math
import struct
from collections.abc import Iterator

import imagecodecs
import numpy as np
from PIL import Image

from segpipe.fetch.pillow import open_one, orientation_of
from segpipe.fetch.sample import BadSampleError, TooLargeError
from segpipe.fetch.stored import CODESTREAM, READABLE, Colours, Stored, check_size

_MOST_SAMPLES = 1 << 28  # JPEG 2000's decoder takes four bytes for each beside the picture's own
_STYLE, _TILE = b"\xff\x52", b"\xff\x90"  # markers: how the pixels are coded, and the first tile
_MOST_TILES = 1 << 14  # of one band; the decoder takes up to 10 kB for each, however small it is


def open_png(data: bytes, file: str) -> Stored:
    """Read the header of a PNG of 16 bits; see `open_stored`."""
    picture = open_one(data, file)
    bands = {0: 1, 2: 3, 4: 2, 6: 4}[data[25]]
    check_size(file, picture.height, picture.width, 2 * bands * picture.width)

    def decode() -> np.ndarray:
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()  # the codec takes damaged bytes for good
        return np.atleast_3d(imagecodecs.png_decode(data))

    colours: Colours = "grey" if bands < 3 else "rgb"
    return Stored((picture.height, picture.width), bands, decode, colours, orientation_of(picture))


def open_jpeg_2000(data: bytes, file: str) -> Stored:
    """Read the header of a JPEG 2000; see `open_stored`."""
    header, palette = _codestream(data, file)
    right, bottom, left, top, *tile, bands = struct.unpack(">8IH", data[header + 8 : header + 42])
    height, width, coded = bottom - top, right - left, bands
    bands = max(coded, palette)
    check_size(file, height, width, 4 * bands * width)
    if height * width * bands > _MOST_SAMPLES:
        found = f"a JPEG 2000 of {height * width * bands} samples"
        raise TooLargeError(file, found, f"{_MOST_SAMPLES} at most; cut it into parts")
    tiles = math.ceil((right - tile[2]) / tile[0]) * math.ceil((bottom - tile[3]) / tile[1])
    if tiles * coded > _MOST_TILES:
        found = f"a JPEG 2000 in {tiles} tiles of {coded} bands"
        raise TooLargeError(file, found, f"{_MOST_TILES // coded} at most; give it larger tiles")

    def decode() -> np.ndarray:
        samples = np.atleast_3d(imagecodecs.jpeg2k_decode(data))
        if samples.shape != (height, width, bands):
            found = f"a damaged JPEG 2000 of {samples.shape}, where its header says"
            raise BadSampleError(file, f"{found} {(height, width, bands)}", READABLE)
        return samples

    colours: Colours = "grey" if bands < 3 else "rgb" if bands < 5 else "other"
    return Stored((height, width), bands, decode, colours, lossy=_is_lossy(data, header))


def _is_lossy(data: bytes, header: int) -> bool:
    """Return whether a codestream says that its wavelet is the irreversible one."""
    place = header + 2
    while len(marker := data[place : place + 14]) == 14 and marker[:2] not in (_STYLE, _TILE):
        place += 2 + int.from_bytes(marker[2:4], "big")
    return marker[:2] == _STYLE and marker[13] == 0


def _codestream(data: bytes, file: str) -> tuple[int, int]:
    """Return where the pixels' header begins, and the bands of the palette, 0 without one."""
    if data.startswith(CODESTREAM):
        return 0, 0
    palette = 0
    for kind, start, stop in _boxes(data, 0, len(data)):
        if kind == b"jp2c" and data.startswith(CODESTREAM, start):
            return start, palette
        within = _boxes(data, start, stop) if kind == b"jp2h" else [(kind, start, stop)]
        palette = max([palette, *(data[place + 2] for name, place, _ in within if name == b"pclr")])
    raise BadSampleError(file, "a JPEG 2000 without a codestream", READABLE)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a JP2: type, and where the content begins and ends."""
    while start < end:
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        content = start + 8
        if length == 1:
            (length,) = struct.unpack(">Q", data[content : content + 8])
            content += 8
        stop = start + length if length else end
        if not content <= stop <= end:
            raise ValueError(f"a box of {length} bytes at {start}")
        yield kind, content, stop
        start = stop
