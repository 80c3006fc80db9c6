"""From pictures of any depth to the 8 bits of the network's input, for records and predictions alike.

A range [low, high] of each band becomes 0 to 255. Pictures of 8 bits stay as they are, unless the model
knows no others and `data.intensity` gives a range for them. Where no range is known, a picture has the
full range of its type, 0 to 1 for floats.

In this module `pixels` are uint8, uint16, int16 or float32 [height, width, bands or 1]; `invalid` is
bool [height, width], or None where all pixels hold something.
"""

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segpipe.common.bands import Intensity, numbers
from segpipe.common.codec import decode_tiff, is_tiff
from segpipe.common.records import Resize, read_bands
from segpipe.preprocess.resize import resize_pixels, resize_unread

Ranges = tuple[tuple[float, float], ...]  # low and high of each of the network's bands

_FULL = {
    "uint8": (0.0, 255.0),
    "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0),
    "float32": (0.0, 1.0),
}
STRIP = 1 << 20  # values at once, so that large pictures need little memory beside their own


@dataclass(frozen=True)
class Levels:
    """How pictures become 8 bits; `depths` are the types of the training pictures."""

    bands: int  # of the network
    intensity: Intensity
    depths: tuple[str, ...]

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "Levels":
        """Return how a model's pictures become 8 bits, from its card."""
        seen = read_bands(card)
        depths = tuple(card.get("depths", ["uint8"]))
        return cls(len(numbers(seen["bands"])), seen["intensity"], depths)

    def to_json(self) -> dict:
        """Return `intensity` and `depths` for a manifest."""
        ranges = self.intensity and [list(band_range) for band_range in self.intensity]
        return {"intensity": ranges, "depths": list(self.depths)}

    def ranges(self, depth: str) -> Ranges | None:
        """Return the range of each band in a picture of type `depth`; None where it stays as it is."""
        low, high = _FULL[depth]
        if {*self.depths} == {"uint8"} and self.intensity:  # the ranges are of 8 bits
            step = (high - low) / 255
            return tuple((low + first * step, low + last * step) for first, last in self.intensity)
        if depth == "uint8":
            return None
        return self.intensity or ((low, high),) * self.bands

    def in_8_bits(self, pixels: np.ndarray, invalid: np.ndarray | None = None) -> np.ndarray:
        """Return uint8 [height, width, bands]; a single band stands for each of them.

        Invalid pixels become 0 where values are scaled.
        """
        if pixels.shape[2] < self.bands:
            pixels = np.broadcast_to(pixels, (*pixels.shape[:2], self.bands))
        ranges = self.ranges(pixels.dtype.name)
        if ranges is None:
            return pixels
        scaled = np.empty(pixels.shape, np.uint8)
        for band, (low, high) in enumerate(ranges):
            _scale(pixels[..., band], low, high, scaled[..., band])
        if invalid is not None:
            scaled[invalid] = 0
        return scaled

    def raw(self, pixels: np.ndarray, invalid: np.ndarray | None, type_: str) -> np.ndarray:
        """Return a copy as a whole predictor takes it: `type_` [height, width, bands].

        Where pixels are scaled, invalid ones are NaN, or the least number of an integer type.
        """
        image = np.broadcast_to(pixels, (*pixels.shape[:2], self.bands)).astype(type_)
        if invalid is not None and self.ranges(pixels.dtype.name):
            image[invalid] = np.nan if image.dtype.kind == "f" else np.iinfo(image.dtype).min
        return image


RGB_OF_8_BITS = Levels(3, None, ("uint8",))


def fit(
    pixels: np.ndarray, invalid: np.ndarray | None, levels: Levels, size: tuple[int, int], how: Resize
) -> np.ndarray:
    """Bring `pixels` to the network's input: uint8 [*size, bands], scaled and resized."""
    return resize_pixels(levels.in_8_bits(pixels, invalid), size, how)


def fit_encoded(data: bytes, levels: Levels, size: tuple[int, int], how: Resize) -> np.ndarray:
    """Bring an encoded picture of data/raw to the network's input, as `fit` does."""
    if is_tiff(data):
        return fit(*decode_tiff(data), levels, size, how)
    picture = Image.open(io.BytesIO(data))
    if levels.ranges("uint8"):
        return fit(np.asarray(picture), None, levels, size, how)
    return np.asarray(resize_unread(picture, size, how))


@functools.lru_cache(maxsize=64)  # thousands of pictures share a range
def _steps(kind: str, low: float, high: float) -> np.ndarray:
    """Return the 8-bit value of each number of an integer type, from the least on."""
    limits = np.iinfo(kind)
    return _stretched(np.arange(limits.min, limits.max + 1.0), low, high)


def _scale(band: np.ndarray, low: float, high: float, out: np.ndarray) -> None:
    """Write a band to `out` as 0 (up to low) to 255 (from high on)."""
    steps, least = None, 0
    if band.dtype.kind in "iu":
        steps, least = _steps(band.dtype.name, low, high), int(np.iinfo(band.dtype).min)
    rows = max(1, STRIP // max(band.shape[1], 1))
    for top in range(0, len(band), rows):
        part = band[top : top + rows]
        if steps is None:
            strip = _stretched(np.nan_to_num(part.astype(np.float64), nan=low), low, high)
        else:
            strip = steps[part.astype(np.intp) - least]
        out[top : top + rows] = strip


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    share = ((values - low) / (high - low)).clip(0, 1)
    return (share * 255).round().astype(np.uint8)
