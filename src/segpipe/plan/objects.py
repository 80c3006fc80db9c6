"""The thickness of the objects of each class, in pixels of their pictures."""

from collections import Counter, defaultdict

import numpy as np

from segpipe.common.classes import IGNORE

MASKS = 16  # masks in which a class is measured; more change little
_WINDOW = 512  # edge of the part of a mask that is measured, pixels
_STRIP = 64  # rows
_RARE = 1e-5  # a class with a smaller share of the pixels may be a slip of the pen


class Thickness:
    """Collects the thickness of each class, from mask to mask."""

    def __init__(self) -> None:
        self.pixels = Counter[int]()  # by class
        self._widths: dict[int, list[np.ndarray]] = defaultdict(list)

    def add(self, mask: np.ndarray) -> None:
        """Measure the classes of a mask, indices as uint8 [height, width]."""
        counts = np.zeros(256, np.int64)
        for top in range(0, len(mask), _STRIP):  # bincount takes 8 bytes a pixel
            counts += np.bincount(mask[top : top + _STRIP].ravel(), minlength=256)
        for index in np.flatnonzero(counts[:IGNORE]).tolist():
            self.pixels[index] += int(counts[index])
            if len(self._widths[index]) < MASKS:
                self._widths[index].append(widths(around(mask == index)))

    def by_class(self) -> dict[int, float]:
        """Return the typical thickness of each class, the thinnest first, without very rare classes."""
        least = _RARE * self.pixels.total()
        thickness = {
            n: typical(np.concatenate(w)) for n, w in self._widths.items() if self.pixels[n] >= least
        }
        measured = ((n, width) for n, width in thickness.items() if width)
        return dict(sorted(measured, key=lambda item: item[1]))


def around(inside: np.ndarray) -> np.ndarray:
    """Return a window of a class's pixels, bool [height, width], around the middle one of them."""
    ends = np.cumsum(inside.sum(1))  # pixels up to the end of each row
    number = ends[-1] // 2
    row = int(np.searchsorted(ends, number, "right"))
    column = np.flatnonzero(inside[row])[number - ends[row]]  # counted from the row's end
    begins = [
        int(np.clip(at - _WINDOW // 2, 0, max(edge - _WINDOW, 0)))
        for at, edge in zip((row, column), inside.shape, strict=True)
    ]
    return inside[begins[0] : begins[0] + _WINDOW, begins[1] : begins[1] + _WINDOW]


def widths(inside: np.ndarray) -> np.ndarray:
    """Return the thickness of a class at each place that is farther from its edges than those around.

    There the nearest outside pixels of two neighbours lie on different sides, far from each other. A
    line of 1 px has thickness 1, a bar its width, a disc its diameter. Pixels beyond the window count as
    outside.
    """
    from scipy import ndimage  # takes 0.15 s

    distances, nearest = ndimage.distance_transform_edt(np.pad(inside, 1), return_indices=True)
    farthest = np.where(distances < ndimage.maximum_filter(distances, 3), 0, distances)
    measured = []
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        gaps = np.hypot(*(of_axis[first] - of_axis[second] for of_axis in nearest))
        reach = np.maximum(farthest[first], farthest[second])
        middle = (reach > 0) & (gaps >= 2) & (gaps >= 1.5 * reach)
        measured.append(np.maximum(gaps, 2 * reach)[middle] - 1)
    return np.concatenate(measured)


def typical(widths: np.ndarray) -> float:
    """Return the median width, each weighted by the area of its square; 0 where there are none."""
    if not widths.size:
        return 0.0
    ordered = np.sort(widths)
    area = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(area, area[-1] / 2)])
