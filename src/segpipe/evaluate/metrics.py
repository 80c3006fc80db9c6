"""Scores of masks: statistics first, then pure functions of them.

A confusion matrix here is int64 [N, N], rows the truth, columns the prediction, in pixels. Matrices of
several images add up, and every score of a data set comes from the one summed matrix; so it is with the
counts of boundary pixels.
"""

from itertools import pairwise

import numpy as np

from segpipe.common.classes import IGNORE

MEANS = ("pixel_accuracy", "mean_iou", "mean_dice")
"""The scores of a whole data set."""
RESAMPLES = 1000
_AT_ONCE = 100  # bounds the memory of the resampling
BINS = 15
BANDS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, None))
"""Distances to a class boundary, in pixels, from and up to; the last has no end."""
TOLERANCES = (2, 5)
"""How far a boundary may be off and still be right, in pixels."""


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
    for what, indices in (("truth", truth[truth != IGNORE]), ("prediction", prediction)):
        if indices.size and not 0 <= indices.min() <= indices.max() < classes:
            raise ValueError(f"the {what} holds indices outside 0..{classes - 1}")
    pairs = truth.astype(np.intp) * classes + prediction
    return np.bincount(pairs.ravel(), minlength=classes**2)[: classes**2].reshape(classes, classes)


def counts(confusion: np.ndarray) -> np.ndarray:
    """What every score needs of a confusion matrix: hits, true and predicted pixels, int64 [3, N]."""
    return np.stack([np.diag(confusion), confusion.sum(1), confusion.sum(0)])


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """All scores of one or many sets of counts.

    Args:
        counts: [..., 3, N] as `counts` gives them; those of several images add up.

    Returns:
        `pixel_accuracy`, `mean_iou` and `mean_dice`, float64 [...]; `iou` and `dice`, float64 [..., N].
        NaN where there is no score.
    """
    hits, truth, predicted = np.moveaxis(counts, -2, 0)
    iou = ratio(hits, truth + predicted - hits)
    dice = ratio(2 * hits, truth + predicted)
    return {
        "pixel_accuracy": ratio(hits.sum(-1), truth.sum(-1)),
        "mean_iou": mean_present(iou),
        "mean_dice": mean_present(dice),
        "iou": iou,
        "dice": dice,
    }


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of counted pixels whose class is right; NaN where none is counted."""
    return scores(counts(confusion))["pixel_accuracy"].item()


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index) by class, float64 [N].

    NaN for a class that is absent from both truth and prediction: it has no score.
    """
    return scores(counts(confusion))["iou"]


def dice(confusion: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1 score of the pixels) by class, float64 [N]; NaN as in `iou`."""
    return scores(counts(confusion))["dice"]


def precision(confusion: np.ndarray) -> np.ndarray:
    """The share of a class's predicted pixels that are right, float64 [N]; NaN where there are none."""
    return ratio(np.diag(confusion), confusion.sum(0))


def recall(confusion: np.ndarray) -> np.ndarray:
    """The share of a class's true pixels that are found, float64 [N]; NaN where there are none."""
    return ratio(np.diag(confusion), confusion.sum(1))


def mean_present(scores: np.ndarray) -> np.ndarray:
    """The mean over the classes (the last axis) that have a score; NaN where none has."""
    present = ~np.isnan(scores)
    return ratio(np.where(present, scores, 0).sum(-1), present.sum(-1))


def summarise(confusion: np.ndarray, names: list[str]) -> dict:
    """All scores of a data set as nested plain numbers; an absent class scores None."""
    return summarise_counts(counts(confusion), names)


def summarise_counts(counts: np.ndarray, names: list[str]) -> dict:
    """The same from counts, [3, N]."""
    found = scores(counts)
    return {
        **{name: _plain(found[name].item()) for name in MEANS},
        **{
            name: {c: _plain(score) for c, score in zip(names, found[name], strict=True)}
            for name in ("iou", "dice")
        },
    }


def intervals(counts: np.ndarray) -> dict[str, dict[str, float | None]]:
    """95 % intervals of a data set's scores: what other test images of the kind would have given.

    A percentile bootstrap (Efron): as many images are drawn with replacement, `RESAMPLES` times.
    The same counts give the same intervals.

    Args:
        counts: int64 [images, 3, N].

    Returns:
        `low` and `high` for each of `MEANS`; None where there is no score.
    """
    images, *shape = counts.shape
    rng = np.random.default_rng(0)
    # Floats hold these integers exactly, so that the product may add them in any order.
    by_image = counts.reshape(images, -1).astype(np.float64)
    samples = []
    for _ in range(RESAMPLES // _AT_ONCE):
        times_drawn = rng.multinomial(images, np.full(images, 1 / images), size=_AT_ONCE)
        resampled = scores((times_drawn @ by_image).reshape(_AT_ONCE, *shape))
        samples.append([resampled[name] for name in MEANS])
    return {
        name: _interval(values)
        for name, values in zip(MEANS, np.concatenate(samples, axis=1), strict=True)
    }


def calibration(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pixels by confidence in `BINS` bins of equal width; those of several images add up.

    Args:
        confidence: the probability of the predicted class, 0..1, float [pixels].
        right: whether that class is the true one, bool [pixels].

    Returns:
        Pixels, summed confidence and right pixels, float64 [3, BINS]; a bin holds its upper end.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (None, confidence, right)])


def calibration_error(calibration: np.ndarray) -> float:
    """How far confidence is from accuracy on average over the pixels (Guo et al. 2017), 0..1."""
    pixels, confidence, right = calibration
    return (np.abs(right - confidence).sum() / pixels.sum()).item()


def boundary_bands(mask: np.ndarray) -> np.ndarray:
    """The distance of each pixel to the nearest pixel of another class, as an index into `BANDS`.

    The distance is the chessboard's, in steps to any of the eight neighbours: a pixel that touches
    another class has 1. Ignored pixels are another class here; the picture's edge is none.

    Args:
        mask: class indices or 255, uint8 [H, W].

    Returns:
        uint8 [H, W].
    """
    lowest, highest = (_over_neighbours(mask, extreme) for extreme in (np.minimum, np.maximum))
    near = lowest != highest
    bands = np.full(mask.shape, len(BANDS) - 1, np.uint8)
    distance = 1
    for band, (_, farthest) in enumerate(BANDS[:-1]):
        near, distance = _grown(near, farthest - distance, np.maximum), farthest
        bands[near & (bands == len(BANDS) - 1)] = band
    return bands


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count boundary pixels by class, and how many of them lie near the other mask's.

    A boundary pixel touches another class, if only at a corner; the picture's edge is no boundary. It is
    near where the other mask has a boundary pixel of its class within the tolerance, by the chessboard's
    distance. Pixels whose truth is 255 are cut out of both masks: they are no boundary pixels, and to
    touch them makes none. So nothing that is predicted there counts.

    Args:
        truth: class indices 0..classes-1 or 255, uint8 [H, W].
        prediction: class indices 0..classes-1, uint8 [H, W].
        classes: the number of classes N.

    Returns:
        True boundary pixels and those found, predicted ones and those right, for each of `TOLERANCES`,
        int64 [tolerances, 4, N]; those of several images add up.
    """
    boundaries = [_boundary(mask) for mask in (truth, np.where(truth == IGNORE, truth, prediction))]
    counts = np.zeros((len(TOLERANCES), 4, classes), np.int64)
    for first in range(0, classes, 8):  # a bit each: eight classes are grown as fast as one
        chosen = range(first, min(first + 8, classes))
        bits = np.zeros(256, np.uint8)
        bits[chosen] = 1 << np.arange(len(chosen))
        true, predicted = (bits.take(boundary) for boundary in boundaries)
        near_true, near_predicted = true, predicted
        for row, (nearer, tolerance) in enumerate(pairwise((0, *TOLERANCES))):
            near_true = _grown(near_true, tolerance - nearer, np.bitwise_or)
            near_predicted = _grown(near_predicted, tolerance - nearer, np.bitwise_or)
            pixels = (true, true & near_predicted, predicted, predicted & near_true)
            counts[row][:, chosen] = [[np.count_nonzero(p & bits[c]) for c in chosen] for p in pixels]
    return counts


def boundary_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Boundary F1 score (Csurka et al. 2013, "What is a good evaluation measure for semantic
    segmentation?"), here of counts summed over the images, and what it is made of.

    Args:
        counts: [..., 4, N] as `boundary_counts` gives them.

    Returns:
        `precision` (the share of predicted boundary pixels that are right), `recall` (of true ones that
        are found) and `f1`, their harmonic mean, by class, float64 [..., N]. NaN where there are no such
        pixels; F1 is 0 where only the truth or only the prediction has any.
    """
    true, found, predicted, right = np.moveaxis(counts, -2, 0)
    precision, recall = ratio(right, predicted), ratio(found, true)
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return {
        "precision": precision,
        "recall": recall,
        "f1": np.where(true + predicted > 0, f1, np.nan),
    }


def summarise_boundaries(counts: np.ndarray) -> dict[str, float | None]:
    """The mean boundary F1 over the classes that have one, by tolerance (`2px`, ...); None without any.

    Args:
        counts: [tolerances, 4, N] as `boundary_counts` gives them.
    """
    means = mean_present(boundary_scores(counts)["f1"])
    return {f"{t}px": _plain(mean) for t, mean in zip(TOLERANCES, means, strict=True)}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Numerator over denominator, float64; NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.asarray(denominator, np.float64))


def _over_neighbours(picture: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each pixel and its eight neighbours, [H, W]."""
    rows = picture.copy()
    extreme(rows[1:], picture[:-1], out=rows[1:])
    extreme(rows[:-1], picture[1:], out=rows[:-1])
    both = rows.copy()
    extreme(both[:, 1:], rows[:, :-1], out=both[:, 1:])
    extreme(both[:, :-1], rows[:, 1:], out=both[:, :-1])
    return both


def _grown(picture: np.ndarray, steps: int, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each pixel and all that are as many steps away or fewer, [H, W]."""
    for _ in range(steps):
        picture = _over_neighbours(picture, extreme)
    return picture


def _boundary(mask: np.ndarray) -> np.ndarray:
    """The class of each pixel that touches another class, 255 elsewhere, uint8 [H, W]."""
    known = mask != IGNORE
    lowest = _over_neighbours(mask, np.minimum)  # 255 is above every class
    highest = _over_neighbours(mask * known, np.maximum)
    return np.where(known & (lowest != highest), mask, np.uint8(IGNORE))


def _interval(values: np.ndarray) -> dict[str, float | None]:
    present = values[~np.isnan(values)]
    low, high = np.quantile(present, (0.025, 0.975)).tolist() if present.size else (None, None)
    return {"low": low, "high": high}


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
