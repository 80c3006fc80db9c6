"""Whether a picture looks like a mask, where names alone do not tell."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segpipe.fetch.integrity import InColoursError, mask_pixels
from segpipe.fetch.sample import BadSampleError

_MOST = 32  # values of a mask; photographs, depth and other bands have more
_PIXELS = 10**6  # that are looked at


def values_of(path: Path, file: str) -> np.ndarray:
    """Return a picture's numbers as `values_and_turn` does."""
    return values_and_turn(path, file)[0]


def values_and_turn(path: Path, file: str) -> tuple[np.ndarray, int]:
    """Return a picture's numbers, or its colours as numbers 0xrrggbb, and its EXIF orientation.

    The numbers are integers [height, width], as stored. Raises BadSampleError, which calls it `file`,
    where it cannot be a mask, and OSError.
    """
    data = path.read_bytes()
    try:
        return mask_pixels(data, file, by_colour=False)
    except InColoursError:
        colours, turn = mask_pixels(data, file, by_colour=True)
        return colours.astype(np.int32) @ (1 << 16, 1 << 8, 1), turn


def like_mask(path: Path) -> bool | None:
    """Return whether a picture has few values; None where it cannot be read as a mask."""
    try:
        return len(np.unique(_thinned(values_of(path, path.name)))) <= _MOST
    except (BadSampleError, OSError):
        return None


def tell_the_same(pairs: Iterable[tuple[Path, Path]]) -> bool:
    """Return whether each value of the first masks is one of the second: a copy, or one in colours.

    Masks of a single value tell nothing.
    """
    both = set[int]()
    for pair in pairs:
        try:
            first, second = (values_of(path, path.name) for path in pair)
        except (BadSampleError, OSError):
            return False
        if first.shape != second.shape:
            return False
        both |= {*np.unique(_thinned(first) * np.int64(1 << 24) + _thinned(second)).tolist()}
    firsts, seconds = {value >> 24 for value in both}, {value % (1 << 24) for value in both}
    return 1 < len(both) == len(firsts) == len(seconds)


def _thinned(values: np.ndarray) -> np.ndarray:
    step = max(1, math.isqrt(values.size // _PIXELS))
    return values[::step, ::step]
