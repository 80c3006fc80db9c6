"""Figures of two revisions: results in, figures out."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segpipe.common.classes import IGNORE
from segpipe.report.changes import Change
from segpipe.report.grids import STYLE
from segpipe.report.plots import PANELS

BEFORE, AFTER = "#0072b2", "#d55e00"  # Okabe and Ito's colour-blind-safe blue and vermilion
BETTER, WORSE = (0, 158, 115), (204, 0, 102)  # as in the report, no class of the pets is near them
RIGHT, WRONG = (235, 235, 235), (110, 110, 110)


def curves(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Loss, accuracy and mean IoU of both; training dotted, validation drawn through."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.2), layout="constrained")
        for axes, (column, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            # The earlier one is wider, to be seen below the later where they are equal.
            for history, side, colour, width in (
                (before, "before", BEFORE, 3), (after, "after", AFTER, 1.5)
            ):  # fmt: skip
                marker = "o" if len(history) == 1 else None
                for prefix, kind, line in (("", "training", ":"), ("val_", "validation", "-")):
                    axes.plot(
                        history["epoch"], history[prefix + column],
                        color=colour, linestyle=line, linewidth=width, marker=marker,
                        label=f"{kind}, {side}",
                    )  # fmt: skip
            axes.set(xlabel="epoch", title=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def class_bars(scores: list[Change]) -> Figure:
    """The IoU of each class at both revisions, side by side; an absent class has no bar."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.5, 1.1 + 0.5 * len(scores)), layout="constrained")
        axes = figure.subplots()
        for position, change in enumerate(scores):
            for offset, iou, colour in ((-0.2, change.before, BEFORE), (0.2, change.after, AFTER)):
                known = isinstance(iou, float)
                axes.barh(position + offset, iou if known else 0, 0.38, color=colour)
                text = f"{iou:.3f}" if known else "absent"
                axes.text((iou if known else 0) + 0.01, position + offset, text, va="center", fontsize=8)
        axes.set_yticks(range(len(scores)), [change.name for change in scores])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.1), xlabel="IoU")
        axes.grid(visible=False, axis="y")
        handles = [Patch(color=BEFORE, label="before"), Patch(color=AFTER, label="after")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def beside(pictures: dict[str, np.ndarray]) -> Figure:
    """Whole pictures, RGB uint8 [height, width, 3], beside each other under their names."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5 * len(pictures), 7), layout="constrained")
        grid = figure.subplots(1, len(pictures))
        for axes, (name, picture) in zip(grid, pictures.items(), strict=True):
            axes.imshow(picture)
            axes.set(title=name)
            axes.set_axis_off()
    return figure


def judged(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where a prediction got better or worse.

    Args:
        truth: class indices, uint8 [S, S]; 255 is ignored.
        before: predicted class indices, uint8 [S, S].
        after: the same of the other model.

    Returns:
        RGB uint8 [S, S, 3]: `BETTER` where only the later one is right, `WORSE` where only the earlier
        is, `RIGHT` and `WRONG` where both are, white where ignored.
    """
    right_before, right_after = truth == before, truth == after
    picture = np.full((*truth.shape, 3), WRONG, np.uint8)
    picture[right_before & right_after] = RIGHT
    picture[~right_before & right_after] = BETTER
    picture[right_before & ~right_after] = WORSE
    picture[truth == IGNORE] = 255
    return picture


def shares(judged: np.ndarray) -> tuple[float, float]:
    """The shares, 0..1, of a judged picture's pixels that got better and worse."""
    better, worse = (float((judged == colour).all(-1).mean()) for colour in (BETTER, WORSE))
    return better, worse
