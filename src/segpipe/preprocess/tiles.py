"""Pictures at their own resolution: where pieces and tiles lie, and the records that are cut there.

A training picture becomes pieces with a margin round each, from which training crops at new places. A
validation picture becomes the tiles that `predict` takes; each of its pixels counts in one of them. A
test picture becomes rows of these tiles, to be predicted and scored as a whole.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from PIL import Image

from segpipe.common.classes import IGNORE
from segpipe.common.codec import decode_png, encode_png
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.common.records import Tiles
from segpipe.common.splits import Split
from segpipe.common.tiling import own_ranges
from segpipe.common.words import width_by_height
from segpipe.preprocess.intensity import Levels, fit_encoded
from segpipe.preprocess.resize import resize_mask

Record = tuple[dict, np.ndarray]  # the features, and the counted pixels by value: int64 [256]

OVERLAP = 1 / 4  # the least part of a tile's edge that it shares with the next


def starts(length: int, tile: int, overlap: float = OVERLAP) -> list[int]:
    """Return where tiles begin along an edge: evenly spread, the last one ending with the edge.

    Neighbours share at least `overlap` of their edge. Where one tile covers the edge, it begins at 0.
    """
    if length <= tile:
        return [0]
    count = 1 + -(-(length - tile) // int(tile * (1 - overlap)))
    return [position * (length - tile) // (count - 1) for position in range(count)]


def piece_starts(length: int, tile: int, piece: int) -> list[int]:
    """Return where training pieces begin: evenly spread, at most a tile apart, within the picture.

    A piece that is longer than the picture begins before it, so that the picture is in its middle.
    """
    if length <= piece:
        return [-((piece - length) // 2)]
    count = 1 + -(-(length - piece) // tile)
    return [position * (length - piece) // (count - 1) for position in range(count)]


def original_starts(begins: list[int], scaled: int, original: int) -> list[int]:
    """Return the rows of the original picture where those of the scaled one begin, and its end."""
    return [*(round(begin * original / scaled) for begin in begins), original]


def window(pixels: np.ndarray, top: int, left: int, size: tuple[int, int], fill: int = 0) -> np.ndarray:
    """Return a window of [height, width, ...], of `size`; pixels beyond the picture are `fill`."""
    bottom, right = top + size[0], left + size[1]
    part = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if part.shape[:2] == size:
        return part
    filled = np.full((*size, *pixels.shape[2:]), fill, pixels.dtype)
    y, x = max(-top, 0), max(-left, 0)
    filled[y : y + part.shape[0], x : x + part.shape[1]] = part
    return filled


def value_counts(mask: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each value, int64 [256]."""
    if mask.size:
        least = mask.min()
        if least == mask.max():  # as in most pieces, which this makes fast
            counts = np.zeros(256, np.int64)
            counts[least] = mask.size
            return counts
    return np.bincount(mask.ravel(), minlength=256)


@dataclass(frozen=True)
class Scaled:
    """A decoded and scaled sample. Any process can make it; a single one cuts them all."""

    split: Split
    name: bytes
    image: np.ndarray  # uint8 [height, width, bands]
    mask: np.ndarray  # uint8 [height, width]
    original: np.ndarray  # the mask at its own size


@dataclass
class Cutter:
    """Cuts raw samples to records, and counts what it leaves out."""

    size: tuple[int, int]  # of the network's input
    tiles: Tiles
    levels: Levels
    empty: int | None  # the class that makes a piece empty where it holds no other; None: keep all
    left_out: Counter[str] = field(default_factory=Counter)
    largest: tuple[int, int] = (0, 0)  # height and width of the largest scaled pictures

    def decoded(self, features: dict, split: Split) -> Scaled:
        """Decode and scale a sample.

        Raises UserError where the scale leaves less than a pixel of the picture.
        """
        mask = decode_png(features["mask"])
        original = (mask.shape[0], mask.shape[1])
        scaled = self.tiles.scaled(original)
        if min(scaled) < 1:
            raise UserError(
                f"{features['name'].decode()}: data.tiles.scale = {self.tiles.scale:g} makes its "
                f"{width_by_height(original)} px less than one pixel; raise it, or leave the picture out"
            )
        image = fit_encoded(features["image"], self.levels, scaled, "stretch")
        small = mask if scaled == original else resize_mask(mask, scaled, "stretch")
        return Scaled(split, features["name"], image, small, mask)

    def cut(self, sample: Scaled) -> Iterator[Record]:
        """Cut a sample, with little more memory; one process alone must, since this counts."""
        height, width = sample.mask.shape
        self.largest = (max(self.largest[0], height), max(self.largest[1], width))
        if sample.split == "train":
            return self._pieces(sample.name, sample.image, sample.mask)
        if sample.split == "val":
            return self._tiles(sample.name, sample.image, sample.mask)
        return self._rows(sample.name, sample.image, sample.mask, sample.original)

    def _pieces(self, name: bytes, image: np.ndarray, mask: np.ndarray) -> Iterator[Record]:
        piece = self.tiles.piece(self.size)
        tops, lefts = (piece_starts(*edge) for edge in zip(mask.shape, self.size, piece, strict=True))
        for top, left in ((top, left) for top in tops for left in lefts):
            inside = window(mask, top, left, piece, IGNORE)
            counts = value_counts(inside)
            here = name + f"@{max(top, 0)},{max(left, 0)}".encode()
            held = np.flatnonzero(counts[:IGNORE])
            if not held.size:
                self.left_out["ignored"] += 1
            elif held.tolist() == [self.empty] and not self._keeps(here):
                self.left_out["empty"] += 1
            else:
                counts[IGNORE] -= inside.size - self._within(top, left, piece, mask.shape)
                pixels = window(image, top, left, piece)
                yield {"name": here, "image": pixels.tobytes(), "mask": inside.tobytes()}, counts

    def _keeps(self, name: bytes) -> bool:
        return name_hash(name.decode(), "empty") < self.tiles.keep_empty

    @staticmethod
    def _within(top: int, left: int, size: tuple[int, int], picture: tuple[int, ...]) -> int:
        """Return how many pixels of a window lie in the picture."""
        height = min(top + size[0], picture[0]) - max(top, 0)
        return height * (min(left + size[1], picture[1]) - max(left, 0))

    def _tiles(self, name: bytes, image: np.ndarray, mask: np.ndarray) -> Iterator[Record]:
        begins = [starts(*edge) for edge in zip(mask.shape, self.size, strict=True)]
        owned = [own_ranges(*edge) for edge in zip(begins, self.size, mask.shape, strict=True)]
        for top, (first, end) in zip(begins[0], owned[0], strict=True):
            for left, (start, stop) in zip(begins[1], owned[1], strict=True):
                own = mask[first:end, start:stop]
                truth = np.full(self.size, IGNORE, np.uint8)
                truth[first - top : end - top, start - left : stop - left] = own
                pixels = window(image, top, left, self.size)
                here = name + f"@{top},{left}".encode()
                features = {"name": here, "image": pixels.tobytes(), "mask": truth.tobytes()}
                yield features, value_counts(own)

    def _rows(
        self, name: bytes, image: np.ndarray, mask: np.ndarray, original: np.ndarray
    ) -> Iterator[Record]:
        height, width = mask.shape
        tops = starts(height, self.size[0])
        firsts = original_starts(tops, height, len(original))
        for number, (top, end) in enumerate(pairwise([*tops, height])):
            row = window(image, top, 0, (self.size[0], max(width, self.size[1])))
            truth = original[firsts[number] : firsts[number + 1]]
            counts = value_counts(mask[top:end])
            yield {
                "name": name, "top": top, "image": row.tobytes(), "mask": mask[top:end].tobytes(),
                "scaled_height": height, "scaled_width": width,
                "original_mask": encode_png(truth) if len(truth) else b"",
                "height": original.shape[0], "width": original.shape[1],
            }, counts  # fmt: skip


def area(features: dict, scale: float = 1.0) -> int:
    """Return how many pixels a raw sample has at a scale of 1 or more, from the head of its mask."""
    with Image.open(io.BytesIO(features["mask"])) as mask:
        return int(mask.width * mask.height * max(scale, 1.0) ** 2)
