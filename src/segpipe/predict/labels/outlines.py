"""A mask as polygons that lie over each other: those below first, which are the larger ones.

A polygon fills the holes of its part; parts in a hole are polygons above it. Corners are the middles
of pixels of the border, so that drawing a polygon with its outline covers these pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LEAST = 0.99
"""The IoU of each class, as drawn, with the mask, at least."""
_TRIES = ((8, 1.0), (8, 0.75), (8, 0.5), (8, 0.0), (4, 0.0))
"""How many neighbours connect a part, and by how many pixels a polygon may leave its border: the fewest
corners first. Parts that four neighbours connect never cross each other, so the last try is exact."""
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # row, column; clockwise

Draw = Callable[[list[np.ndarray]], np.ndarray]
"""From corners, float64 [n, 2] of each polygon, to int32 [height, width]: 0, or n for the n-th."""


@dataclass(frozen=True)
class Outline:
    """A polygon of one class."""

    index: int  # of the class, 255 for ignored pixels
    corners: np.ndarray  # float64 [n, 2], three at least: x and y


def outlines(mask: np.ndarray, uncovered: int | None, classes: int, draw: Draw) -> list[Outline]:
    """Return polygons from which `draw` makes the mask again, each class with an IoU of `LEAST` or more.

    `mask` holds class indices, uint8 [height, width], 255 for ignored pixels. Pixels without a polygon
    are of the class `uncovered`; where there is none, the first polygon covers the whole picture.
    """
    counts = np.bincount(mask.ravel(), minlength=classes)[:classes]
    base = int(counts.argmax()) if uncovered is None else uncovered
    ground = [Outline(base, _whole(mask.shape))] if uncovered is None else []
    parts: list[_Part] = []
    connected = 0  # by how many neighbours `parts` are
    for neighbours, tolerance in _TRIES:
        if neighbours != connected:
            parts, connected = [*_needed(_parts(mask, neighbours), base, mask.shape)], neighbours
        polygons = [*ground, *(Outline(part.index, part.corners(tolerance)) for part in parts)]
        lookup = np.array([base, *(polygon.index for polygon in polygons)], np.uint8)
        if _least_iou(mask, lookup[draw([polygon.corners for polygon in polygons])]) >= LEAST:
            break
    return polygons


@dataclass(frozen=True)
class _Part:
    """Connected pixels of one class."""

    index: int
    place: tuple[slice, slice]  # the box around them
    inside: np.ndarray  # bool, of the box
    filled: np.ndarray  # the same with the holes
    border: np.ndarray  # int64 [n, 2]: the pixels of the outer border in order, row and column

    def corners(self, tolerance: float) -> np.ndarray:
        """Return the corners of a polygon that leaves the border by so many pixels at most."""
        kept = simplified(self.border, tolerance)
        kept = np.concatenate([kept, kept[-1:].repeat(max(3 - len(kept), 0), axis=0)])
        return kept[:, ::-1] + 0.5


def _parts(mask: np.ndarray, neighbours: int) -> list[_Part]:
    """Return the connected parts of all classes, those that fill most pixels first."""
    parts = []
    structure = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    for index in np.unique(mask).tolist():
        numbers, _ = ndimage.label(mask == index, structure)
        for number, place in enumerate(ndimage.find_objects(numbers), 1):
            inside = numbers[place] == number
            origin = place[0].start, place[1].start
            parts.append(_Part(index, place, inside, _filled(inside), border(inside) + origin))
    return sorted(parts, key=lambda part: -int(part.filled.sum()))


def _filled(inside: np.ndarray) -> np.ndarray:
    """Return a part with its holes: all that cannot be reached from outside by its four neighbours."""
    outside, _ = ndimage.label(~np.pad(inside, 1))
    return (outside != outside[0, 0])[1:-1, 1:-1]


def _needed(parts: list[_Part], base: int, size: tuple[int, ...]) -> Iterator[_Part]:
    """Yield the parts that still lack pixels once those before them are drawn."""
    canvas = np.full(size, base, np.uint8)
    for part in parts:
        window = canvas[part.place]
        if (window[part.inside] != part.index).any():
            window[part.filled] = part.index
            yield part


def border(inside: np.ndarray) -> np.ndarray:
    """Return the outer border of a connected part, bool [height, width], clockwise: int64 [n, 2].

    It goes from pixel to pixel by Moore's neighbourhood; a pixel of a thin part occurs once for each
    side that it shows.
    """
    padded = np.pad(inside, 1)
    cells, width = padded.tobytes(), padded.shape[1]
    steps = [row * width + column for row, column in _STEPS]
    at = start = int(padded.argmax())  # the first from above: nothing lies above it, or left of it
    direction, first, path = 0, -1, [start]
    while True:
        turns = ((direction + turn) % 8 for turn in range(6, 14))
        direction = next((turn for turn in turns if cells[at + steps[turn]]), -1)
        if direction < 0 or (at == start and direction == first):
            break
        first = direction if first < 0 else first
        at += steps[direction]
        path.append(at)
    pixels = path[:-1] if len(path) > 1 else path
    return np.stack(np.divmod(np.array(pixels), width), axis=1) - 1


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """Return some points of a closed line, from which no other is farther than `tolerance`.

    Douglas and Peucker (1973), from the first point and the one farthest from it.
    """
    closed = np.concatenate([points, points[:1]])
    far = int(np.abs(points - points[0]).sum(axis=1).argmax())
    kept = np.zeros(len(closed), bool)
    kept[[0, far]] = True
    waiting = [(0, far), (far, len(points))]
    while waiting:
        begin, end = waiting.pop()
        away = _distances(closed[begin : end + 1])
        worst = int(away.argmax())
        if away[worst] > tolerance + 1e-9:
            kept[begin + worst] = True
            waiting += [(begin, begin + worst), (begin + worst, end)]
    return points[kept[:-1]]


def _distances(points: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the line from the first to the last one."""
    start = points[0]
    along = (points[-1] - start).astype(np.float64)
    length = along @ along
    shares = ((points - start) @ along / length).clip(0, 1) if length else np.zeros(len(points))
    return np.hypot(*(points - start - shares[:, None] * along).T)


def _whole(size: tuple[int, ...]) -> np.ndarray:
    bottom, right = size[0] - 0.5, size[1] - 0.5
    return np.array([(0.5, 0.5), (right, 0.5), (right, bottom), (0.5, bottom)])


def _least_iou(mask: np.ndarray, drawn: np.ndarray) -> float:
    pairs = np.bincount(256 * mask.astype(np.int64).ravel() + drawn.ravel(), minlength=1 << 16)
    pairs = pairs.reshape(256, 256)
    both = pairs.diagonal()
    either = pairs.sum(0) + pairs.sum(1) - both
    return float((both[either > 0] / either[either > 0]).min())
