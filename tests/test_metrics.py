"""Scores, against values worked out by hand and against other implementations."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segpipe import metrics

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
