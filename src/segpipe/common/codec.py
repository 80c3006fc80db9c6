"""Encode and decode the PNGs inside our own shards."""

import io

import numpy as np
from PIL import Image


def encode_png(image: Image.Image | np.ndarray) -> bytes:
    """Encode an RGB or single-channel uint8 image as PNG."""
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    # A copy of only the pixels, without EXIF or text chunks of the original. Compression level 1 halves
    # the time to read a mask of 12 million pixels, for a few bytes more.
    fresh = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    fresh.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Decode one of our own PNGs to a uint8 array, [height, width] or [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(data)))
