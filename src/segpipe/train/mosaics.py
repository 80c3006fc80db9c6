"""Previews of pictures that are cut into tiles: the whole picture, and its window with most mistakes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from segpipe.common.bands import displayed
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.files import first_by_hash
from segpipe.common.fonts import drawable, font_for
from segpipe.common.shrink import LONGEST, factor_for, mean_of, rarest_first, rarest_of, shrunk
from segpipe.common.tiling import own_ranges
from segpipe.common.windows import Mistakes
from segpipe.common.words import extent
from segpipe.train.previews import GAP, LINE, blank_sheet, legend
from segpipe.train.samples import Arrays, Samples, in_memory

MOST_TILES, _MOST_PIXELS = 64, 1 << 23
"""Tiles and pixels of a picture, at most; a larger picture shows its middle."""

Layer = list[np.ndarray]
"""Image, true and predicted mask of one place, as they are drawn: RGB uint8 [h, w, 3]."""


def tile_samples(validation: Samples, count: int) -> Arrays:
    """Return the tiles of the pictures that previews draw: the first `count` by hash of the name."""
    pictures = _by_picture(validation.names)
    height, width = validation.size
    most = min(MOST_TILES, max(_MOST_PIXELS // (height * width), 1))
    chosen = []
    for name in first_by_hash(pictures, count):
        chosen += [pictures[name][place] for place in _middle(pictures[name], most)]
    return in_memory(validation, chosen)


def sheet(shown: Arrays, predictions: np.ndarray, table: ClassTable, title: str) -> Image.Image:
    """Draw two rows for each picture: the whole, and its window with the most wrong pixels.

    Args:
        shown: the tiles of the pictures, as `tile_samples` returns them.
        predictions: class indices of the tiles, uint8 [n, H, W].
        table: names and colours of the classes.
        title: the heading.
    """
    counts = np.sum([np.bincount(mask.ravel(), minlength=256) for mask in shown.masks], 0)
    ranks = rarest_first(counts[: len(table)])
    font = font_for([*table.names, *shown.names], 12)
    rows: list[tuple[Layer, str]] = []
    for name, numbers in _by_picture(shown.names).items():
        rows += _drawn(_Mosaic(name, numbers), shown, predictions, table, ranks)
    column = max(layer[0].shape[1] for layer, _ in rows) + GAP
    below = legend(table, [*shown.masks, *predictions], 3 * column, font)
    height = sum(layer[0].shape[0] + LINE + GAP for layer, _ in rows)
    picture, pen = blank_sheet(title, column, height, below, font)
    y = 2 * LINE
    for layer, caption in rows:
        for number, pixels in enumerate(layer):
            picture.paste(Image.fromarray(pixels), (number * column, y))
        y += layer[0].shape[0]
        pen.text((GAP, y), drawable(caption, font), "black", font)
        y += LINE + GAP
    return picture


@dataclass(frozen=True)
class _Mosaic:
    """A picture, or the middle of a large one: where its tiles are among the samples."""

    name: str
    numbers: dict[tuple[int, int], int]  # of the tiles, by top and left

    @property
    def tops(self) -> list[int]:
        return sorted({top for top, _ in self.numbers})

    @property
    def lefts(self) -> list[int]:
        return sorted({left for _, left in self.numbers})

    @property
    def is_part(self) -> bool:
        """Whether only the middle of a large picture is here: then no tile is at 0, 0."""
        return (0, 0) not in self.numbers

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Join the tiles' values to one array, each tile with its own range; `values` [n, H, W, ...]."""
        tile = values.shape[1:3]
        ys, xs = ([begin - begins[0] for begin in begins] for begins in (self.tops, self.lefts))
        joined = np.empty((ys[-1] + tile[0], xs[-1] + tile[1], *values.shape[3:]), values.dtype)
        for y, top, (first, end) in zip(
            ys, self.tops, own_ranges(ys, tile[0], len(joined)), strict=True
        ):
            across = own_ranges(xs, tile[1], joined.shape[1])
            for x, left, (start, stop) in zip(xs, self.lefts, across, strict=True):
                of_tile = values[self.numbers[top, left]]
                joined[first:end, start:stop] = of_tile[first - y : end - y, start - x : stop - x]
        return joined


def _by_picture(names: Iterable[str]) -> dict[str, dict[tuple[int, int], int]]:
    """Return the numbers of the tiles of each picture, by top and left; `names` are those of tiles."""
    pictures: dict[str, dict[tuple[int, int], int]] = {}
    for number, of_tile in enumerate(names):
        name, _, place = of_tile.rpartition("@")
        top, left = map(int, place.split(","))
        pictures.setdefault(name, {})[top, left] = number
    return pictures


def _middle(places: Iterable[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most `most` places around the middle.

    If any is left out, the place (0, 0) is left out too: `_Mosaic.is_part` relies on it.
    """
    tops, lefts = (sorted({*begins}) for begins in zip(*places, strict=True))
    rows = min(len(tops), max(math.isqrt(most), most // len(lefts)))
    columns = min(len(lefts), most // rows)
    y, x = (len(tops) - rows + 1) // 2, (len(lefts) - columns + 1) // 2
    return [(top, left) for top in tops[y : y + rows] for left in lefts[x : x + columns]]


def _drawn(
    mosaic: _Mosaic, shown: Arrays, predictions: np.ndarray, table: ClassTable, ranks: np.ndarray
) -> list[tuple[Layer, str]]:
    """Return the picture and its window, each with a line of text."""
    truth = mosaic.whole(shown.masks)
    box = _counted(truth)
    image, truth, prediction = (
        values[box] for values in (mosaic.whole(shown.images), truth, mosaic.whole(predictions))
    )
    size, tile = (truth.shape[0], truth.shape[1]), shown.size
    mistakes = Mistakes(size, tile)
    wrong = (truth != prediction) & (truth != IGNORE)
    for y in range(0, len(wrong), tile[0]):  # counting takes 16 bytes a wrong pixel
        mistakes.add(y, wrong[y : y + tile[0]])
    top, left = mistakes.worst()
    window = (slice(top, top + mistakes.window[0]), slice(left, left + mistakes.window[1]))
    layers = displayed(image), table.palette[truth], table.palette[prediction]
    close = [_enlarged(layer[window]) for layer in layers]
    part = f", the middle {extent(size)}" if mosaic.is_part else ""
    if mistakes.window == size:
        return [(close, mosaic.name + part)]
    factor = factor_for(size)
    small = [shrunk(layers[0], factor, mean_of(factor))]
    small += [table.palette[shrunk(m, factor, rarest_of(factor, ranks))] for m in (truth, prediction)]
    times = max(LONGEST // max(small[0].shape[:2]), 1)
    edges = [edge * times // factor for edge in (top, left, *mistakes.window)]
    whole = [_framed(_enlarged(layer), *edges) for layer in small]
    where = "no mistake; the middle" if not mistakes.total else "the most mistakes"
    return [(whole, mosaic.name + part), (close, f"{where}: the framed {extent(mistakes.window)}")]


def _counted(truth: np.ndarray) -> tuple[slice, slice]:
    """Return the box of the counted pixels, without the tiles' padding and ignored borders."""
    counted = truth != IGNORE
    indices = [np.flatnonzero(counted.any(axis)) for axis in (1, 0)]
    if not indices[0].size:
        return slice(None), slice(None)
    rows, columns = (slice(int(inside[0]), int(inside[-1]) + 1) for inside in indices)
    return rows, columns


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small picture a whole number of times."""
    times = max(LONGEST // max(pixels.shape[:2]), 1)
    return pixels.repeat(times, 0).repeat(times, 1)


def _framed(pixels: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Draw a frame, black between white, to be seen on any colour."""
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    height, width = max(height, 3), max(width, 3)  # the window of a thin picture may shrink to nothing
    for inset, colour in ((-1, "white"), (0, "black"), (1, "white")):
        corners = left + inset, top + inset, left + width - 1 - inset, top + height - 1 - inset
        pen.rectangle(corners, outline=colour)
    return np.asarray(picture)
