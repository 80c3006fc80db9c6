"""The built-in drawings."""

import hashlib

import numpy as np
import pytest

from segpipe.common.codec import decode_png
from segpipe.evaluate import metrics
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.synthetic import BACKGROUND, BORDER, PET, draw, samples

PARAMS = SyntheticParams(train=30, test=10, size=64, seed=3)


@pytest.fixture(scope="module")
def masks():
    return [decode_png(s.content.read()[1]) for s in samples(PARAMS)]


def test_any_number_of_samples_in_name_order_test_first():
    found = list(samples(PARAMS))
    assert [s.split for s in found] == ["test"] * 10 + ["train"] * 30
    assert [s.name for s in found] == sorted(s.name for s in found)


def test_the_same_seed_draws_the_same_and_another_seed_others():
    def digest(seed):
        params = PARAMS.model_copy(update={"seed": seed})
        return hashlib.sha256(b"".join(b"".join(s.content.read()) for s in samples(params))).hexdigest()

    assert digest(3) == digest(3)
    assert digest(3) != digest(4)


def test_a_sample_does_not_depend_on_how_many_there_are():
    fewer = {s.name: s.content.read() for s in samples(PARAMS.model_copy(update={"train": 3}))}
    more = {s.name: s.content.read() for s in samples(PARAMS)}
    assert fewer.items() <= more.items()


def test_every_mask_holds_pet_background_and_border(masks):
    assert all(np.unique(mask).tolist() == [PET, BACKGROUND, BORDER] for mask in masks)


def test_the_border_lies_between_pet_and_background(masks):
    for mask in masks:
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            assert not ((a == PET) & (b == BACKGROUND) | (a == BACKGROUND) & (b == PET)).any()


def test_predicting_only_the_largest_class_scores_far_below_the_demos_bar(masks):
    truth = np.concatenate([mask.ravel() for mask in masks]) - 1
    largest = np.full_like(truth, np.bincount(truth).argmax())
    scores = metrics.summarise(
        metrics.confusion_matrix(truth, largest, 3), ["pet", "background", "border"]
    )
    assert scores["mean_iou"] < 0.3


def test_sizes_vary_around_the_param():
    shapes = {draw(np.random.default_rng(n), 64)[1].shape for n in range(20)}
    assert len(shapes) > 10
    assert all(48 <= edge <= 80 for shape in shapes for edge in shape)
