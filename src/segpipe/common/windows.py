"""The window of a picture with the most mistakes, which people see in full resolution."""

import numpy as np

from segpipe.common.shrink import LONGEST

_STEPS = 4  # steps of the search, in a window's edge


class Mistakes:
    """Counts the wrong pixels of a picture by the cells of a coarse grid, from row to row."""

    def __init__(self, size: tuple[int, int], tile: tuple[int, int]) -> None:
        """Take the size of the picture, and that of the network's input."""
        height, width = (min(*edges, LONGEST) for edges in zip(tile, size, strict=True))
        self.size, self.window = size, (height, width)
        self.cell = -(-height // _STEPS), -(-width // _STEPS)
        self._counts = np.zeros([-(-size[0] // self.cell[0]), -(-size[1] // self.cell[1])], np.uint32)

    @property
    def total(self) -> int:
        """All wrong pixels so far."""
        return int(self._counts.sum())

    def add(self, top: int, wrong: np.ndarray) -> None:
        """Take the rows from `top` on, bool [rows, width]; rows come in order and do not overlap."""
        y, x = np.nonzero(wrong)
        first, columns = top // self.cell[0], self._counts.shape[1]
        counts = np.bincount(((y + top) // self.cell[0] - first) * columns + x // self.cell[1])
        reached = -(-len(counts) // columns)
        counts = np.pad(counts, (0, reached * columns - len(counts))).reshape(reached, columns)
        self._counts[first : first + reached] += counts.astype(np.uint32)

    def worst(self) -> tuple[int, int]:
        """Return top and left of the window with the most wrong pixels, the first of equals.

        It begins with a cell, or ends with the picture. Where all is right, it is in the middle.
        """
        last = self.size[0] - self.window[0], self.size[1] - self.window[1]
        if not self.total:
            return last[0] // 2, last[1] // 2
        padded = np.pad(self._counts, (1, _STEPS - 1))
        sums = padded.cumsum(0, np.uint32, padded).cumsum(1, np.uint32, padded)
        down = sums[_STEPS:] - sums[:-_STEPS]
        inside = down[:, _STEPS:] - down[:, :-_STEPS]
        row, column = divmod(int(inside.argmax()), inside.shape[1])
        return min(row * self.cell[0], last[0]), min(column * self.cell[1], last[1])
