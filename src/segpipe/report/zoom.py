"""Test pictures that were predicted in tiles: each shrunk as a whole, and a window where it fails.

They may be far larger than memory, so two passes read them row by row: one shrinks them and counts their
mistakes on a coarse grid, the other cuts out the windows.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from segpipe.common.bands import displayed
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.fonts import class_labels, dejavu, drawable
from segpipe.common.records import Manifest, read
from segpipe.common.shrink import LONGEST, Shrinker, factor_for, mean_of, rarest_first, rarest_of
from segpipe.common.windows import Mistakes
from segpipe.common.words import extent
from segpipe.report import grids
from segpipe.report.read import read_predictions

Views = dict[str, np.ndarray]
"""`image` and `errors`, RGB uint8, `truth` and `prediction`, masks, all of one size."""

Line = tuple[int, str]
"""A line of text, with its upper edge."""

Place = tuple[int, Views, "Zoomed | None"]
"""A row of pictures: its upper edge, the pictures, and the sample whose window is framed in them."""

_DPI = 2 * grids.STYLE["figure.dpi"]  # for a page that shows two pixels as one
_LINE, _ABOVE, _GAP, _PART = 50, 13, 16, 24
"""Pixels: a line of text, the part of it above the letters, between columns, and between samples."""
_TALLEST = 30_000  # pixels of a figure with all its dots; matplotlib refuses 65,536


@dataclass(frozen=True)
class Zoomed:
    """A test picture at network scale."""

    whole: Views  # shrunk
    window: Views  # the part with the most wrong pixels, not shrunk
    top: int  # of the window
    left: int
    scaled: tuple[int, int]  # size of the picture before it was shrunk
    right: bool  # whether no pixel is wrong

    @property
    def is_whole(self) -> bool:
        """Whether the window holds the whole picture."""
        return self.window["truth"].shape == self.scaled


def read_zoomed(
    manifest: Manifest, predictions: Path, names: Set[str], bands: Sequence[int]
) -> dict[str, Zoomed]:
    """Read some test pictures; `bands` are the positions to show."""
    wholes = _read(manifest, predictions, names, bands)
    windows = {
        name: _Window(*whole.mistakes.worst(), whole.mistakes.window) for name, whole in wholes.items()
    }
    for row, views in _rows(manifest, predictions, names, bands):
        windows[row["name"]].add(row["top"], views)
    return {name: _zoomed(whole, windows[name]) for name, whole in wholes.items()}


def read_wholes(
    manifest: Manifest, predictions: Path, names: Set[str], bands: Sequence[int]
) -> dict[str, Views]:
    """Read some test pictures, shrunk; `bands` are the positions to show."""
    read = _read(manifest, predictions, names, bands)
    return {name: whole.views() for name, whole in read.items()}


def _read(
    manifest: Manifest, predictions: Path, names: Set[str], bands: Sequence[int]
) -> dict[str, "_Whole"]:
    ranks = rarest_first([*manifest.splits["test"]["class_pixels"].values()])
    wholes: dict[str, _Whole] = {}
    for row, views in _rows(manifest, predictions, names, bands):
        if (name := row["name"]) not in wholes:
            wholes[name] = _Whole(row["scaled"], manifest.size, ranks)
        wholes[name].add(row["top"], views)
    return wholes


def _zoomed(whole: "_Whole", window: "_Window") -> Zoomed:
    right = not whole.mistakes.total
    return Zoomed(whole.views(), window.views, window.top, window.left, whole.scaled, right)


def _rows(
    manifest: Manifest, predictions: Path, names: Set[str], bands: Sequence[int]
) -> Iterator[tuple[dict, Views]]:
    """Yield the rows of some test pictures with their views, which do not overlap."""
    pairs = zip(read(manifest, "test"), read_predictions(predictions), strict=True)
    for row, (_, prediction) in pairs:
        if row["name"] in names:
            truth = row["mask"]
            image = row["image"][: len(truth), : truth.shape[1]]
            yield row, {
                "image": displayed(image, bands), "truth": truth, "prediction": prediction,
                "errors": grids.errors(truth, prediction),
            }  # fmt: skip


class _Whole:
    """Shrinks a picture, and counts its wrong pixels by the cells of a grid."""

    def __init__(self, scaled: tuple[int, int], tile: tuple[int, int], ranks: np.ndarray) -> None:
        self.scaled, self.mistakes = scaled, Mistakes(scaled, tile)
        factor = factor_for(scaled)
        ways = {"image": mean_of(factor), "errors": mean_of(factor)}
        ways |= dict.fromkeys(("truth", "prediction"), rarest_of(factor, ranks))
        self._shrinkers = {name: Shrinker(factor, way) for name, way in ways.items()}

    def add(self, top: int, views: Views) -> None:
        """Take the next rows."""
        for name, shrinker in self._shrinkers.items():
            shrinker.add(views[name])
        truth = views["truth"]
        self.mistakes.add(top, (truth != views["prediction"]) & (truth != IGNORE))

    def views(self) -> Views:
        """Return the shrunk picture, after the last row."""
        return {name: shrinker.picture() for name, shrinker in self._shrinkers.items()}


class _Window:
    """Cuts a window out of rows."""

    def __init__(self, top: int, left: int, size: tuple[int, int]) -> None:
        self.top, self.left, self._size = top, left, size
        self.views: Views = {}

    def add(self, top: int, views: Views) -> None:
        """Take the next rows; none, some or all of them belong to the window."""
        begin, end = max(self.top - top, 0), self.top + self._size[0] - top
        for name, pixels in views.items():
            part = pixels[begin : max(end, 0), self.left : self.left + self._size[1]]
            before = [self.views[name]] if name in self.views else []
            self.views[name] = np.concatenate([*before, part])


@mpl.rc_context(grids.STYLE)
def drawn(samples: Sequence[tuple[str, Zoomed]], headings: Sequence[str], table: ClassTable) -> Figure:
    """Draw a row of pictures for each sample, under its label, the window below, and a legend.

    Whole numbers of the figure's pixels show a pixel, so nothing is blurred.
    """
    lines, places, bottom = _laid_out(samples)
    column = max(_size(views)[1] for _, views, _ in places) + _GAP
    columns = max(len(headings), 3)  # so that a long label has its place
    shown = grids.present(table, [view for _, views, _ in places for view in views.values()])
    width, height = columns * column, bottom + _LINE * -(-len(shown) // columns) + _GAP
    dpi = _DPI * min(_TALLEST / height, 1)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=dpi)
    for top, text in lines:
        figure.text(0, 1 - (top + _ABOVE) / height, drawable(text, dejavu()), va="top")
    for number, heading in enumerate(headings):
        x = number * column
        figure.text(x / width, 1 - (_LINE + _ABOVE) / height, heading, va="top", weight="bold")
        for top, views, framed in places:
            down, across = _size(views)
            box = (x / width, 1 - (top + down) / height, across / width, down / height)
            view = views[heading]
            figure.add_axes(box, frameon=False, xticks=[], yticks=[]).imshow(
                view if view.ndim == 3 else table.palette[view],
                aspect="auto", interpolation="nearest" if dpi == _DPI else "auto",
            )  # fmt: skip
            if framed:
                _frame(figure.axes[-1], framed)
    labels = class_labels(table.names, dejavu())
    patches = [Patch(facecolor=c.colour, label=labels[c.name]) for c in shown]
    figure.legend(handles=patches, loc="lower center", ncols=columns)
    return figure


@mpl.rc_context(grids.STYLE)
def alone(picture: np.ndarray) -> Figure:
    """Draw one picture, RGB uint8 [H, W, 3]; the page shows each pixel as a whole number of its own."""
    times = _enlargement(picture.shape[:2])
    height, width = (edge * times / grids.STYLE["figure.dpi"] for edge in picture.shape[:2])
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    return figure


def _laid_out(samples: Sequence[tuple[str, Zoomed]]) -> tuple[list[Line], list[Place], int]:
    """Return the lines of text, the rows of pictures, and where they end, in pixels from the top."""
    lines: list[Line] = []
    places: list[Place] = []
    y = 0
    for label, sample in samples:
        lines.append((y, label))
        y += _LINE if places else 2 * _LINE  # the headings stand below the first label
        places.append((y, sample.whole, None if sample.is_whole else sample))
        y += _size(sample.whole)[0]
        if not sample.is_whole:
            lines.append((y, _label_of_window(sample)))
            places.append((y + _LINE, sample.window, None))
            y += _LINE + _size(sample.window)[0]
        y += _PART
    return lines, places, y


def _label_of_window(sample: Zoomed) -> str:
    height, width = sample.window["truth"].shape
    size = extent((height, width))
    if sample.right:
        return f"no mistake; the framed {size}, in the middle"
    return f"the framed {size} from row {sample.top}, column {sample.left}: the most mistakes"


def _size(views: Views) -> tuple[int, int]:
    """Return the size at which a picture is drawn: small ones are enlarged by a whole number."""
    height, width = views["truth"].shape
    times = _enlargement((height, width))
    return height * times, width * times


def _enlargement(size: tuple[int, int]) -> int:
    return max(LONGEST // max(size), 1)


def _frame(axes: Axes, sample: Zoomed) -> None:
    """Frame the window on the whole picture: black between white, visible on any colour."""
    factor = factor_for(sample.scaled)
    height, width = (edge / factor for edge in sample.window["truth"].shape)
    corner = sample.left / factor - 0.5, sample.top / factor - 0.5
    for colour, points in (("white", 1.8), ("black", 0.7)):
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=points))
