"""Images to predict on: files, read as training reads them, and what Python callers pass."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segpipe.common.bands import Bands, numbers
from segpipe.common.codec import invalid_pixels
from segpipe.common.errors import UserError
from segpipe.common.records import Resize, Tiles, read_bands, read_tiles
from segpipe.common.words import percent, width_by_height
from segpipe.fetch.pictures import Decoded, decode_picture, decode_stored
from segpipe.fetch.pillow import is_kept, of_pillow, open_one
from segpipe.fetch.sample import BadSampleError, OtherBandsError, unreadable
from segpipe.fetch.stored import format_of, readable
from segpipe.preprocess.intensity import Levels, fit, fit_encoded

_STRAY = 0.1  # share of a picture's valid pixels beyond the trained range from which it is remarked
_FLOATS = {np.dtype(np.float16), np.dtype(np.float64)}  # arrays of these become float32


class Seen(NamedTuple):
    """A picture in the bands and 8 bits of the network, uint8 [height, width, bands]."""

    pixels: np.ndarray
    original: tuple[int, int]  # height and width before it was resized
    remark: str  # why the model may not know such pictures; empty if it should
    invalid: np.ndarray | None = None  # bool [height, width], of a picture at its own size: no data


@dataclass(frozen=True)
class Input:
    """The input of a network: pictures are prepared for it exactly as for the records of training."""

    size: tuple[int, int]  # height and width
    resize: Resize
    bands: Bands
    levels: Levels
    tiles: Tiles | None = None  # only for a model that learned tiles of pictures

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "Input":
        """Return the input of the model that a card describes."""
        height, width = card["image_size"]
        bands, levels = read_bands(card)["bands"], Levels.of_card(card)
        return cls((height, width), card["resize"], bands, levels, read_tiles(card))

    def fitted(self, image: Any) -> Seen:
        """Return an image at the size at which the network sees it; otherwise as `at_own_size`.

        That is the network's size or, for a model that learned tiles, its own times their scale.
        """
        if isinstance(image, str | os.PathLike):
            data, file = _content(Path(image)), str(image)
            if self.bands == "rgb" and not format_of(data) and not self.levels.ranges("uint8"):
                with readable(file):
                    picture = open_one(data, file)
                    if is_kept(picture):  # others are stored as a PNG, whose pixels are resized
                        original = picture.height, picture.width
                        pixels = fit_encoded(data, self.levels, *self.target(original, file))
                        return Seen(pixels, original, self._remark_on_type("uint8"))
        pixels, invalid = self._decoded(image)
        original = pixels.shape[0], pixels.shape[1]
        name = str(image) if isinstance(image, str | os.PathLike) else "the image"
        resized = fit(pixels, invalid, self.levels, *self.target(original, name))
        return Seen(resized, original, self.remark(pixels, invalid))

    def stored(self, data: bytes, original: tuple[int, int], name: str) -> np.ndarray:
        """Return an encoded picture of data/raw as `fitted` does: uint8 [height, width, bands]."""
        return fit_encoded(data, self.levels, *self.target(original, name))

    def target(self, original: tuple[int, int], name: str) -> tuple[tuple[int, int], Resize]:
        """Return the size at which the network sees a picture, and how it is resized.

        Raises BadSampleError with this name where the scale of tiles leaves no pixel.
        """
        if not self.tiles:
            return self.size, self.resize
        scaled = self.tiles.scaled(original)
        if min(scaled) < 1:
            found = f"{width_by_height(original)} px, less than one at scale {self.tiles.scale:g}"
            raise BadSampleError(name, found, "a larger picture")
        return scaled, "stretch"

    def at_own_size(self, image: Any) -> Seen:
        """Return an image at its own size.

        `image` is a path, a Pillow image, or an array (or anything that NumPy turns into one) of shape
        [height, width] or [height, width, bands]. Raises UserError where it is none of these, or a file
        that cannot be read or holds no whole image.
        """
        pixels, invalid = self._decoded(image)
        seen = self.levels.in_8_bits(pixels, invalid)
        return Seen(seen, (seen.shape[0], seen.shape[1]), self.remark(pixels, invalid), invalid)

    @property
    def expected(self) -> str:
        """The bands that a picture must have, for a sentence: whoever predicts cannot choose others."""
        if self.bands == "rgb":
            return "grey or RGB, as the model takes"
        return f"{max(self.bands)} at least, as the model's bands say"

    def decoded(self, content: bytes | Image.Image, file: str) -> Decoded:
        """Decode a picture in the model's bands.

        Raises BadSampleError, which names `file`, where it lacks them or cannot be read.
        """
        try:
            if isinstance(content, bytes):
                return decode_picture(content, file, self.bands)
            return decode_stored(of_pillow(content), file, self.bands)
        except OtherBandsError as error:  # whose sentence is for training
            raise BadSampleError(file, error.problem.found, self.expected) from None

    def _decoded(self, image: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the pixels of the model's bands, and those that are invalid (None: none)."""
        if isinstance(image, str | os.PathLike):
            decoded = self.decoded(_content(Path(image)), str(image))
        elif isinstance(image, Image.Image):
            decoded = self.decoded(image, "the image")
        else:
            pixels = self._array(np.asarray(image))
            return pixels, invalid_pixels(pixels, None)
        return decoded.pixels, decoded.invalid

    def _array(self, pixels: np.ndarray) -> np.ndarray:
        deep = self.levels.intensity is not None and {*self.levels.depths} != {"uint8"}
        if deep and pixels.dtype in _FLOATS:
            pixels = pixels.astype(np.float32)
        allowed = ("uint8", "uint16", "int16", "float32") if deep else ("uint8",)
        if pixels.dtype.name not in allowed:
            expected = f"{', '.join(allowed)}{'' if deep else ', 0..255'}{_mend(pixels)}"
            raise UserError(f"an image array of {pixels.dtype}; expected {expected}")
        shaped = pixels[..., None] if pixels.ndim == 2 else pixels
        channels = (1, 3, 4) if self.bands == "rgb" else (len(self.bands),)
        if 0 in shaped.shape or shaped.ndim != 3 or shaped.shape[2] not in channels:
            counts = " or ".join(map(str, channels))
            raise UserError(
                f"an image array of shape {list(pixels.shape)}; expected [height, width], or [height, "
                f"width, channels] with {counts} channels; several images come as a list, or as "
                "[n, height, width, channels]"
            )
        return shaped[..., :3] if self.bands == "rgb" else shaped

    def remark(self, pixels: np.ndarray, invalid: np.ndarray | None) -> str:
        """Say why the model may not know pixels of this type or range; empty if it should."""
        depth = pixels.dtype.name
        if remark := self._remark_on_type(depth):
            return remark
        for position, (low, high) in enumerate(self.levels.ranges(depth) or ()):
            band = pixels[..., min(position, pixels.shape[2] - 1)]
            stray = (band < low) | (band > high)
            valid = band.size if invalid is None else int((~invalid).sum())
            share = np.count_nonzero(stray if invalid is None else stray & ~invalid) / max(valid, 1)
            if share > _STRAY:
                number = numbers(self.bands)[position]
                return (
                    f"{percent(share, 0)} of its pixels lie outside the range that the model was "
                    f"trained on, {low:g} to {high:g} (band {number})"
                )
        return ""

    def _remark_on_type(self, depth: str) -> str:
        known = self.levels.depths
        if depth in known or (depth != "uint8" and {*known} != {"uint8"}):
            return ""
        if depth == "uint8":
            return f"8 bits, and the model was trained on {', '.join(known)}; taken as they are"
        ends = "0 to 1" if depth == "float32" else f"{np.iinfo(depth).min} to {np.iinfo(depth).max}"
        return f"{depth}, and the model was trained on 8 bits; taken as {ends}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error) from None


def _mend(pixels: np.ndarray) -> str:
    if pixels.dtype == np.uint16:
        return "; of 16 bits, take the upper 8: (image >> 8).astype('uint8')"
    if pixels.dtype.kind == "f":
        return "; where its values are 0..1: (255 * image).round().astype('uint8')"
    return "; `image.astype('uint8')` where its values are"
