"""Class weights: worked out by hand from the training split's pixels, and what they do to the loss."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import PETS

from segpipe.common.records import Manifest, without_pixels
from segpipe.train.class_weights import class_weights
from segpipe.train.losses import cross_entropy


def manifest(pixels, around):
    """Three classes; validation and test hold other numbers, which must not matter."""
    by_name = [dict(zip(PETS.names, row, strict=True)) for row in (pixels, around, (7, 7, 7))]
    training = {"class_pixels": by_name[0], "pixels_of_images_with_class": by_name[1]}
    others = dict.fromkeys(training, by_name[2])
    splits = {"train": training, "val": others, "test": others}
    return Manifest(None, "a test", (32, 32), "stretch", PETS, splits, [])


def test_none_weighs_nothing():
    assert class_weights("none", manifest((1, 1, 1), (3, 3, 3))) is None


def test_balanced_weights_are_inverse_to_the_share_of_pixels():
    """As scikit-learn's: all pixels over the number of classes times the class's."""
    found = class_weights("balanced", manifest((600, 300, 100), (1000, 1000, 1000)))
    assert found == pytest.approx([1000 / 1800, 1000 / 900, 1000 / 300])


def test_median_frequency_counts_in_the_images_that_hold_the_class():
    """Frequencies 0.5, 0.3 and 100 / 200, as border is in an image of 200 pixels alone: median 0.5."""
    found = class_weights("median_frequency", manifest((500, 300, 100), (1000, 1000, 200)))
    assert found == pytest.approx([1, 0.5 / 0.3, 1])


def test_weights_by_name_are_one_where_not_named():
    assert class_weights({"border": 2.5}, manifest((1, 1, 1), (3, 3, 3))) == [1, 1, 2.5]


@pytest.mark.parametrize("kind", ["balanced", "median_frequency"])
def test_a_class_without_a_pixel_weighs_nothing_and_changes_no_other(kind):
    with_border = class_weights(kind, manifest((600, 400, 0), (1000, 1000, 0)))
    assert with_border[2] == 0
    expected = {"balanced": [1000 / 1200, 1000 / 800], "median_frequency": [0.5 / 0.6, 0.5 / 0.4]}
    assert with_border[:2] == pytest.approx(expected[kind])


def test_classes_without_a_pixel_are_named():
    assert without_pixels(manifest((5, 0, 0), (5, 0, 0)).splits["train"]) == ["background", "border"]


PROBABILITIES = np.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]]]], np.float32)


def weighted(mask, logits):
    return cross_entropy(mask, logits, weights=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("run", [weighted, tf.function(weighted)], ids=["eager", "graph"])
def test_weighted_cross_entropy_is_the_weighted_mean_over_counted_pixels(run):
    mask = np.array([[[0, 2, 255]]], np.uint8)
    expected = -(1 * np.log(0.5) + 3 * np.log(0.8)) / (1 + 3)
    assert float(run(mask, np.log(PROBABILITIES))) == pytest.approx(expected, rel=1e-6)


def test_weighted_cross_entropy_inside_a_data_set_is_the_same():
    mask = tf.constant([[[0, 2, 255]]], tf.uint8)
    data = tf.data.Dataset.from_tensors((mask, tf.math.log(PROBABILITIES))).map(weighted)
    (found,) = data.as_numpy_iterator()
    assert found == pytest.approx(float(weighted(mask.numpy(), np.log(PROBABILITIES))), rel=1e-6)


def test_pixels_that_are_ignored_or_weigh_nothing_give_no_loss_and_no_gradient():
    logits = tf.Variable(np.log(PROBABILITIES))
    with tf.GradientTape() as tape:
        loss = cross_entropy(np.array([[[0, 1, 255]]], np.uint8), logits, weights=[0.0, 0.0, 1.0])
    assert float(loss) == 0
    assert not tape.gradient(loss, logits).numpy().any()


def test_an_ignored_pixel_has_no_gradient():
    logits = tf.Variable(np.log(PROBABILITIES))
    with tf.GradientTape() as tape:
        loss = weighted(np.array([[[0, 2, 255]]], np.uint8), logits)
    by_pixel = np.abs(tape.gradient(loss, logits).numpy()).sum(-1).ravel()
    assert (by_pixel > 0).tolist() == [True, True, False]
