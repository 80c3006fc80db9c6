"""Draw the report's figures from its tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segpipe.common.classes import ClassTable
from segpipe.common.fonts import class_labels, dejavu
from segpipe.report.analysis import Group, lowest
from segpipe.report.grids import STYLE
from segpipe.report.words import shortened

BLUE, VERMILION = "#0072b2", "#d55e00"  # Okabe and Ito's, which colour-blind people can tell apart
INK, EDGE = "#333333", "#888888"
MOST_CLASSES, MOST_LINES = 30, 6
"""The most classes that a figure or table can name, and the most that can be told apart as lines."""
PANELS = {"loss": "loss (nats)", "accuracy": "pixel accuracy", "mean_iou": "mean IoU"}
"""The columns of the history that are drawn as curves, with their labels."""


@mpl.rc_context(STYLE)
def curve(history: pd.DataFrame, column: str) -> Figure:
    """Draw one quantity over the epochs, in training and validation."""
    figure, axes = _panel(2.8)
    line(axes, history, column, color=BLUE, label="training")
    line(axes, history, f"val_{column}", color=VERMILION, linestyle="--", label="validation")
    axes.set(ylabel=PANELS[column])
    axes.legend()
    return figure


def line(axes: Any, history: pd.DataFrame, column: str, **style: Any) -> None:
    """Draw a column over the epochs; a single epoch as a point."""
    marker = "o" if len(history) == 1 else None
    axes.plot(history["epoch"], history[column], marker=marker, **style)
    axes.set(xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


@mpl.rc_context(STYLE)
def confusion(matrix: pd.DataFrame) -> Figure:
    """Draw each row's share of the true pixels, in per cent.

    The matrix holds pixels; rows are the truth, columns the prediction, labelled with class names.
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
        names = [*map(shortened, class_labels([*matrix.columns], dejavu()).values())]
        axes.set_xticks(range(count), names, rotation=90 if count > 4 else 0)
        axes.set_yticks(range(count), names)
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            colour = "white" if share > 55 else "black"
            text = f"{share:.1f}" if matrix.to_numpy()[row].sum() else "–"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    return figure


@mpl.rc_context(STYLE)
def class_scores(iou: dict[str, float | None], table: ClassTable) -> Figure:
    """Draw a bar for the IoU of each class in its colour; if there are many, only for the lowest."""
    drawn = lowest(iou, MOST_CLASSES)
    figure, axes = _panel(0.9 + 0.32 * len(drawn))
    labels = class_labels(table.names, dejavu())
    bars(axes, ((n, labels[name], iou[name], table.colours[name]) for n, name in enumerate(drawn)))
    return figure


def bars(axes: Any, rows: Iterable[tuple[float, str, Any, str]], height: float = 0.8) -> None:
    """Draw horizontal bars of IoU: position, class, score, colour. Without a score there is no bar."""
    names = {}
    for position, name, score, colour in rows:
        known = isinstance(score, float)
        length, text = (score, f"{score:.3f}") if known else (0, "absent")
        axes.barh(position, length, height, color=colour, edgecolor=EDGE, linewidth=0.5)
        axes.text(length + 0.01, position, text, va="center")
        names[round(position)] = shortened(name)
    axes.set_yticks([*names], names.values())
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(xlim=(0, 1.15), xticks=np.linspace(0, 1, 6), xlabel="IoU")
    axes.grid(visible=False, axis="y")


@mpl.rc_context(STYLE)
def groups(scored: Sequence[Group], labels: list[str], table: ClassTable, xlabel: str) -> Figure:
    """Draw the mean IoU of each group and, if the classes are few, each class's in its colour."""
    figure, axes = _panel(2.8)
    positions, names = range(len(scored)), class_labels(table.names, dejavu())
    for c in table.classes if len(table) <= MOST_LINES else ():
        values = np.array([group.scores["iou"][c.name] for group in scored], float)
        axes.plot(
            positions, values, color=c.colour, marker="o", markeredgecolor=EDGE, label=names[c.name]
        )
    means = np.array([group.scores["mean_iou"] for group in scored], float)  # None becomes NaN: a gap
    axes.plot(positions, means, color=INK, marker="s", linestyle="--", label="mean")
    axes.set_xticks(positions, labels)
    axes.set(xlabel=xlabel, ylabel="IoU", ylim=(0, 1.02))
    figure.legend(loc="outside upper center", ncols=4)
    return figure


@mpl.rc_context(STYLE)
def by_distance(table: pd.DataFrame) -> Figure:
    """Draw the accuracy in each band of distances to a boundary."""
    figure, axes = _panel(2.8)
    columns = axes.bar(table["distance"], table["accuracy"].fillna(0), color=INK, width=0.7)
    axes.bar_label(columns, ["–" if np.isnan(share) else f"{share:.2f}" for share in table["accuracy"]])
    axes.set(xlabel="distance to the nearest boundary (px)", ylabel="accuracy", ylim=(0, 1.1))
    axes.grid(visible=False, axis="x")
    return figure


@mpl.rc_context(STYLE)
def calibration(table: pd.DataFrame) -> Figure:
    """Draw accuracy over confidence, ideally on the diagonal, and the share of the pixels below it."""
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
    """Return a figure that stays readable on a telephone, and its axes."""
    figure = Figure(figsize=(4.2, height), layout="constrained")
    return figure, figure.subplots(rows, **layout)
