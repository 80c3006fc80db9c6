"""Scores from a confusion matrix: statistics first, then pure functions of them.

A confusion matrix here is int64 [N, N], rows the truth, columns the prediction, in pixels. Matrices of
several images add up, and every score of a data set comes from the one summed matrix.
"""

import numpy as np

from segpipe.classes import IGNORE


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class); pixels whose truth is 255 do not count.

    Args:
        truth: integer class indices 0..classes-1 or 255, any shape.
        prediction: integer class indices 0..classes-1, the same shape.
        classes: the number of classes N.

    Returns:
        int64 [N, N].

    Raises:
        ValueError: the shapes differ, or an index is not a class.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}")
    counted = truth != IGNORE
    truth, prediction = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for what, indices in (("truth", truth), ("prediction", prediction)):
        if indices.size and not 0 <= indices.min() <= indices.max() < classes:
            raise ValueError(f"the {what} holds indices outside 0..{classes - 1}")
    pairs = truth * classes + prediction
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of counted pixels whose class is right; NaN where none is counted."""
    return _ratio(np.trace(confusion), confusion.sum()).item()


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index) by class, float64 [N].

    NaN for a class that is absent from both truth and prediction: it has no score.
    """
    hits = np.diag(confusion)
    return _ratio(hits, confusion.sum(0) + confusion.sum(1) - hits)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1 score of the pixels) by class, float64 [N]; NaN as in `iou`."""
    return _ratio(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """The share of a class's predicted pixels that are right, float64 [N]; NaN where there are none."""
    return _ratio(np.diag(confusion), confusion.sum(0))


def recall(confusion: np.ndarray) -> np.ndarray:
    """The share of a class's true pixels that are found, float64 [N]; NaN where there are none."""
    return _ratio(np.diag(confusion), confusion.sum(1))


def mean_present(scores: np.ndarray) -> float:
    """The mean over the classes that have a score; NaN where none has."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if present.size else float("nan")


def summarise(confusion: np.ndarray, names: list[str]) -> dict:
    """All scores of a data set as nested plain numbers; an absent class scores None."""

    def plain(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    by_class = {"iou": iou(confusion), "dice": dice(confusion)}
    return {
        "pixel_accuracy": plain(pixel_accuracy(confusion)),
        "mean_iou": plain(mean_present(by_class["iou"])),
        "mean_dice": plain(mean_present(by_class["dice"])),
        **{
            score: {name: plain(v) for name, v in zip(names, values, strict=True)}
            for score, values in by_class.items()
        },
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.asarray(denominator, np.float64))
