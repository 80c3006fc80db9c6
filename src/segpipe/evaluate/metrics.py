"""Scores of masks, as pure functions of counts.

A confusion matrix is int64 [N, N]: rows are the truth, columns the prediction, entries count pixels.
A data set is scored from the sum of its images' matrices, not from a mean of their scores. The same
holds for counts of boundary pixels.
"""

from itertools import pairwise

import numpy as np

from segpipe.common.classes import IGNORE

MEANS = ("pixel_accuracy", "mean_iou", "mean_dice")  # the scores of a whole data set
RESAMPLES = 1000
_AT_ONCE = 100  # bounds the memory of the resampling
BINS = 15
BANDS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, None))
"""Bands of distances to a class boundary, in pixels: first and last. The last band has no end."""
TOLERANCES = (2, 5)  # how far a boundary may be off and still be right, in pixels
REACH = max(BANDS[-1][0], *TOLERANCES) + 1  # rows around a pixel that decide its band and boundaries


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true and predicted class, int64 [N, N]; pixels whose truth is 255 do not count.

    `truth` holds class indices 0..N-1 or 255, `prediction` 0..N-1, as integers of one shape. Raises
    ValueError where the shapes differ, or an index is not a class.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}")
    for mask, indices in (("truth", truth[truth != IGNORE]), ("prediction", prediction)):
        if indices.size and not 0 <= indices.min() <= indices.max() < classes:
            raise ValueError(f"the {mask} holds indices outside 0..{classes - 1}")
    pairs = truth.astype(np.intp) * classes + prediction
    return np.bincount(pairs.ravel(), minlength=classes**2)[: classes**2].reshape(classes, classes)


def counts(confusion: np.ndarray) -> np.ndarray:
    """Return hits, true pixels and predicted pixels by class, int64 [3, N]: all that scores need."""
    return np.stack([np.diag(confusion), confusion.sum(1), confusion.sum(0)])


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return all scores of one or many sets of counts, [..., 3, N] as `counts` returns them.

    They are `pixel_accuracy`, `mean_iou` and `mean_dice`, float64 [...], and by class `iou`, `dice` (the
    pixels' F1), `precision` and `recall`, float64 [..., N]. NaN means no score: a class that is absent
    from truth and prediction has no IoU, and is left out of the means.
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
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, truth),
    }


def mean_present(scores: np.ndarray) -> np.ndarray:
    """Return the mean over those classes (the last axis) that have a score; NaN where none has."""
    present = ~np.isnan(scores)
    return ratio(np.where(present, scores, 0).sum(-1), present.sum(-1))


def summarise(confusion: np.ndarray, names: list[str]) -> dict:
    """Return all scores of a data set as plain numbers for JSON; an absent class scores None."""
    return summarise_counts(counts(confusion), names)


def summarise_counts(counts: np.ndarray, names: list[str]) -> dict:
    """Return the same from counts, [3, N]."""
    all_scores = scores(counts)
    by_class = {
        kind: dict(zip(names, map(_plain, all_scores[kind]), strict=True)) for kind in ("iou", "dice")
    }
    return {name: _plain(all_scores[name].item()) for name in MEANS} | by_class


def intervals(counts: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Return 95 % intervals of a data set's scores, for other test images of the same kind.

    A percentile bootstrap (Efron) over the images' counts, int64 [images, 3, N]. Equal counts give equal
    intervals. Returns `low` and `high` for each of `MEANS`; None where there is no score.
    """
    samples = resampled(counts)
    return {name: _interval(samples[name]) for name in MEANS}


def resampled(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of `RESAMPLES` data sets of as many images, drawn with replacement.

    `counts` is int64 [images, ..., 3, N]; a score is float64 [RESAMPLES, ...], as `scores` returns it.
    The counts of an image (such as those of two models) are drawn together. The random numbers are
    seeded: they depend on the number of images alone.
    """
    images, *shape = counts.shape
    rng = np.random.default_rng(0)
    # Floats hold these integers exactly, so the order in which the product adds them does not matter.
    by_image = counts.reshape(images, -1).astype(np.float64)
    samples = []
    for _ in range(RESAMPLES // _AT_ONCE):
        times_drawn = rng.multinomial(images, np.full(images, 1 / images), size=_AT_ONCE)
        samples.append(scores((times_drawn @ by_image).reshape(_AT_ONCE, *shape)))
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def calibration(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count pixels by confidence in `BINS` bins of equal width, each with its upper edge.

    `confidence` is the probability of the predicted class, 0..1, float [pixels]; `right` says whether
    that class is the true one, bool [pixels]. Returns pixels, summed confidence and right pixels,
    float64 [3, BINS]; those of several images add up.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (None, confidence, right)])


def calibration_error(calibration: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017), 0..1: mean |accuracy - confidence|."""
    pixels, confidence, right = calibration
    return (np.abs(right - confidence).sum() / pixels.sum()).item()


def boundary_bands(mask: np.ndarray) -> np.ndarray:
    """Return the band (index into `BANDS`) of each pixel's distance to the nearest other class.

    Chessboard distance: a pixel that touches another class, if only at a corner, has distance 1. Ignored
    pixels are another class here; the picture's edge is not. Mask (class indices or 255) and result are
    uint8 [H, W].
    """
    from scipy import ndimage  # takes 0.15 s, and the report imports this module for its ratios

    lowest, highest = (_over_neighbours(mask, extreme) for extreme in (np.minimum, np.maximum))
    steps = ndimage.distance_transform_cdt(lowest == highest, "chessboard")  # -1 without any boundary
    nearest = [near for near, _ in BANDS]
    longest = max(*mask.shape, nearest[-1])
    band_of = np.searchsorted(nearest, np.arange(1, longest + 1), side="right").astype(np.uint8) - 1
    return band_of.take(steps)


def boundary_counts(
    truth: np.ndarray, prediction: np.ndarray, classes: int, own: slice = slice(None)
) -> np.ndarray:
    """Count boundary pixels by class, and those that lie near the other mask's boundary.

    A boundary pixel touches another class, if only at a corner; the picture's edge is no boundary. It is
    near if the other mask has a boundary pixel of the same class within the tolerance (chessboard
    distance). Ignored pixels (truth 255) are never boundaries and create none; predictions there do not
    count. Both masks are uint8 [H, W], class indices 0..N-1. The result, int64 [tolerances, 4, N], holds
    for each of `TOLERANCES` true boundary pixels, those detected, predicted ones, those right.
    The counts of several images add up, and so do those of an image's `own` rows, if the rows around
    them (`REACH` at least) are there too.
    """
    boundaries = [_boundary(mask) for mask in (truth, np.where(truth == IGNORE, truth, prediction))]
    counts = np.zeros((len(TOLERANCES), 4, classes), np.int64)
    # One bit a class, so that eight are dilated at once: 5 to 15 times as fast as scipy class by class.
    for first in range(0, classes, 8):
        chosen = range(first, min(first + 8, classes))
        bits = np.zeros(256, np.uint8)
        bits[chosen] = 1 << np.arange(len(chosen))
        true, predicted = (bits.take(boundary) for boundary in boundaries)
        near_true, near_predicted = true, predicted
        for row, (nearer, tolerance) in enumerate(pairwise((0, *TOLERANCES))):
            near_true = _dilated(near_true, tolerance - nearer)
            near_predicted = _dilated(near_predicted, tolerance - nearer)
            near = (true, true & near_predicted, predicted, predicted & near_true)
            pixels = [rows[own] for rows in near]
            counts[row][:, chosen] = [[np.count_nonzero(p & bits[c]) for c in chosen] for p in pixels]
    return counts


def boundary_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return `precision`, `recall` and `f1` of boundary pixels by class, float64 [..., N].

    `counts` are those of `boundary_counts`, [..., 4, N], here summed over the images. NaN where there
    are no such pixels; F1 is 0 where only the truth or only the prediction has any. Source: Csurka et
    al. 2013, "What is a good evaluation measure for semantic segmentation?"
    """
    true, detected, predicted, right = np.moveaxis(counts, -2, 0)
    precision, recall = ratio(right, predicted), ratio(detected, true)
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    f1 = np.where(true + predicted > 0, f1, np.nan)
    return {"precision": precision, "recall": recall, "f1": f1}


def summarise_boundaries(counts: np.ndarray) -> dict[str, float | None]:
    """Return the mean boundary F1 over the classes that have one (else None), by tolerance as `2px`.

    `counts` are those of `boundary_counts`, [tolerances, 4, N].
    """
    means = mean_present(boundary_scores(counts)["f1"])
    return {f"{t}px": _plain(mean) for t, mean in zip(TOLERANCES, means, strict=True)}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return numerator over denominator, float64; NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / np.asarray(denominator, np.float64))


def _over_neighbours(picture: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Return the minimum or maximum over each pixel and its eight neighbours, [H, W]."""
    rows = picture.copy()
    extreme(rows[1:], picture[:-1], out=rows[1:])
    extreme(rows[:-1], picture[1:], out=rows[:-1])
    both = rows.copy()
    extreme(both[:, 1:], rows[:, :-1], out=both[:, 1:])
    extreme(both[:, :-1], rows[:, 1:], out=both[:, :-1])
    return both


def _dilated(bits: np.ndarray, steps: int) -> np.ndarray:
    """Return each pixel's bits and those of all pixels within some chessboard distance, [H, W]."""
    for _ in range(steps):
        bits = _over_neighbours(bits, np.bitwise_or)
    return bits


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Return the class of each pixel that touches another class, 255 elsewhere, uint8 [H, W]."""
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
