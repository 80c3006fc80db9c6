"""The percentiles of any number of pictures, exact and in constant memory."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from segpipe.preprocess.intensity import STRIP, Ranges

Deep = tuple[np.ndarray, np.ndarray | None]  # pixels [height, width, bands]; which are invalid
Pictures = Callable[[], Iterable[Deep]]  # all pictures, each time that it is called

LEAST, MOST = 0.005, 0.995
"""The quantiles of the training pixels that `data.intensity: auto` takes as low and high."""

_DIGIT = 1 << 16


def found_ranges(pictures: Pictures, bands: int, depths: Iterable[str]) -> Ranges | None:
    """Return the 0.5 and 99.5 percentiles of each band over all valid pixels; None without any.

    They equal those of `numpy.percentile`. Values are counted by their upper 16 bits and, for floats, in
    a second pass by the lower 16 where a percentile lies. The least and the greatest value replace
    equal percentiles, so that there is a range. `depths` are the types of the pictures.
    """
    kind = np.result_type(*(np.dtype(depth) for depth in depths))
    kind = kind if kind.itemsize == 2 else np.dtype(np.float32)  # which holds any 16-bit number
    counts = np.zeros((bands, _DIGIT), np.int64)
    for rows, keys in _keys(pictures(), bands, kind):
        counts[rows] += np.bincount(keys >> 16, minlength=_DIGIT)
    total = int(counts[0].sum())  # a pixel is valid in all bands or in none
    if not total:
        return None
    ranks = [0, *_around(LEAST, total), *_around(MOST, total), total - 1]
    digits = [np.searchsorted(band.cumsum(), ranks, "right") for band in counts]
    keys = np.array(digits, np.uint32) << 16
    if kind.itemsize == 4:
        keys |= _lower_digits(pictures, kind, counts, digits, ranks)
    return tuple(_range(_values(band_keys, kind).tolist(), total) for band_keys in keys)


def _lower_digits(
    pictures: Pictures, kind: np.dtype, counts: np.ndarray, digits: list[np.ndarray], ranks: list[int]
) -> np.ndarray:
    """Return the lower 16 bits of the values at `ranks`, uint32 [bands, ranks]; `digits` the upper."""
    finer = [{digit: np.zeros(_DIGIT, np.int64) for digit in band.tolist()} for band in digits]
    for rows, keys in _keys(pictures(), len(digits), kind):
        upper, lower = keys >> 16, keys & 0xFFFF
        for counts_by_digit in finer[rows]:
            for digit, lower_counts in counts_by_digit.items():
                lower_counts += np.bincount(lower[upper == digit], minlength=_DIGIT)
    result = np.zeros((len(digits), len(ranks)), np.uint32)
    for band, upper_digits in enumerate(digits):
        below = counts[band].cumsum() - counts[band]
        for place, (digit, rank) in enumerate(zip(upper_digits.tolist(), ranks, strict=True)):
            within = finer[band][digit].cumsum()
            result[band, place] = np.searchsorted(within, rank - below[digit], "right")
    return result


def _keys(pictures: Iterable[Deep], bands: int, kind: np.dtype) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the valid values as uint32 of the same order, with the bands that they belong to.

    Grey pictures belong to all bands.
    """
    for pixels, invalid in pictures:
        height, width, channels = pixels.shape
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):
            strip = pixels[top : top + rows]
            valid = slice(None) if invalid is None else ~invalid[top : top + rows]
            for band in range(channels):
                belongs_to = slice(band, band + 1) if channels == bands else slice(None)
                yield belongs_to, _ordered(strip[..., band][valid].ravel(), kind)


def _ordered(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return uint32 in the order of the values; 16-bit numbers take the upper 16 bits."""
    if kind.itemsize == 2:
        return (values.astype(np.int32) - np.iinfo(kind).min).astype(np.uint32) << 16
    bits = values.astype(np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | 1 << 31)


def _values(keys: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Undo `_ordered`."""
    if kind.itemsize == 2:
        return (keys >> 16).astype(np.float64) + np.iinfo(kind).min
    return np.where(keys >> 31, keys ^ 1 << 31, ~keys).astype(np.uint32).view(np.float32)


def _around(quantile: float, total: int) -> tuple[int, int]:
    """Return the ranks between which a quantile of `total` values lies."""
    place = (total - 1) * quantile
    return math.floor(place), math.ceil(place)


def _range(values: list[float], total: int) -> tuple[float, float]:
    least, *inner, most = values
    low, high = (
        below + (above - below) * ((total - 1) * quantile % 1)
        for below, above, quantile in ((*inner[:2], LEAST), (*inner[2:], MOST))
    )
    if low < high:
        return low, high
    return (least, most) if least < most else (least, least + max(1.0, abs(least)))
