"""PNG of 16 bits, whose colours Pillow would cut to 8, and JPEG 2000."""

import io
import struct

import imagecodecs
import numpy as np
from PIL import Image

from segpipe.fetch.pillow import open_one, orientation_of
from segpipe.fetch.sample import TooLargeError
from segpipe.fetch.stored import CODESTREAM, Colours, Stored, check_size

_MOST_SAMPLES = 1 << 28  # JPEG 2000's decoder takes four bytes for each beside the picture's own


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
    header = data.index(CODESTREAM)
    right, bottom, left, top = struct.unpack(">4I", data[header + 8 : header + 24])
    (bands,) = struct.unpack(">H", data[header + 40 : header + 42])
    height, width = bottom - top, right - left
    check_size(file, height, width, 4 * bands * width)
    if height * width * bands > _MOST_SAMPLES:
        found = f"a JPEG 2000 of {height * width * bands} samples"
        raise TooLargeError(file, found, f"{_MOST_SAMPLES} at most; cut it into parts")
    colours: Colours = "grey" if bands < 3 else "rgb" if bands < 5 else "other"
    return Stored(
        (height, width), bands, lambda: np.atleast_3d(imagecodecs.jpeg2k_decode(data)), colours
    )
