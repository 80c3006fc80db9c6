"""The report's figures: tables and arrays in, figures out."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segpipe.classes import IGNORE, ClassTable
from segpipe.grids import STYLE

TRAIN, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's colour-blind-safe blue and vermilion
MOST_CLASSES = 30
"""How many classes a figure can name and stay readable."""
RIGHT, WRONG = (230, 230, 230), (204, 0, 102)  # crimson: no class of the pets is near it


def errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong, as RGB uint8 [S, S, 3]; ignored pixels are white."""
    picture = np.full((*truth.shape, 3), RIGHT, np.uint8)
    picture[truth != prediction] = WRONG
    picture[truth == IGNORE] = 255
    return picture


def curves(history: pd.DataFrame) -> Figure:
    """Loss, accuracy and mean IoU over the epochs, training and validation in one panel each."""
    panels = {"loss": "loss (nats)", "accuracy": "pixel accuracy", "mean_iou": "mean IoU"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 2.9), layout="constrained")
        for axes, (column, label) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            marker = "o" if len(history) == 1 else None
            axes.plot(history["epoch"], history[column], color=TRAIN, marker=marker, label="training")
            axes.plot(
                history["epoch"], history[f"val_{column}"],
                color=VALIDATION, marker=marker, linestyle="--", label="validation",
            )  # fmt: skip
            axes.set(xlabel="epoch", title=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    return figure


def confusion(matrix: pd.DataFrame) -> Figure:
    """A confusion matrix with numbers: each row's share of the true pixels, in per cent.

    Args:
        matrix: pixels, rows the truth, columns the prediction, labelled with class names.
    """
    shares = 100 * matrix.div(matrix.sum(axis=1).clip(lower=1), axis=0)
    count = len(matrix)
    with mpl.rc_context(STYLE):
        edge = 2.2 + 0.55 * min(count, MOST_CLASSES)
        figure = Figure(figsize=(edge + 0.6, edge), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.grid(visible=False)
        axes.set(xlabel="predicted", ylabel="true", title="share of each true class (%)")
        if count <= MOST_CLASSES:
            axes.set_xticks(range(count), matrix.columns, rotation=30 if count > 4 else 0)
            axes.set_yticks(range(count), matrix.index)
            for (row, column), share in np.ndenumerate(shares.to_numpy()):
                colour = "white" if share > 55 else "black"
                text = f"{share:.1f}" if matrix.to_numpy()[row].sum() else "–"
                axes.text(column, row, text, ha="center", va="center", color=colour)
    return figure


def class_scores(iou: dict[str, float | None], table: ClassTable) -> Figure:
    """A bar for each class's IoU, of many classes for the lowest; an absent class has none."""
    drawn = list(table.classes)
    if len(drawn) > MOST_CLASSES:
        drawn = sorted((c for c in drawn if iou[c.name] is not None), key=lambda c: iou[c.name] or 0)
        drawn = drawn[:MOST_CLASSES]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.5, 0.9 + 0.32 * len(drawn)), layout="constrained")
        axes = figure.subplots()
        for position, c in enumerate(drawn):
            score = iou[c.name]
            axes.barh(position, score or 0, color=c.colour, edgecolor="#888888", linewidth=0.5)
            text = "absent" if score is None else f"{score:.3f}"
            axes.text((score or 0) + 0.01, position, text, va="center")
        axes.set_yticks(range(len(drawn)), [c.name for c in drawn])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.1), xlabel="IoU")
        axes.grid(visible=False, axis="y")
    return figure
