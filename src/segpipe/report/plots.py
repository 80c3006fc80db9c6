"""The report's figures: tables and arrays in, figures out."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segpipe.common.classes import IGNORE, ClassTable
from segpipe.report.analysis import Group, lowest
from segpipe.report.grids import STYLE
from segpipe.report.words import shortened

TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's colour-blind-safe blue and vermilion
INK, EDGE = "#333333", "#888888"
MOST_CLASSES = 30
"""How many classes a figure or a table can name and stay readable."""
PANELS = {"loss": "loss (nats)", "accuracy": "pixel accuracy", "mean_iou": "mean IoU"}
"""What curves are drawn of, and its words."""
MOST_LINES = 6
"""How many classes can be told apart as lines."""
RIGHT, WRONG = (230, 230, 230), (204, 0, 102)  # crimson: no class of the pets is near it


def errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong, as RGB uint8 [S, S, 3]; ignored pixels are white."""
    picture = np.full((*truth.shape, 3), RIGHT, np.uint8)
    picture[truth != prediction] = WRONG
    picture[truth == IGNORE] = 255
    return picture


@mpl.rc_context(STYLE)
def curve(history: pd.DataFrame, column: str, label: str) -> Figure:
    """One quantity over the epochs, in training and validation."""
    figure, axes = _panel(2.8)
    marker = "o" if len(history) == 1 else None
    axes.plot(history["epoch"], history[column], color=TRAIN, marker=marker, label="training")
    axes.plot(
        history["epoch"], history[f"val_{column}"],
        color=VALIDATION, marker=marker, linestyle="--", label="validation",
    )  # fmt: skip
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


@mpl.rc_context(STYLE)
def confusion(matrix: pd.DataFrame) -> Figure:
    """A confusion matrix with numbers: each row's share of the true pixels, in per cent.

    Args:
        matrix: pixels, rows the truth, columns the prediction, labelled with class names.
    """
    shares = 100 * matrix.div(matrix.sum(axis=1).clip(lower=1), axis=0)
    count = len(matrix)
    edge = 2.2 + 0.55 * count if count <= MOST_CLASSES else 6
    figure = Figure(figsize=(edge + 0.6, edge), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.grid(visible=False)
    axes.set(xlabel="predicted", ylabel="true", title="share of each true class (%)")
    if count <= MOST_CLASSES:
        axes.set_xticks(range(count), map(shortened, matrix.columns), rotation=90 if count > 4 else 0)
        axes.set_yticks(range(count), map(shortened, matrix.index))
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            colour = "white" if share > 55 else "black"
            text = f"{share:.1f}" if matrix.to_numpy()[row].sum() else "–"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    return figure


@mpl.rc_context(STYLE)
def class_scores(iou: dict[str, float | None], table: ClassTable) -> Figure:
    """A bar for each class's IoU, of many classes for the lowest; an absent class has none."""
    drawn = lowest(iou, MOST_CLASSES)
    figure, axes = _panel(0.9 + 0.32 * len(drawn))
    for position, name in enumerate(drawn):
        score = iou[name]
        axes.barh(position, score or 0, color=table.colours[name], edgecolor=EDGE, linewidth=0.5)
        text = "absent" if score is None else f"{score:.3f}"
        axes.text((score or 0) + 0.01, position, text, va="center")
    axes.set_yticks(range(len(drawn)), [shortened(name) for name in drawn])
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set(xlim=(0, 1.15), xticks=np.linspace(0, 1, 6), xlabel="IoU")
    axes.grid(visible=False, axis="y")
    return figure


@mpl.rc_context(STYLE)
def groups(found: Sequence[Group], labels: list[str], table: ClassTable, xlabel: str) -> Figure:
    """Mean IoU of each group and, where they are few, each class's in its colour."""
    figure, axes = _panel(2.8)
    positions = range(len(found))
    for c in table.classes if len(table) <= MOST_LINES else ():
        values = [np.nan if (iou := g.scores["iou"][c.name]) is None else iou for g in found]
        axes.plot(positions, values, color=c.colour, marker="o", markeredgecolor=EDGE, label=c.name)
    means = [np.nan if g.scores["mean_iou"] is None else g.scores["mean_iou"] for g in found]
    axes.plot(positions, means, color=INK, marker="s", linestyle="--", label="mean")
    axes.set_xticks(positions, labels)
    axes.set(xlabel=xlabel, ylabel="IoU", ylim=(0, 1.02))
    figure.legend(loc="outside upper center", ncols=4)
    return figure


@mpl.rc_context(STYLE)
def by_distance(table: pd.DataFrame) -> Figure:
    """Accuracy in each band of distances to a boundary."""
    figure, axes = _panel(2.8)
    axes.bar(table["distance"], table["accuracy"].fillna(0), color=INK, width=0.7)
    for position, accuracy in enumerate(table["accuracy"]):
        text = "–" if np.isnan(accuracy) else f"{accuracy:.2f}"
        axes.text(position, 0 if np.isnan(accuracy) else accuracy, text, ha="center", va="bottom")
    axes.set(xlabel="distance to the nearest boundary (px)", ylabel="accuracy", ylim=(0, 1.1))
    axes.grid(visible=False, axis="x")
    return figure


@mpl.rc_context(STYLE)
def calibration(table: pd.DataFrame) -> Figure:
    """Accuracy over confidence, the better the nearer to the diagonal, and the share of the pixels."""
    figure, (axes, below) = _panel(3.6, rows=2, height_ratios=[3, 1], sharex=True)
    table = table[table["pixels"] > 0]
    axes.plot([0, 1], [0, 1], color=EDGE, linestyle=":", label="confidence = accuracy")
    axes.plot(table["confidence"], table["accuracy"], color=INK, marker="o", label="this model")
    axes.set(ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(loc="upper left")
    share = 100 * table["pixels"] / table["pixels"].sum()
    width = table["high"] - table["low"]
    below.bar(table["low"], share, width=width, align="edge", color=INK, edgecolor="white")
    below.set(xlabel="confidence", ylabel="pixels (%)", xlim=(0, 1))
    return figure


def _panel(height: float, rows: int = 1, **layout: Any) -> tuple[Figure, Any]:
    """A figure that is still read on a telephone, and its axes."""
    figure = Figure(figsize=(4.2, height), layout="constrained")
    return figure, figure.subplots(rows, **layout)
