"""The bands of pictures: how many the network sees, what they are called, and how people see them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Bands = Literal["rgb"] | tuple[int, ...]
"""Red, green and blue, or the numbers of a file's bands from 1, in the order the network sees them."""

Intensity = tuple[tuple[float, float], ...] | None
"""The two values of each band that become 0 and 255. None: pictures of 8 bits, as they are."""

_RGB = (1, 2, 3)  # the numbers of red, green and blue


def numbers(bands: Bands) -> tuple[int, ...]:
    """Return the number of each band; red, green and blue are 1, 2 and 3."""
    return _RGB if bands == "rgb" else bands


def in_words(bands: Bands, intensity: Intensity) -> str:
    """Return the bands for people, such as `RGB`, `band 1` or `bands 4, 3 of 0 to 4000, 0 to 3000`."""
    if bands == "rgb":
        named = "RGB"
    else:
        named = f"band{'s' if len(bands) > 1 else ''} {', '.join(map(str, bands))}"
    ranges = ", ".join(f"{low:g} to {high:g}" for low, high in intensity or ())
    return f"{named} of {ranges}" if ranges else named


def shown(bands: Bands, chosen: Literal["auto"] | tuple[int, ...] = "auto") -> tuple[int, ...]:
    """Return the positions of the bands that people see: one as grey, or three as red, green and blue.

    `chosen` are their numbers. With `auto`, or where the pictures lack one of them, these are the first
    three bands, or the first one where there are fewer than three.
    """
    known = numbers(bands)
    if chosen == "auto" or not {*chosen} <= {*known}:
        return _first(len(known))
    return tuple(known.index(number) for number in chosen)


def displayed(image: np.ndarray, positions: Sequence[int] | None = None) -> np.ndarray:
    """Return a picture as people see it, RGB uint8 [h, w, 3].

    Args:
        image: uint8 [h, w, bands].
        positions: the bands to show, as `shown` returns them; None for those of `auto`.
    """
    chosen = tuple(positions or _first(image.shape[-1]))
    if chosen == (0, 1, 2) and image.shape[-1] == 3:
        return image
    return np.take(image, chosen * (3 // len(chosen)), axis=-1)


def caption(bands: Bands, positions: Sequence[int]) -> str:
    """Say which bands are shown, as a sentence to append; empty for RGB shown as such."""
    if bands == "rgb" and tuple(positions) == (0, 1, 2):
        return ""
    named = [str(numbers(bands)[position]) for position in positions]
    if len(named) == 1:
        return f" Band {named[0]} is shown as grey."
    return f" Bands {named[0]}, {named[1]} and {named[2]} are shown as red, green and blue."


def _first(count: int) -> tuple[int, ...]:
    return (0, 1, 2) if count >= 3 else (0,)
