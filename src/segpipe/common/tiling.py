"""How the tiles of a picture share its pixels."""

from itertools import pairwise


def own_ranges(begins: list[int], tile: int, length: int) -> list[tuple[int, int]]:
    """Return the part of an edge that counts in each tile: it ends in the middle of an overlap."""
    ends = [(after + before + tile) // 2 for before, after in pairwise(begins)]
    return [*pairwise([0, *ends, length])]
