"""Whether a picture looks like a mask, where names alone do not tell."""

import math
from pathlib import Path

import numpy as np

from segpipe.fetch.integrity import InColoursError, mask_pixels
from segpipe.fetch.sample import BadSampleError

_MOST = 32  # values of a mask; photographs, depth and other bands have more
_PIXELS = 10**6  # that are looked at


def values_of(path: Path, file: str) -> np.ndarray:
    """Return a picture's numbers, or its colours as numbers 0xrrggbb: integers [height, width].

    Raises BadSampleError, which calls it `file`, where it cannot be a mask, and OSError.
    """
    data = path.read_bytes()
    try:
        return mask_pixels(data, file, by_colour=False)[0]
    except InColoursError:
        colours, _ = mask_pixels(data, file, by_colour=True)
        return colours.astype(np.int32) @ (1 << 16, 1 << 8, 1)


def like_mask(path: Path) -> bool | None:
    """Return whether a picture has few values; None where it cannot be read as a mask."""
    try:
        values = values_of(path, path.name)
    except (BadSampleError, OSError):
        return None
    step = max(1, math.isqrt(values.size // _PIXELS))
    return len(np.unique(values[::step, ::step])) <= _MOST
