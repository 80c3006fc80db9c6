"""The formats that Pillow reads: JPEG, PNG of 8 bits, GIF, BMP and WebP."""

import io
import struct
import warnings

import numpy as np
from PIL import ExifTags, Image

from segpipe.fetch.sample import BadSampleError
from segpipe.fetch.stored import READABLE, Colours, Stored, readable, several

# Set for the whole process: filters set around each call are not safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_KEPT_FORMATS = {("JPEG", "RGB"), ("MPO", "RGB"), ("PNG", "RGB")}
"""Formats whose bytes are kept, since every decoder gives the same RGB pixels."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""Formats that Pillow may try. It knows many more, and runs other programs for some of them."""

_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "I", "I;16", "I;16B", "I;16L", "F")

_Turn = Image.Transpose
_TURNS = {
    2: _Turn.FLIP_LEFT_RIGHT, 3: _Turn.ROTATE_180, 4: _Turn.FLIP_TOP_BOTTOM, 5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270, 7: _Turn.TRANSVERSE, 8: _Turn.ROTATE_90,
}  # fmt: skip
"""The transposition that makes a picture upright, by its EXIF orientation."""


def open_whole(data: bytes, file: str) -> Image.Image:
    """Open and decode a picture that Pillow reads. Raises BadSampleError, which names `file`."""
    with readable(file):
        picture = open_one(data, file)
        picture.load()
    return picture


def open_lazily(data: bytes) -> Image.Image:
    """Read only the header of a picture for Pillow: format, mode and size. Raises Pillow's errors."""
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def open_one(data: bytes, file: str) -> Image.Image:
    """Open a single picture that Pillow reads, reading only its header.

    Raises BadSampleError where it is empty or an animation, and Pillow's errors (see `readable`).
    """
    if not data:
        raise BadSampleError(file, "an empty file", READABLE)
    picture = open_lazily(data)
    # Phones store more pictures behind the first of a JPEG, which is the photograph.
    if picture.format != "MPO" and (frames := getattr(picture, "n_frames", 1)) > 1:
        raise several(file, frames, "frames", "an animation: ")
    return picture


def is_kept(picture: Image.Image) -> bool:
    """Return whether data/raw holds a picture's own bytes, where the bands are `rgb`."""
    return (picture.format, picture.mode) in _KEPT_FORMATS and orientation_of(picture) == 1


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of Pillow's in 8-bit RGB, turned by its EXIF orientation, without alpha."""
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    turn = _TURNS.get(orientation_of(picture))
    return rgb if turn is None else rgb.transpose(turn)


def orientation_of(picture: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) where there is none or it cannot be read."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1


def of_pillow(picture: Image.Image) -> Stored:
    """Return a picture that Pillow opened; modes that store no plain numbers become RGB."""
    mode = "L" if picture.mode == "1" else picture.mode if picture.mode in _PLAIN_MODES else "RGB"

    def decode() -> np.ndarray:
        picture.load()
        samples = np.atleast_3d(np.asarray(picture.convert(mode)))
        of_16_bits = mode == "I" and samples.min() >= 0 and samples.max() < 1 << 16
        return samples.astype(np.uint16) if of_16_bits else samples

    bands = Image.getmodebands(mode)
    colours: Colours = "cmyk" if mode == "CMYK" else "rgb" if bands >= 3 else "grey"
    return Stored(picture.size[::-1], bands, decode, colours, orientation_of(picture))
