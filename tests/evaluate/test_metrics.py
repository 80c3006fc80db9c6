"""Scores, against values worked out by hand and against other implementations."""

import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe.common.classes import IGNORE
from segpipe.evaluate import metrics

TRUTH = np.array([[0, 0, 1], [1, 255, 2]])
PREDICTION = np.array([[0, 1, 1], [1, 0, 0]])
# Counted pixels: (0,0) (0,1) (1,1) (1,1) (2,0).
MATRIX = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]

masks = hnp.arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, 3, 255]))
predictions = hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 3))


def test_confusion_matrix_counts_truth_by_row_and_leaves_ignored_pixels_out():
    assert metrics.confusion_matrix(TRUTH, PREDICTION, 3).tolist() == MATRIX


def test_scores_are_those_worked_out_by_hand():
    matrix = np.array(MATRIX)
    scores = metrics.scores(metrics.counts(matrix))
    assert scores["pixel_accuracy"] == 3 / 5
    assert scores["iou"] == pytest.approx([1 / 3, 2 / 3, 0])
    assert scores["dice"] == pytest.approx([2 / 4, 4 / 5, 0])
    assert scores["precision"] == pytest.approx([1 / 2, 2 / 3, np.nan], nan_ok=True)
    assert scores["recall"] == pytest.approx([1 / 2, 1, 0])
    assert scores["mean_iou"] == pytest.approx(1 / 3)


def test_a_class_absent_from_truth_and_prediction_is_left_out_of_the_mean():
    scores = metrics.summarise(np.array([[4, 0, 0], [2, 2, 0], [0, 0, 0]]), ["pet", "ground", "border"])
    assert scores["iou"] == {"pet": pytest.approx(4 / 6), "ground": 0.5, "border": None}
    assert scores["mean_iou"] == pytest.approx((4 / 6 + 1 / 2) / 2)
    assert scores["dice"]["border"] is None


def test_a_class_predicted_but_never_true_scores_zero():
    matrix = np.array([[1, 1], [0, 0]])
    assert metrics.scores(metrics.counts(matrix))["iou"].tolist() == [0.5, 0.0]


def test_nothing_counted_gives_no_score():
    scores = metrics.summarise(np.zeros((2, 2), int), ["a", "b"])
    assert scores["pixel_accuracy"] is None
    assert scores["mean_iou"] is None


@settings(deadline=None)  # Keras compiles something the first time
@given(masks, predictions)
def test_mean_iou_is_that_of_keras_where_no_class_is_absent(truth, prediction):
    truth, prediction = (np.concatenate([a.ravel(), range(4)]) for a in (truth, prediction))
    reference = keras.metrics.MeanIoU(4, ignore_class=255)
    reference.update_state(truth, prediction)
    matrix = metrics.confusion_matrix(truth, prediction, 4)
    assert metrics.scores(metrics.counts(matrix))["mean_iou"] == pytest.approx(
        float(reference.result()), abs=1e-6
    )


@given(masks, predictions)
def test_matrices_of_parts_add_up_to_that_of_the_whole(truth, prediction):
    parts = sum(metrics.confusion_matrix(t, p, 4) for t, p in zip(truth, prediction, strict=True))
    assert (parts == metrics.confusion_matrix(truth, prediction, 4)).all()


@given(masks, predictions)
def test_dice_follows_from_iou(truth, prediction):
    matrix = metrics.confusion_matrix(truth, prediction, 4)
    scores = metrics.scores(metrics.counts(matrix))
    np.testing.assert_allclose(scores["dice"], 2 * scores["iou"] / (1 + scores["iou"]))


def test_large_counts_do_not_overflow():
    matrix = np.full((2, 2), 2**40)
    assert metrics.scores(metrics.counts(matrix))["pixel_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("truth", "prediction"), [([0, 3], [0, 0]), ([0, 0], [0, 3]), ([0, 0], [0, -1]), ([0], [0, 0])]
)
def test_indices_that_are_no_class_are_refused(truth, prediction):
    with pytest.raises(ValueError, match=r"outside 0\.\.2|shape"):
        metrics.confusion_matrix(np.array(truth), np.array(prediction), 3)


def test_counts_of_images_give_the_scores_of_their_summed_matrix(rng):
    matrices = rng.integers(0, 50, (4, 3, 3))
    by_image = np.stack([metrics.counts(m) for m in matrices])
    found, expected = (
        metrics.scores(by_image.sum(0)),
        metrics.summarise(matrices.sum(0), ["a", "b", "c"]),
    )
    assert found["iou"].tolist() == list(expected["iou"].values())
    assert [found[name].item() for name in metrics.MEANS] == [expected[name] for name in metrics.MEANS]
    assert metrics.scores(by_image)["iou"].tolist() == [
        metrics.scores(metrics.counts(m))["iou"].tolist() for m in matrices
    ]


def images_right_or_wrong(right, wrong, pixels=1):
    """Counts of images of two classes and one pixel each, all of the first class."""
    hit, miss = [[1, 0], [1, 0], [1, 0]], [[0, 0], [1, 0], [0, 1]]
    return pixels * np.array([hit] * right + [miss] * wrong)


def test_the_interval_of_a_share_is_that_of_the_binomial():
    """With one pixel an image, the bootstrap draws from Binomial(400, 0.3): known quantiles."""
    interval = metrics.intervals(images_right_or_wrong(120, 280))["pixel_accuracy"]
    assert interval["low"] == pytest.approx(102 / 400, abs=0.006)  # from exact sums of the terms
    assert interval["high"] == pytest.approx(138 / 400, abs=0.006)


def test_intervals_hold_the_score_and_are_the_same_every_time(rng):
    by_image = np.stack([metrics.counts(m) for m in rng.integers(0, 50, (40, 3, 3))])
    intervals = metrics.intervals(by_image)
    scores = metrics.scores(by_image.sum(0))
    assert all(intervals[name]["low"] < scores[name] < intervals[name]["high"] for name in metrics.MEANS)
    assert metrics.intervals(by_image) == intervals


def test_intervals_are_of_images_and_not_of_pixels():
    """A million pixels of one image are no more evidence than one."""
    assert metrics.intervals(images_right_or_wrong(6, 4, 10**6)) == metrics.intervals(
        images_right_or_wrong(6, 4)
    )


def test_without_a_score_there_is_no_interval():
    none = {"low": None, "high": None}
    assert metrics.intervals(np.zeros((2, 3, 2), int)) == dict.fromkeys(metrics.MEANS, none)


def test_intervals_of_the_pets_with_many_classes_fit_in_memory():
    tracemalloc.start()
    metrics.intervals(np.ones((3669, 3, 255), np.int32))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_the_calibration_error_is_that_worked_out_by_hand():
    confidence = np.array([1.0, 1.0, 0.5, 0.5], np.float32)
    right = np.array([True, True, True, False])
    table = metrics.calibration(confidence, right)
    assert metrics.calibration_error(table) == 0
    table += metrics.calibration(np.array([1.0, 1.0]), np.array([False, False]))
    # Of 6 pixels 4 are in the bin of 1.0, half of them right; 2 in that of 0.5, half of them right.
    assert metrics.calibration_error(table) == pytest.approx(4 / 6 * 0.5)


def test_a_bin_of_confidence_holds_its_upper_end():
    pixels = metrics.calibration(np.array([0.0, 0.2, 0.21, 1.0]), np.zeros(4, bool))[0]
    assert np.flatnonzero(pixels).tolist() == [0, 2, 3, 14]  # (2/15, 3/15] is the third


def test_a_band_is_the_chessboard_distance_to_the_nearest_pixel_of_another_class(rng):
    mask = np.zeros((24, 31), np.uint8)
    mask[rng.integers(0, 24, 3), rng.integers(0, 31, 3)] = 1, 2, IGNORE
    mask[10:, 20:] = 3
    points = np.argwhere(np.ones_like(mask))
    for (row, column), band in np.ndenumerate(metrics.boundary_bands(mask)):
        others = points[mask.ravel() != mask[row, column]]
        distance = np.abs(others - (row, column)).max(1).min()
        near, far = metrics.BANDS[band]
        assert near <= distance <= (far or np.inf)


def grown_bands(mask):
    """The bands without a distance transform: pixels that touch another class, grown step by step."""
    padded = np.pad(mask, 1, mode="edge")
    near = np.zeros(mask.shape, bool)
    for row, column in np.ndindex(3, 3):
        near |= padded[row:, column:][: mask.shape[0], : mask.shape[1]] != mask
    bands, distance = np.full(mask.shape, len(metrics.BANDS) - 1, np.uint8), 1
    for band, (_, farthest) in enumerate(metrics.BANDS[:-1]):
        while distance < farthest:
            around = np.pad(near, 1)
            for row, column in np.ndindex(3, 3):
                near |= around[row:, column:][: mask.shape[0], : mask.shape[1]]
            distance += 1
        bands[near & (bands == len(metrics.BANDS) - 1)] = band
    return bands


@settings(deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 5)),
        elements=st.sampled_from([0, 1, IGNORE]),
    ),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_bands_are_those_of_boundaries_grown_step_by_step(small, down, across):
    """Of noise, of large regions, of one row or column, without any boundary."""
    mask = small.repeat(down, 0).repeat(across, 1)
    found = metrics.boundary_bands(mask)
    assert (found.dtype, found.tolist()) == (np.uint8, grown_bands(mask).tolist())


def test_without_a_boundary_every_pixel_is_far_from_it():
    assert (metrics.boundary_bands(np.zeros((4, 5), np.uint8)) == len(metrics.BANDS) - 1).all()


def square(shift=0):
    """A square of class 1, 8 by 8, on class 0: its outline has 28 pixels, the ground around it 36."""
    mask = np.zeros((24, 24), np.uint8)
    mask[4:12, 4 + shift : 12 + shift] = 1
    return mask


@pytest.mark.parametrize(
    ("shift", "ground", "within_2px"),
    [
        (0, 36, 28),
        (1, 36, 28),
        (2, 36, 28),
        # Off are the far side (8, of the ground 10) and what of the near one is over 2 px from its ends.
        (3, 36 - 10 - 4, 28 - 8 - 2),
    ],
)
def test_the_outline_of_a_shifted_square_is_right_up_to_the_tolerance(shift, ground, within_2px):
    counts = metrics.boundary_counts(square(), square(shift), 2)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[[36, 28], [ground, within_2px]] * 2, [[36, 28], [36, 28]] * 2]
    scores = metrics.boundary_scores(counts)
    for name in ("precision", "recall", "f1"):
        assert scores[name] == pytest.approx(np.array([[ground / 36, within_2px / 28], [1, 1]]))
    assert metrics.summarise_boundaries(counts) == {
        "2px": pytest.approx((ground / 36 + within_2px / 28) / 2),
        "5px": 1,
    }


def test_the_edge_of_the_picture_is_no_boundary():
    halves = np.array([[0, 0, 1, 1]] * 5, np.uint8)
    assert metrics.boundary_counts(halves, halves, 2).tolist() == [[[5, 5]] * 4] * 2
    assert not metrics.boundary_counts(halves, np.ones_like(halves), 2)[:, 2:].any()


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    scores = metrics.boundary_scores(np.array([[8], [2], [4], [3]]))
    assert (scores["precision"], scores["recall"]) == (3 / 4, 2 / 8)
    assert scores["f1"] == pytest.approx(2 / (4 / 3 + 8 / 2))


def test_a_class_without_boundaries_has_no_boundary_score_and_one_on_one_side_alone_scores_zero():
    truth, prediction = square(), square()
    prediction[20:, 20:] = 3
    counts = metrics.boundary_counts(truth, prediction, 4)
    f1 = metrics.boundary_scores(counts)["f1"]
    # Around the new square of 4 by 4 in the corner run 9 pixels of ground, far from any true boundary.
    assert f1[0].tolist() == pytest.approx([2 / (45 / 36 + 1), 1, np.nan, 0], nan_ok=True)
    assert metrics.summarise_boundaries(counts)["2px"] == pytest.approx((2 / (45 / 36 + 1) + 1) / 3)
    missed = metrics.boundary_scores(metrics.boundary_counts(prediction, truth, 4))["f1"]
    assert missed[0].tolist() == pytest.approx(f1[0].tolist(), nan_ok=True)
    empty = metrics.boundary_counts(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8), 2)
    assert metrics.summarise_boundaries(empty) == {"2px": None, "5px": None}


@pytest.mark.parametrize("predicted_there", [0, 1, 2])
def test_ignored_pixels_are_no_boundary_pixels_and_to_touch_them_makes_none(predicted_there):
    truth = np.array([[0, 0, IGNORE, IGNORE, 1, 1, 0, 0]], np.uint8)
    prediction = np.where(truth == IGNORE, predicted_there, truth)
    prediction[0, 3] = 2
    # Of class 1 the pixel at 5, of class 0 that at 6; those at 1 and 4 touch ignored ones alone.
    assert metrics.boundary_counts(truth, prediction, 3).tolist() == [[[1, 1, 0]] * 4] * 2


def test_boundary_pixels_are_summed_over_images_and_not_their_scores():
    fits = np.array([[0] * 15 + [1] * 15], np.uint8)
    truth, misses = (np.array([[0] * n + [1] * (30 - n)] * 3, np.uint8) for n in (5, 20))
    total = metrics.boundary_counts(fits, fits, 2) + metrics.boundary_counts(truth, misses, 2)
    assert metrics.boundary_scores(total)["f1"].tolist() == [[1 / 4] * 2] * 2  # and not (1 + 0) / 2


truths_with_ignored = hnp.arrays(np.uint8, (6, 14), elements=st.sampled_from([0, 1, 2, 3, IGNORE]))
known = hnp.arrays(np.uint8, (6, 14), elements=st.integers(0, 3))


def slow_boundary_counts(truth, prediction, classes):
    """The definition, pixel by pixel."""
    pixels = [*np.ndindex(truth.shape)]

    def distance(a, b):
        return max(abs(a[0] - b[0]), abs(a[1] - b[1]))

    def boundary(mask, c):
        of_class = [p for p in pixels if truth[p] != IGNORE and mask[p] == c]
        others = [p for p in pixels if truth[p] != IGNORE and mask[p] != c]
        return [p for p in of_class if any(distance(p, o) == 1 for o in others)]

    counts = np.zeros((len(metrics.TOLERANCES), 4, classes), int)
    for c in range(classes):
        sides = boundary(truth, c), boundary(prediction, c)
        for row, tolerance in enumerate(metrics.TOLERANCES):
            for first, (these, those) in zip((0, 2), (sides, sides[::-1]), strict=True):
                near = [p for p in these if any(distance(p, q) <= tolerance for q in those)]
                counts[row, first : first + 2, c] = len(these), len(near)
    return counts


@settings(deadline=None, max_examples=50)
@given(truths_with_ignored, known)
def test_boundary_counts_are_those_of_a_slow_and_plain_count(truth, prediction):
    found = metrics.boundary_counts(truth, prediction, 4)
    assert (found == slow_boundary_counts(truth, prediction, 4)).all()


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_boundary_counts_of_large_regions_are_those_of_a_slow_count(data):
    """Few boundaries, far apart: what noise does not have."""
    truth, prediction = (
        data.draw(hnp.arrays(np.uint8, (2, 4), elements=st.integers(0, 2))).repeat(4, 0).repeat(5, 1)
        for _ in range(2)
    )
    found = metrics.boundary_counts(truth, prediction, 3)
    assert (found == slow_boundary_counts(truth, prediction, 3)).all()


@given(truths_with_ignored, known)
def test_boundaries_of_a_perfect_prediction_score_one_whatever_it_says_of_ignored_pixels(truth, there):
    counts = metrics.boundary_counts(truth, np.where(truth == IGNORE, there, truth), 4)
    f1 = metrics.boundary_scores(counts)["f1"]
    assert (f1[~np.isnan(f1)] == 1).all()


@given(known, known)
def test_boundary_f1_is_the_same_with_truth_and_prediction_exchanged(one, two):
    there, back = (
        metrics.boundary_scores(metrics.boundary_counts(*masks, 4))["f1"]
        for masks in ((one, two), (two, one))
    )
    np.testing.assert_allclose(there, back)


@given(truths_with_ignored, known)
def test_a_larger_tolerance_never_lowers_a_boundary_score(truth, prediction):
    for score in metrics.boundary_scores(metrics.boundary_counts(truth, prediction, 4)).values():
        assert (np.diff(score, axis=0)[:, ~np.isnan(score[0])] >= 0).all()
