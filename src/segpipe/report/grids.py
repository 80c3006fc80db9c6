"""Pictures of samples in a grid, and the style of every figure. The same input gives the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segpipe.common.classes import IGNORE, ClassTable, SegmentationClass
from segpipe.common.files import replaces
from segpipe.common.fonts import class_labels, dejavu, drawable

STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "text.parse_math": False,  # a class or a file may be called $x$
    "svg.hashsalt": "segpipe",
}
RIGHT, CRIMSON = (230, 230, 230), (204, 0, 102)  # unlike the colours of the pets' classes
_LEGEND = 30  # the most classes that a legend names


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, atomically."""
    with replaces(path) as partial, mpl.rc_context(STYLE):
        figure.savefig(partial, format="png", bbox_inches="tight", metadata={"Software": None})


def errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return wrong pixels in crimson, RGB uint8 [H, W, 3]; ignored pixels are white."""
    return painted(truth, [(truth != prediction, CRIMSON)])


def painted(truth: np.ndarray, areas: Sequence[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """Paint areas, bool [H, W] with an RGB colour each, on light grey; ignored pixels become white.

    `truth` holds class indices, uint8 [H, W]; the picture is RGB uint8 [H, W, 3].
    """
    picture = np.full((*truth.shape, 3), RIGHT, np.uint8)
    for area, colour in areas:
        picture[area] = colour
    picture[truth == IGNORE] = 255
    return picture


def present(table: ClassTable, pictures: Sequence[Any]) -> list[SegmentationClass]:
    """Return the classes in the masks among pictures, as many as a legend names."""
    held = {value for mask in pictures if np.ndim(mask) == 2 for value in np.unique(mask).tolist()}
    return [c for index, c in enumerate(table.classes) if index in held][:_LEGEND]


@mpl.rc_context(STYLE)
def sample_grid(rows: Sequence[dict], table: ClassTable) -> Figure:
    """Draw a row of pictures for each sample, and a legend of the classes.

    Each of `rows` holds a `label` and, in drawing order, pictures by heading: RGB uint8 [H, W, 3], or
    masks of class indices uint8 [H, W]. All have the same size.
    """
    headings = [heading for heading in rows[0] if heading != "label"]
    height, width = rows[0][headings[0]].shape[:2]
    cell = 1.9 / max(height, width)  # inches a pixel
    figure = Figure(
        figsize=(max(cell * width, 1) * len(headings), (cell * height + 0.05) * len(rows) + 0.7),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(headings), squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, heading in zip(axes_row, headings, strict=True):
            picture = row[heading]
            axes.imshow(picture if picture.ndim == 3 else table.palette[picture])
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(drawable(row["label"], dejavu()), fontsize=8)
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=9)
    shown = present(table, [picture for row in rows for picture in row.values()])
    labels = class_labels(table.names, dejavu())
    patches = [Patch(facecolor=c.colour, label=labels[c.name]) for c in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6))
    return figure
