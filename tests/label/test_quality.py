"""How good a mask is, judged by probabilities: values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.label import quality
from segpipe.label.quality import Judgement, relative_overlaps


def judged(mask, probabilities):
    """A judgement of probabilities [height, width, classes], taken as two strips of rows."""
    judgement = Judgement.empty(np.array(mask, np.uint8))
    probabilities = np.array(probabilities, np.float32)
    for rows in (slice(0, 1), slice(1, len(probabilities))):
        judgement.add(rows, np.moveaxis(probabilities[rows], -1, 0))
    return judgement


def of_given(*values):
    """One row of class 0, whose probabilities are these."""
    return judged([[0] * len(values)], [[[p, 1 - p] for p in values]])


def test_quality_is_the_papers_soft_minimum():
    """Of 1.0, 0.5 and 0.0 the weights at a temperature of 0.1 are 1, e^5 and e^10."""
    expected = (1.0 + 0.5 * math.e**5) / (1 + math.e**5 + math.e**10)
    assert of_given(1.0, 0.5, 0.0).quality() == pytest.approx(expected, rel=1e-6)


def test_equal_probabilities_are_the_quality():
    assert of_given(0.7, 0.7, 0.7).quality() == pytest.approx(0.7, abs=1e-6)


def test_one_bad_pixel_of_many_counts_more_than_in_the_mean():
    values = [0.99] * 99 + [0.0]
    assert of_given(*values).quality() < 0.05 < np.mean(values)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_quality_lies_between_the_lowest_probability_and_the_mean(values):
    found = of_given(*values).quality()
    assert min(values) - 1e-6 <= found <= np.mean(values) + 1e-6


def test_ignored_pixels_do_not_count():
    judgement = judged([[0, 255], [0, 255]], [[[0.8, 0.2], [0.0, 1.0]]] * 2)
    assert judgement.quality() == pytest.approx(0.8, abs=1e-6)
    assert judged([[255], [255]], [[[0.8, 0.2]]] * 2).quality() is None


def test_quality_does_not_depend_on_how_many_pixels_are_taken_at_once(monkeypatch, rng):
    given_ = rng.random((40, 30)).astype(np.float32)
    judgement = judged(np.zeros((40, 30)), np.stack([given_, 1 - given_], -1))
    whole = judgement.quality()
    monkeypatch.setattr(quality, "_STRIP", 90)
    assert judgement.quality() == pytest.approx(whole, rel=1e-12)


def drawing():
    """20 x 30 pixels of class 0; 10 x 6 of them the model is sure are 2, 3 x 3 are 1."""
    mask = np.zeros((20, 30), np.uint8)
    probabilities = np.full((20, 30, 3), (0.98, 0.01, 0.01), np.float32)
    probabilities[5:15, 20:26] = (0.02, 0.03, 0.95)
    probabilities[0:3, 0:3] = (0.02, 0.95, 0.03)
    return mask, probabilities


def test_a_region_is_where_the_model_is_sure_of_another_class():
    (region,) = judged(*drawing()).regions()
    assert region.pixels == 60
    assert region.box == (5, 20, 10, 6)
    assert (region.labelled, region.predicted) == (0, 2)
    assert region.sureness == pytest.approx(0.95, abs=1e-6)


def test_where_the_model_is_unsure_there_is_no_region():
    mask, probabilities = drawing()
    probabilities[5:15, 20:26] = (0.1, 0.05, 0.85)
    assert judged(mask, probabilities).regions() == []


def test_ignored_pixels_are_in_no_region():
    mask, probabilities = drawing()
    mask[5:15, 20:26] = 255
    assert judged(mask, probabilities).regions() == []


def test_the_largest_region_comes_first():
    mask, probabilities = drawing()
    probabilities[0:6, 0:6] = (0.02, 0.95, 0.03)
    assert [region.pixels for region in judged(mask, probabilities).regions()] == [60, 36]


def test_counts_are_those_of_mask_and_prediction_without_ignored_pixels():
    """Class 0 is labelled twice and predicted once, rightly; the third pixel is ignored."""
    judgement = judged([[0, 0, 255, 1]], [[[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.3, 0.7]]])
    assert judgement.counts(2).tolist() == [[1, 1], [2, 1], [1, 2]]


def test_the_overlap_of_a_class_is_relative_to_its_median(monkeypatch):
    """IoUs of class 0: 0.8, 0.4 and 0.2; of class 1: 0.9, 0.9 and 0.45."""
    monkeypatch.setattr(quality, "_FAINT", 0.0)
    counts = np.array(
        [[[8, 18], [9, 19], [9, 19]], [[4, 18], [7, 19], [7, 19]], [[2, 9], [6, 14], [6, 15]]]
    )
    assert relative_overlaps(counts) == pytest.approx(np.array([[2, 1], [1, 1], [0.5, 0.5]]))


def test_a_class_that_a_mask_lacks_makes_a_suspect_by_its_share_of_the_picture():
    """Class 1 is predicted on 1, 100 and 1,000 of 10,000 pixels; a fourth mask alone has it."""
    counts = np.array(
        [[[10_000 - n, 0], [10_000, 0], [10_000 - n, n]] for n in (1, 100, 1000)]
        + [[[9000, 1000], [9000, 1000], [9000, 1000]]]
    )
    assert relative_overlaps(counts)[:, 1] == pytest.approx([10 / 11, 10 / 110, 10 / 1010, 1])


def test_a_class_that_no_mask_has_is_compared_with_1():
    counts = np.array([[[90, 0], [100, 0], [90, 10]]])
    assert relative_overlaps(counts) == pytest.approx(np.array([[1, 0.1 / 10.1]]))
