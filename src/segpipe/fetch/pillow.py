"""The formats that Pillow reads: JPEG, PNG of 8 bits, GIF, BMP and WebP."""

import io
import logging
import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from segpipe.common.files import UNFETCHED
from segpipe.fetch.sample import BadSampleError
from segpipe.fetch.stored import READABLE, Colours, Stored, readable, several

logging.getLogger("PIL.TiffImagePlugin").disabled = True  # it logs what it then raises

_KEPT_FORMATS = {("JPEG", "RGB"), ("MPO", "RGB"), ("PNG", "RGB")}
"""Formats whose bytes are kept, since every decoder gives the same RGB pixels."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""Formats that Pillow may try. It knows many more, and runs other programs for some of them."""

_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "I", "I;16", "I;16B", "I;16L", "F")

SWAPPING = (5, 6, 7, 8)  # EXIF orientations that swap width and height

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


def open_file(path: Path) -> Image.Image:
    """Read only the header of a file, of a TIFF too. Raises nearly any error where it is damaged."""
    return Image.open(path, formats=(*_FORMATS, "TIFF"))


def open_one(data: bytes, file: str) -> Image.Image:
    """Open a single picture that Pillow reads, reading only its header.

    Raises BadSampleError where it is empty or an animation, and Pillow's errors (see `readable`).
    """
    if not data:
        raise BadSampleError(file, "an empty file", READABLE)
    if data.startswith(UNFETCHED):
        raise BadSampleError(file, "a pointer of Git LFS", "the file itself: run `git lfs pull`")
    picture = Image.open(io.BytesIO(data), formats=_FORMATS)
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
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read.

    No pixel of an opened picture is decoded, whereas Pillow's own method decodes a PNG.
    """
    try:
        turn = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1
    return turn if turn in range(2, 9) else 1


def unturned_size(picture: Image.Image) -> tuple[int, int]:
    """Return a picture's height and width as its file stores them."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):  # `size` is turned already, of TIFF alone
        return picture.tag_v2[ExifTags.Base.ImageLength], picture.tag_v2[ExifTags.Base.ImageWidth]
    return picture.height, picture.width


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
