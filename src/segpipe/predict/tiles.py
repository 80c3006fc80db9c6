"""Large pictures in overlapping tiles of the network's size, blended."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

Read = Callable[[int, int], np.ndarray]
"""From a top row and a left column to that tile, uint8 [*tile, bands], black beyond the picture."""

_OVERLAP = 1 / 4  # the least part of a tile's edge that it shares with the next


def starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin along an edge: evenly spread, the last one ending with the edge."""
    if length <= tile:
        return [0]
    count = 1 + -(-(length - tile) // int(tile * (1 - _OVERLAP)))
    return [position * (length - tile) // (count - 1) for position in range(count)]


def weights(begins: list[int], tile: int) -> np.ndarray:
    """Return the weight of each tile along an edge: float64 [tiles, tile].

    A Hann window, divided by the sum of the windows that overlap: the weights of a pixel add up to 1,
    and a pixel in only one tile has weight exactly 1.
    """
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(begins[-1] + tile)
    for begin in begins:
        total[begin : begin + tile] += window
    return np.stack([window / total[begin : begin + tile] for begin in begins])


def tiles_of(pixels: np.ndarray, tile: tuple[int, int]) -> Read:
    """Return the function that reads tiles from a picture in memory, uint8 [height, width, bands]."""

    def read(top: int, left: int) -> np.ndarray:
        part = pixels[top : top + tile[0], left : left + tile[1]]
        if part.shape[:2] == tile:
            return part
        filled = np.zeros((*tile, pixels.shape[2]), np.uint8)
        filled[: part.shape[0], : part.shape[1]] = part
        return filled

    return read


def blended(
    predict: Callable[[np.ndarray], np.ndarray],
    read: Read,
    size: tuple[int, int],
    tile: tuple[int, int],
    classes: int,
    batch: int,
) -> Iterator[np.ndarray]:
    """Predict a picture of `size` in tiles of height and width `tile`, `batch` of them at a time.

    `read` returns its tiles. `predict` maps uint8 images [n, *tile, bands] to float32 probabilities
    [n, *tile, classes]. Yields probabilities from top to
    bottom, float32 [rows, width, classes]: rows that no later tile touches. It keeps no more than a row
    of tiles.
    """
    height, width = tile
    tops, lefts = starts(size[0], height), starts(size[1], width)
    by_row, by_column = weights(tops, height), weights(lefts, width)
    columns = list(zip(lefts, by_column, strict=True))
    below = np.zeros((0, lefts[-1] + width, classes), np.float32)
    for (top, end), row_weight in zip(pairwise([*tops, size[0]]), by_row, strict=True):
        band = np.zeros((height, *below.shape[1:]), np.float32)
        band[: len(below)] = below
        for first in range(0, len(columns), batch):
            some = columns[first : first + batch]
            predicted = predict(np.stack([read(top, left) for left, _ in some]))
            for (left, column_weight), part in zip(some, predicted, strict=True):
                weight = np.outer(row_weight, column_weight).astype(np.float32)
                band[:, left : left + width] += part * weight[..., None]
        yield band[: end - top, : size[1]]
        below = band[end - top :]
