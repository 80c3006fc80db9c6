"""Decoding pictures: content decides the format, not the file name.

`rgb` means the picture as people see it: three bands in 8 bits; grey or three bands in more. Alpha is
dropped, palettes become their colours, CMYK becomes RGB. A list of bands means the numbers in the file:
grey and alpha are bands 1 and 2, RGB and alpha 1 to 4, CMYK 1 to 4; a palette is three bands of colours.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segpipe.common.bands import Bands
from segpipe.common.codec import encode_png, encode_tiff, invalid_pixels
from segpipe.fetch.pillow import (
    SWAPPING,
    is_kept,
    of_pillow,
    open_one,
    open_whole,
    orientation_of,
    upright_rgb,
)
from segpipe.fetch.sample import BadSampleError, OtherBandsError, Picture
from segpipe.fetch.stored import Colours, Stored, format_of, open_stored, readable

DEPTHS = ("uint8", "uint16", "int16", "float32")
"""Types of pixels in data/raw. Other numbers become float32, which holds 24 bits of a whole number."""


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, upright."""

    pixels: np.ndarray  # [height, width, bands]: uint8, uint16, int16 or float32
    bands: int  # in the file, or in all files of the picture
    orientation: int  # EXIF's, of the file
    invalid: np.ndarray | None = None  # bool [height, width]: NaN, or no data
    nodata: float | None = None
    kept: bytes | None = None  # the file, where data/raw holds it as it is
    as_rgb: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.size[1]

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width as the file stores them, before EXIF turns it."""
        return self.size[::-1] if self.orientation in SWAPPING else self.size

    @property
    def depth(self) -> str:
        """The type of the pixels, such as uint16."""
        return self.pixels.dtype.name

    def encoded(self) -> bytes:
        """Return the picture for data/raw: the file itself, an RGB PNG, or a TIFF of its bands."""
        if self.kept is not None:
            return self.kept
        if self.as_rgb and self.depth == "uint8":
            return encode_png(self.pixels)
        return encode_tiff(self.pixels, self.nodata)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of size and pixels: equal for equal pictures in different files."""
        height, width, bands = self.pixels.shape
        plain = self.as_rgb and self.depth == "uint8"
        shape = (width, height) if plain else (width, height, bands, self.depth)
        digest = hashlib.sha256(repr(shape).encode())
        for top in range(0, height, 256):  # a large picture is not copied
            digest.update(np.ascontiguousarray(self.pixels[top : top + 256]).data)
        return digest.hexdigest()


def decode_picture(content: Picture, file: str, bands: Bands = "rgb") -> Decoded:
    """Decode a picture from its file, or from several files that hold its bands in their order.

    Raises BadSampleError, which names `file`, where it cannot be read, holds several pictures or no
    valid pixel, or lacks `bands`.
    """
    files = content if isinstance(content, tuple) else (content,)
    if bands == "rgb" and len(files) == 1 and not format_of(files[0]):
        return _photograph(files[0], file)
    parts = [_open(data, file) for data in files]
    with readable(file):
        stored = parts[0] if len(parts) == 1 else _joined(parts, file)
    return decode_stored(stored, file, bands)


def decode_stored(stored: Stored, file: str, bands: Bands) -> Decoded:
    """Decode a picture that is open; see `decode_picture`."""
    with readable(file):
        chosen = in_rgb(stored, file) if bands == "rgb" else _chosen(stored, bands, file)
        pixels = turned(chosen, stored.orientation)
        invalid = invalid_pixels(pixels, stored.nodata)
    if invalid is not None and invalid.all():
        raise no_valid_pixel(file)
    return Decoded(
        pixels, stored.bands, stored.orientation, invalid, stored.nodata, None, bands == "rgb"
    )


def no_valid_pixel(file: str) -> BadSampleError:
    """Return the error for a picture without a valid pixel."""
    return BadSampleError(file, "a picture of NaN or no data alone", "at least one valid pixel")


def stored_size(content: Picture, file: str) -> tuple[tuple[int, int], int]:
    """Return a picture's height and width as stored, and its EXIF orientation, from its header alone.

    Raises BadSampleError, which names `file`, where it cannot be read.
    """
    data = content[0] if isinstance(content, tuple) else content
    if format_of(data):
        stored = open_stored(data, file)
        return stored.size, stored.orientation
    with readable(file):
        picture = open_one(data, file)
        return (picture.height, picture.width), orientation_of(picture)


def bands_in(content: Picture, file: str) -> int:
    """Return how many bands a picture has, from its headers. Raises BadSampleError as `stored_size`."""
    files = content if isinstance(content, tuple) else (content,)
    return sum(_open(data, file).bands for data in files)


def _photograph(data: bytes, file: str) -> Decoded:
    picture = open_whole(data, file)
    kept = data if is_kept(picture) else None
    pixels = np.asarray(upright_rgb(picture))
    return Decoded(pixels, len(picture.getbands()), orientation_of(picture), kept=kept)


def turned(array: np.ndarray, turn: int) -> np.ndarray:
    """Turn an array [height, width, ...] upright, by its EXIF orientation."""
    if turn in SWAPPING:
        array = array.swapaxes(0, 1)
    rows = slice(None, None, -1 if turn in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if turn in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(array[rows, columns])


def _open(data: bytes, file: str) -> Stored:
    """Open a file of any format."""
    if format_of(data):
        return open_stored(data, file)
    with readable(file):
        return of_pillow(open_one(data, file))


def _joined(parts: Sequence[Stored], file: str) -> Stored:
    """Return the bands of several files as one picture."""
    for number, part in enumerate(parts[1:], start=2):
        differs = [
            f"{trait} {value}, where the first has {first}"
            for trait, value, first in (
                ("a size of", part.size, parts[0].size),
                ("the EXIF orientation", part.orientation, parts[0].orientation),
                ("the no-data value", part.nodata, parts[0].nodata),
            )
            if value != first
        ]
        if differs:
            expected = "files of one picture that fit together"
            raise BadSampleError(file, f"file {number} of {len(parts)} has {differs[0]}", expected)
    joined = np.concatenate([_plain(part) for part in parts], -1)
    bands = joined.shape[-1]
    colours: Colours = "rgb" if bands == 3 else "grey" if bands == 1 else "other"
    return dataclasses.replace(
        parts[0], bands=bands, decode=lambda: joined, colours=colours, palette=None, bits=8,
        inverted=False,
    )  # fmt: skip


def _chosen(stored: Stored, bands: tuple[int, ...], file: str) -> np.ndarray:
    """Return the bands of a list, which counts from 1."""
    if max(bands) > stored.bands:
        expected = f"{max(bands)} at least, since data.bands names band {max(bands)}"
        count = f"{stored.bands} {'band' if stored.bands == 1 else 'bands'}"
        raise OtherBandsError(file, f"{count} in the file", expected)
    pixels = _plain(stored)
    every = bands == (*range(1, pixels.shape[2] + 1),)  # not copied then, for pictures may be large
    return pixels if every else pixels[..., [band - 1 for band in bands]]


def in_rgb(stored: Stored, file: str) -> np.ndarray:
    """Return the picture as people see it: three bands, or one of grey in more than 8 bits."""
    if stored.colours == "other" and stored.bands > 1:
        expected = "grey or RGB; for other bands list them in data.bands, such as [1, 2, 3]"
        raise OtherBandsError(file, f"{stored.bands} bands that are no RGB", expected)
    pixels = _plain(stored)
    if stored.colours == "cmyk":
        if pixels.dtype != np.uint8:
            raise BadSampleError(file, f"CMYK of {pixels.dtype}", "CMYK of 8 bits, or RGB")
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK").convert("RGB"))
    if stored.colours in ("rgb", "palette"):
        return pixels[..., :3]
    return pixels[..., [0, 0, 0]] if pixels.dtype == np.uint8 else pixels[..., :1]


def _plain(stored: Stored) -> np.ndarray:
    """Return all bands with 0 as black, in one of the types that data/raw holds."""
    samples = stored.decode()
    if stored.palette is not None:
        return stored.palette[samples[..., 0]]
    if samples.dtype == bool:
        samples = samples.astype(np.uint8)
    if stored.inverted and samples.dtype.kind in "iu":
        samples = ~samples if samples.dtype.kind == "i" else samples ^ ((1 << stored.bits) - 1)
    if stored.bits < 8:
        samples = (samples.astype(np.uint16) * 255 // ((1 << stored.bits) - 1)).astype(np.uint8)
    if samples.dtype.name in DEPTHS:
        return samples
    if samples.dtype.kind not in "iuf":
        raise ValueError(f"samples of {samples.dtype}")
    with np.errstate(over="ignore"):  # too large for float32 is infinite, which is invalid
        return samples.astype(np.int16 if samples.dtype == np.int8 else np.float32)
