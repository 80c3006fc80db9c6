"""A mask as polygons that lie over each other: those below first, which are the larger ones.

A polygon fills the holes of its part; parts in a hole are polygons above it. Corners are the middles
of pixels of the border, so that drawing a polygon with its outline covers these pixels.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LEAST = 0.99
"""The IoU of each class, as drawn, with the mask, at least."""
_TRIES = ((8, 1.0), (8, 0.75), (8, 0.5), (8, 0.0), (4, 0.0))
"""How many neighbours connect a part, and by how many pixels a polygon may leave its border: the fewest
corners first. Parts that four neighbours connect never cross each other, so the last try is exact."""
_SMALL = 64  # pixels of the box around a part, up to which equal parts are looked at once
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))  # row, column; clockwise
_TURNS = [[(direction + turn) % 8 for turn in range(6, 14)] for direction in range(8)]

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
        corners = _corners([part.border for part in parts], tolerance)
        drawn = zip((part.index for part in parts), corners, strict=True)
        polygons = [*ground, *(Outline(*polygon) for polygon in drawn)]
        lookup = np.array([base, *(polygon.index for polygon in polygons)], np.uint8)
        if _least_iou(mask, lookup[draw([polygon.corners for polygon in polygons])]) >= LEAST:
            break
    return polygons


@dataclass(frozen=True)
class _Shape:
    """The pixels of a part, wherever it lies."""

    inside: np.ndarray  # bool, of the box around them
    filled: np.ndarray  # the same with the holes
    border: np.ndarray  # int64 [n, 2]: the pixels of the outer border in order, row and column

    @classmethod
    def of(cls, inside: np.ndarray) -> "_Shape":
        """Return the shape of connected pixels."""
        return cls(inside, _filled(inside), border(inside))


@functools.lru_cache(maxsize=1 << 14)
def _small_shape(size: tuple[int, int], inside: bytes) -> _Shape:
    """Return a shape from its bytes; noise has thousands of parts, and few different ones."""
    return _Shape.of(np.frombuffer(inside, bool).reshape(size))


@dataclass(frozen=True)
class _Part:
    """Connected pixels of one class."""

    index: int
    place: tuple[slice, slice]  # the box around them
    shape: _Shape

    @property
    def border(self) -> np.ndarray:
        """The pixels of its outer border in the picture, as those of its shape."""
        rows, columns = self.place
        return self.shape.border + np.array([rows.start, columns.start])


def _corners(borders: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Return the corners of polygons that leave borders by so many pixels at most."""
    kept = simplified(borders, tolerance)
    whole = (np.concatenate([some, some[-1:].repeat(max(3 - len(some), 0), axis=0)]) for some in kept)
    return [some[:, ::-1] + 0.5 for some in whole]


def _parts(mask: np.ndarray, neighbours: int) -> list[_Part]:
    """Return the connected parts of all classes, those that fill most pixels first."""
    parts = []
    structure = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    for index in np.unique(mask).tolist():
        numbers, _ = ndimage.label(mask == index, structure)
        for number, place in enumerate(ndimage.find_objects(numbers), 1):
            inside = numbers[place] == number
            small = inside.size <= _SMALL
            shape = _small_shape(inside.shape, inside.tobytes()) if small else _Shape.of(inside)
            parts.append(_Part(index, place, shape))
    return sorted(parts, key=lambda part: -int(part.shape.filled.sum()))


def _filled(inside: np.ndarray) -> np.ndarray:
    """Return a part with its holes: all that cannot be reached from outside by its four neighbours."""
    outside, _ = ndimage.label(~_padded(inside))
    return (outside != outside[0, 0])[1:-1, 1:-1]


def _padded(inside: np.ndarray) -> np.ndarray:
    """Return a part with a pixel around it; `np.pad` takes longer than all else for a small one."""
    padded = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = inside
    return padded


def _needed(parts: list[_Part], base: int, size: tuple[int, ...]) -> Iterator[_Part]:
    """Yield the parts that still lack pixels once those before them are drawn."""
    canvas = np.full(size, base, np.uint8)
    for part in parts:
        window = canvas[part.place]
        if (window[part.shape.inside] != part.index).any():
            window[part.shape.filled] = part.index
            yield part


def border(inside: np.ndarray) -> np.ndarray:
    """Return the outer border of a connected part, bool [height, width], clockwise: int64 [n, 2].

    It goes from pixel to pixel by Moore's neighbourhood; a pixel of a thin part occurs once for each
    side that it shows.
    """
    padded = _padded(inside)
    cells, width = padded.tobytes(), padded.shape[1]
    steps = [row * width + column for row, column in _STEPS]
    at = start = int(padded.argmax())  # the first from above: nothing lies above it, or left of it
    direction, first, path = 0, -1, [start]
    while True:
        for turn in _TURNS[direction]:
            if cells[at + steps[turn]]:
                break
        else:
            break
        if at == start and turn == first:
            break
        direction = turn
        first = direction if first < 0 else first
        at += steps[direction]
        path.append(at)
    pixels = path[:-1] if len(path) > 1 else path
    return np.stack(np.divmod(np.array(pixels), width), axis=1) - 1


def simplified(lines: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Return some points of each closed line, from which no other of it is farther than `tolerance`.

    Douglas and Peucker (1973), from the first point and the one farthest from it. All pieces of all
    lines are split at once, since noise has thousands of short ones.
    """
    if not lines:
        return []
    sizes = np.array([len(line) for line in lines])
    closed = np.concatenate([np.concatenate([line, line[:1]]) for line in lines]).astype(np.float64)
    starts = np.cumsum(sizes + 1) - (sizes + 1)
    ways = np.abs(closed - closed[np.repeat(starts, sizes + 1)]).sum(axis=1)
    _, far = _largest(ways, sizes + 1)
    kept = np.zeros(len(closed), bool)
    kept[starts] = kept[far] = True
    begin, end = np.concatenate([starts, far]), np.concatenate([far, starts + sizes])
    while (wide := end - begin > 1).any():
        begin, end = begin[wide], end[wide]
        away = _distances(closed, begin, end)
        most, place = _largest(away, end - begin - 1)
        beyond = most > tolerance + 1e-9
        worst = (place - np.cumsum(end - begin - 1) + end)[beyond]
        kept[worst] = True
        begin, end = np.append(begin[beyond], worst), np.append(worst, end[beyond])
    return [line[kept[start : start + len(line)]] for line, start in zip(lines, starts, strict=True)]


def _distances(points: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the distances of the points between each `begin` and `end` to the line that joins them."""
    counts = end - begin - 1
    of = np.repeat(np.arange(len(begin)), counts)
    places = np.arange(len(of)) + (begin + 1 - np.cumsum(counts) + counts)[of]
    steps = points[places] - points[begin][of]
    along = points[end] - points[begin]
    length = (along * along).sum(axis=1)
    along, length = along[of], np.where(length, length, 1)[of]  # without a length, all shares are 0
    shares = ((steps * along).sum(axis=1) / length).clip(0, 1)
    return np.hypot(*(steps - shares[:, None] * along).T)


def _largest(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest value of each group of so many values, and the first place that has it."""
    most = np.maximum.reduceat(values, np.cumsum(counts) - counts)
    of = np.repeat(np.arange(len(counts)), counts)
    places = np.flatnonzero(values == most[of])
    return most, places[np.unique(of[places], return_index=True)[1]]


def _whole(size: tuple[int, ...]) -> np.ndarray:
    bottom, right = size[0] - 0.5, size[1] - 0.5
    return np.array([(0.5, 0.5), (right, 0.5), (right, bottom), (0.5, bottom)])


def _least_iou(mask: np.ndarray, drawn: np.ndarray) -> float:
    pairs = np.bincount(256 * mask.astype(np.int64).ravel() + drawn.ravel(), minlength=1 << 16)
    pairs = pairs.reshape(256, 256)
    both = pairs.diagonal()
    either = pairs.sum(0) + pairs.sum(1) - both
    return float((both[either > 0] / either[either > 0]).min())
