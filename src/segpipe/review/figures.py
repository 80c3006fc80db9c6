"""Draw the figures of two revisions."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segpipe.report.changes import Change
from segpipe.report.grids import CRIMSON, STYLE, painted
from segpipe.report.plots import BLUE, PANELS, VERMILION, bars, line

BETTER, WORSE, STILL_WRONG = (0, 158, 115), CRIMSON, (110, 110, 110)


@mpl.rc_context(STYLE)
def curves(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Draw loss, accuracy and mean IoU of both; training dotted, validation solid."""
    # The earlier curve is wider: it stays visible below the later one if they are equal.
    sides = (before, "before", BLUE, 3), (after, "after", VERMILION, 1.5)
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    for axes, (column, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for history, side, colour, width in sides:
            style = {"color": colour, "linewidth": width}
            line(axes, history, column, linestyle=":", label=f"training, {side}", **style)
            line(axes, history, f"val_{column}", linestyle="-", label=f"validation, {side}", **style)
        axes.set(title=label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@mpl.rc_context(STYLE)
def class_bars(scores: list[Change], labels: dict[str, str]) -> Figure:
    """Draw the IoU of each class before and after; a class without a score has no bar.

    `labels` holds what to write for each class (see `segpipe.common.fonts`).
    """
    figure = Figure(figsize=(5.5, 1.1 + 0.5 * len(scores)), layout="constrained")
    rows = []
    for position, change in enumerate(scores):
        label = labels[change.name]
        rows.append((position - 0.2, label, change.before, BLUE))
        rows.append((position + 0.2, label, change.after, VERMILION))
    bars(figure.subplots(), rows, 0.38)
    handles = [Patch(color=BLUE, label="before"), Patch(color=VERMILION, label="after")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@mpl.rc_context(STYLE)
def beside(pictures: dict[str, np.ndarray]) -> Figure:
    """Draw whole pictures, RGB uint8 [height, width, 3], side by side under their names."""
    figure = Figure(figsize=(5 * len(pictures), 7), layout="constrained")
    grid = figure.subplots(1, len(pictures))
    for axes, (name, picture) in zip(grid, pictures.items(), strict=True):
        axes.imshow(picture)
        axes.set(title=name)
        axes.set_axis_off()
    return figure


def judged(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Paint where a prediction got better or worse, RGB uint8 [S, S, 3].

    All masks hold class indices, uint8 [S, S]; 255 in `truth` is ignored. A pixel is `BETTER` if only
    the later prediction is right, `WORSE` if only the earlier is, `STILL_WRONG` if neither is, light
    grey if both are, white if ignored.
    """
    was, now = truth == before, truth == after
    return painted(truth, [(~was & now, BETTER), (was & ~now, WORSE), (~was & ~now, STILL_WRONG)])


def shares(judged: np.ndarray) -> tuple[float, float]:
    """Return the shares, 0..1, of a judged picture's pixels that got better and worse."""
    better, worse = (float((judged == colour).all(-1).mean()) for colour in (BETTER, WORSE))
    return better, worse
