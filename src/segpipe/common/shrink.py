"""Shrink pictures and masks for people by whole factors; rows may come one by one."""

from collections.abc import Callable, Sequence

import numpy as np

LONGEST = 512  # pixels of the longer edge of a shrunk picture, at most

Shrink = Callable[[np.ndarray], np.ndarray]
"""Reduces up to `factor` rows, [rows, width, ...], to one row of pixels, [1, width / factor, ...]."""


def factor_for(size: tuple[int, int]) -> int:
    """Return the edge of the blocks that become one pixel, so that a picture fits `LONGEST`."""
    return -(-max(size) // LONGEST)


def rarest_first(pixels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the rank of each value of a mask, int [256], given the pixels of each class.

    The rarest class has rank 0; ignored pixels, and values that are no class, come last.
    """
    counts = np.full(256, np.iinfo(np.int64).max)
    counts[: len(pixels)] = pixels
    ranks = np.empty(256, np.int64)
    ranks[np.argsort(counts, kind="stable")] = np.arange(256)
    return ranks


def mean_of(factor: int) -> Shrink:
    """Return a function that averages the colours, uint8 [h, w, 3], of each block."""

    def shrink(rows: np.ndarray) -> np.ndarray:
        begins = np.arange(0, rows.shape[1], factor)
        sums = np.add.reduceat(rows.sum(0, dtype=np.uint32), begins, 0)
        pixels = len(rows) * np.diff([*begins, rows.shape[1]])[:, None]
        return ((sums + pixels // 2) // pixels).astype(np.uint8)[None]

    return shrink


def rarest_of(factor: int, ranks: np.ndarray) -> Shrink:
    """Return a function that reduces each block of a mask, uint8 [h, w], to its rarest crossing class.

    A class crosses a block if it has at least as many pixels as the block has rows, as a line of 1 px
    through it would have; so thin things stay, and single wrong pixels do not grow. Where no class
    crosses the block, it becomes the commonest one.
    """
    by_rank = np.argsort(ranks)

    def shrink(rows: np.ndarray) -> np.ndarray:
        blocks = -(-rows.shape[1] // factor)
        of_pixel = np.arange(rows.shape[1]) // factor * 256
        counts = np.bincount((of_pixel + ranks[rows]).ravel(), minlength=blocks * 256)
        counts = counts.reshape(blocks, 256)
        enough = counts >= np.minimum(factor, counts.max(1))[:, None]
        return by_rank[enough.argmax(1)].astype(np.uint8)[None]

    return shrink


class Shrinker:
    """Shrinks a picture whose rows come from top to bottom, and keeps fewer than `factor` of them."""

    def __init__(self, factor: int, shrink: Shrink) -> None:
        self.factor, self._shrink = factor, shrink
        self._waiting: list[np.ndarray] = []  # fewer than `factor` rows
        self._shrunk: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Take the next rows, [height, width, ...]."""
        if self.factor == 1:
            self._shrunk.append(rows.copy())  # a part of a record would keep all of it
            return
        rows = np.concatenate([*self._waiting, rows])
        complete = len(rows) // self.factor * self.factor
        self._shrunk += [
            self._shrink(rows[y : y + self.factor]) for y in range(0, complete, self.factor)
        ]
        self._waiting = [rows[complete:].copy()] if complete < len(rows) else []

    def picture(self) -> np.ndarray:
        """Return the shrunk picture; call it after the last row."""
        self._shrunk += [self._shrink(rows) for rows in self._waiting]
        self._waiting = []
        return np.concatenate(self._shrunk)


def shrunk(pixels: np.ndarray, factor: int, shrink: Shrink) -> np.ndarray:
    """Return a picture [height, width, ...] as [ceil(height / factor), ceil(width / factor), ...].

    `shrink` is `mean_of` or `rarest_of` of the same factor.
    """
    shrinker = Shrinker(factor, shrink)
    shrinker.add(pixels)
    return shrinker.picture()
