"""Near duplicates: pictures of different splits whose perceptual hashes differ in few bits.

A hash is 16 hexadecimal digits; a picture without features has none, and is like no other picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segpipe.common.words import listed

NEAR = 8
"""Bits of 64 in which the hashes of near duplicates differ at most.

Measured on 598 photographs: at 8 every pair is of one photograph, at 10 the first pair is not. A copy at
half the size and JPEG quality 50, 10 % brighter and cropped by 2 %, differs in 2 (median) to 8 bits.
"""

OnNear = Literal["warn", "error", "skip"]


@dataclass(frozen=True)
class Near:
    """A picture, and the one of another split that it is most like."""

    picture: str
    split: str
    twin: str
    twin_split: str
    distance: int  # bits of 64

    def __str__(self) -> str:
        """Return one line for people."""
        twin = f"{self.twin} ({self.twin_split})"
        return f"{self.picture} ({self.split}) looks like {twin}, {self.distance} of 64 bits differ"

    def left_out(self) -> dict[str, str]:
        """Return the entry of `left_out` for a picture that `data.on_near_duplicate: skip` drops."""
        return {"file": self.picture, "problem": f"{self}; expected no near duplicate in another split"}


def hash_distance(one: str, other: str) -> int:
    """Return in how many of 64 bits two perceptual hashes, 16 hexadecimal digits each, differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


class Lookalikes:
    """Compares each picture with those of earlier splits; pictures come split by split."""

    def __init__(self) -> None:
        self._earlier = np.zeros(0, np.uint64)
        self._pictures: list[tuple[str, str]] = []  # of `_earlier` and `_added`: picture and split
        self._added: list[int] = []
        self._split = ""

    def twin(self, picture: str, split: str, picture_hash: str) -> Near | None:
        """Return the picture of an earlier split that this one is most like, if near."""
        if split != self._split:
            self._earlier = np.append(self._earlier, np.array(self._added, np.uint64))
            self._added, self._split = [], split
        if not picture_hash:
            return None
        bits = int(picture_hash, 16)
        self._added.append(bits)
        self._pictures.append((picture, split))
        if not len(self._earlier):
            return None
        distances = np.bitwise_count(self._earlier ^ np.uint64(bits))
        nearest = int(distances.argmin())
        distance = int(distances[nearest])
        return Near(picture, split, *self._pictures[nearest], distance) if distance <= NEAR else None


def report(near: Sequence[object]) -> str:
    """Return the near duplicates for people, a line each."""
    return listed(f"{len(near)} near duplicates in different splits (data.on_near_duplicate):", near)
