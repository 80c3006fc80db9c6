"""Scores, against values worked out by hand and against other implementations."""

import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe import metrics
from segpipe.classes import IGNORE

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
    assert metrics.pixel_accuracy(matrix) == 3 / 5
    assert metrics.iou(matrix) == pytest.approx([1 / 3, 2 / 3, 0])
    assert metrics.dice(matrix) == pytest.approx([2 / 4, 4 / 5, 0])
    assert metrics.precision(matrix) == pytest.approx([1 / 2, 2 / 3, np.nan], nan_ok=True)
    assert metrics.recall(matrix) == pytest.approx([1 / 2, 1, 0])
    assert metrics.mean_present(metrics.iou(matrix)) == pytest.approx(1 / 3)


def test_a_class_absent_from_truth_and_prediction_is_left_out_of_the_mean():
    scores = metrics.summarise(np.array([[4, 0, 0], [2, 2, 0], [0, 0, 0]]), ["pet", "ground", "border"])
    assert scores["iou"] == {"pet": pytest.approx(4 / 6), "ground": 0.5, "border": None}
    assert scores["mean_iou"] == pytest.approx((4 / 6 + 1 / 2) / 2)
    assert scores["dice"]["border"] is None


def test_a_class_predicted_but_never_true_scores_zero():
    assert metrics.iou(np.array([[1, 1], [0, 0]])).tolist() == [0.5, 0.0]


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
    assert metrics.mean_present(metrics.iou(matrix)) == pytest.approx(
        float(reference.result()), abs=1e-6
    )


@given(masks, predictions)
def test_matrices_of_parts_add_up_to_that_of_the_whole(truth, prediction):
    parts = sum(metrics.confusion_matrix(t, p, 4) for t, p in zip(truth, prediction, strict=True))
    assert (parts == metrics.confusion_matrix(truth, prediction, 4)).all()


@given(masks, predictions)
def test_dice_follows_from_iou(truth, prediction):
    matrix = metrics.confusion_matrix(truth, prediction, 4)
    iou = metrics.iou(matrix)
    np.testing.assert_allclose(metrics.dice(matrix), 2 * iou / (1 + iou))


def test_large_counts_do_not_overflow():
    matrix = np.full((2, 2), 2**40)
    assert metrics.pixel_accuracy(matrix) == 0.5


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [([0, 3], [0, 0]), ([0, 0], [0, 3]), ([0, 0], [0, -1]), ([0], [0, 0])],
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
    assert metrics.scores(by_image)["iou"].tolist() == [metrics.iou(m).tolist() for m in matrices]


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


def test_without_a_boundary_every_pixel_is_far_from_it():
    assert (metrics.boundary_bands(np.zeros((4, 5), np.uint8)) == len(metrics.BANDS) - 1).all()
