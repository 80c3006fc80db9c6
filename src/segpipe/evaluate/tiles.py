"""Pictures in overlapping tiles of the network's size: predicted, blended, brought to their own size.

Everything flows from top to bottom, a row of tiles at a time, so that memory grows with the width alone
(and, since a row of tiles covers more of the original there, with the inverse of a small scale).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from segpipe.evaluate.masks import Predict, in_batches, softmax
from segpipe.preprocess.tiles import original_starts, starts, window

Read = Callable[[int, int], np.ndarray]
"""From a top row and a left column to that tile, uint8 [*tile, bands], black beyond the picture."""


def weights(begins: list[int], tile: int) -> np.ndarray:
    """Return the weight of each tile along an edge: float64 [tiles, tile].

    A Hann window, divided by the sum of the windows that overlap: the weights of a pixel add up to 1,
    and a pixel in only one tile has weight exactly 1.
    """
    hann = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(begins[-1] + tile)
    for begin in begins:
        total[begin : begin + tile] += hann
    return np.stack([hann / total[begin : begin + tile] for begin in begins])


def tiles_of(pixels: np.ndarray, tile: tuple[int, int]) -> Read:
    """Return the function that reads tiles from a picture in memory, uint8 [height, width, bands]."""
    return lambda top, left: window(pixels, top, left, tile)


def tiled(read: Read, size: tuple[int, int], tile: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the tiles of a picture of `size`, row by row."""
    for top in starts(size[0], tile[0]):
        for left in starts(size[1], tile[1]):
            yield read(top, left)


def predicted(network: Predict, tiles: Iterable[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """Yield the probabilities of tiles, float32 [*tile, classes], predicted `batch` at a time.

    Tiles of several pictures may share a batch.
    """

    def probabilities_of(images: list[np.ndarray]) -> np.ndarray:
        return softmax(network(np.stack(images)))

    for _, probabilities in in_batches(probabilities_of, tiles, batch):
        yield from probabilities


def blended(
    parts: Iterator[np.ndarray], size: tuple[int, int], tile: tuple[int, int], classes: int
) -> Iterator[np.ndarray]:
    """Blend the probabilities of a picture's tiles, which `parts` holds in the order of `tiled`.

    Takes no more of `parts` than the tiles of a picture of `size`. Yields probabilities from top to
    bottom, float32 [rows, width, classes]: rows that no later tile touches. It keeps no more than a row
    of tiles.
    """
    height, width = tile
    tops, lefts = starts(size[0], height), starts(size[1], width)
    by_row, by_column = weights(tops, height), weights(lefts, width)
    below = np.zeros((0, lefts[-1] + width, classes), np.float32)
    for (top, end), row_weight in zip(pairwise([*tops, size[0]]), by_row, strict=True):
        band = np.zeros((height, *below.shape[1:]), np.float32)
        band[: len(below)] = below
        for left, column_weight in zip(lefts, by_column, strict=True):
            weight = np.outer(row_weight, column_weight).astype(np.float32)
            band[:, left : left + width] += next(parts) * weight[..., None]
        yield band[: end - top, : size[1]]
        below = band[end - top :]


def rows_of(
    network: Predict,
    read: Read,
    scaled: tuple[int, int],
    original: tuple[int, int],
    tile: tuple[int, int],
    classes: int,
    batch: int,
) -> Iterator[np.ndarray]:
    """Predict a picture in tiles, `batch` at a time; yield what `at_original` does.

    `read` gives the tiles of the picture at the size `scaled`, at which the network sees it.
    """
    parts = predicted(network, tiled(read, scaled, tile), batch)
    return at_original(blended(parts, scaled, tile, classes), scaled, original, tile[0])


def at_original(
    rows: Iterable[np.ndarray], scaled: tuple[int, int], original: tuple[int, int], tile: int
) -> Iterator[np.ndarray]:
    """Bring the rows of `blended` to the picture's own size, float32 [rows, width, classes].

    They are scaled bilinearly, antialiased where that shrinks them. `tile` is a tile's height. There are
    as many parts as in `rows`, cut at `original_starts`; one may be empty.
    """
    if scaled == original:
        yield from rows
        return
    factor = scaled[0] / original[0]
    reach = int(max(factor, 1)) + 2  # rows beyond its own that a pixel may need
    stream = iter(rows)
    known, first = next(stream), 0  # rows, and the number of the first
    for begin, end in pairwise(original_starts(starts(scaled[0], tile), scaled[0], original[0])):
        needed = min(int(end * factor) + reach, scaled[0])
        while first + len(known) < needed:
            known = np.concatenate([known, next(stream)])
        yield _scaled(known, (begin * factor - first, end * factor - first), end - begin, original[1])
        if (unneeded := max(int(end * factor) - reach - first, 0)) > 0:
            known, first = known[unneeded:], first + unneeded


def _scaled(rows: np.ndarray, span: tuple[float, float], height: int, width: int) -> np.ndarray:
    """Scale the rows from `span[0]` to `span[1]`; those around it count as the picture's do."""
    if not height:
        return np.zeros((0, width, rows.shape[2]), np.float32)
    box = (0, max(span[0], 0), rows.shape[1], min(span[1], len(rows)))
    channels = (
        Image.fromarray(np.ascontiguousarray(channel)).resize(
            (width, height), Image.Resampling.BILINEAR, box
        )
        for channel in np.moveaxis(rows, -1, 0)
    )
    return np.stack([np.asarray(channel) for channel in channels], -1)


class RowsInContext(NamedTuple):
    """Rows of several arrays with the rows around them; `own` are the rows that count."""

    arrays: tuple[np.ndarray, ...]
    own: slice


class Neighbourhood:
    """Gives rows of a picture that come part by part the rows around them, up to `reach`."""

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self._kept: Sequence[np.ndarray] = ()
        self._above = 0

    def add(self, arrays: Sequence[np.ndarray], last: bool) -> RowsInContext:
        """Take the next rows of several arrays, each [rows, width], all with equally many rows.

        `last` marks the picture's end. Returns them with up to `reach` rows of context on both sides;
        `own` are the rows that no earlier call returned and whose context is complete.
        """
        if self._kept:
            arrays = [np.concatenate(pair) for pair in zip(self._kept, arrays, strict=True)]
        count = len(arrays[0])
        end = count if last else max(count - self.reach, self._above)
        rows_in_context = RowsInContext(tuple(arrays), slice(self._above, end))
        start = count if last else max(end - self.reach, 0)
        self._kept, self._above = () if last else [rows[start:] for rows in arrays], end - start
        return rows_in_context
