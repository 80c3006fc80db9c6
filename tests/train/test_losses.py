"""The losses: their values by hand or by NumPy, eagerly and in a graph, and what they do not see."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import plain_params

from segpipe.common.classes import IGNORE
from segpipe.evaluate import metrics
from segpipe.train.losses import cross_entropy, dice, focal, lovasz, segmentation_loss

PARAMS = plain_params().train.loss
NOTHING = dict.fromkeys(("cross_entropy", "focal", "dice", "lovasz"), 0.0)
LOSSES = {
    "cross_entropy": {"cross_entropy": 1.0},
    "smoothed": {"cross_entropy": 1.0, "label_smoothing": 0.1},
    "focal": {"focal": 1.0},
    "root_of_focal": {"focal": 1.0, "focal_gamma": 0.5, "label_smoothing": 0.1},
    "dice": {"dice": 1.0},
    "lovasz": {"lovasz": 1.0},
    "all": {"cross_entropy": 0.5, "focal": 2.0, "dice": 0.25, "lovasz": 1.5},
}
"""What `train.loss` may ask for, the rest 0."""


def asked(changes, weights=None):
    return segmentation_loss(PARAMS.model_copy(update={**NOTHING, **changes}), weights)


@pytest.fixture(params=LOSSES)
def loss(request):
    return asked(LOSSES[request.param], [1.0, 2.0, 0.5])


@pytest.fixture
def mask(rng):
    """A sixth of it ignored."""
    return rng.choice([0, 0, 1, 1, 2, IGNORE], (2, 6, 7)).astype(np.uint8)


@pytest.fixture
def logits(rng):
    return rng.normal(size=(2, 6, 7, 3)).astype(np.float32) * 2


def softmax(logits):
    powers = np.exp(logits.astype(float))
    return powers / powers.sum(-1, keepdims=True)


def certain(mask, classes=3):
    """Logits that leave no doubt, right where something is counted."""
    return np.float32(200) * np.eye(classes, dtype=np.float32)[np.where(mask == IGNORE, 0, mask)]


def value_and_gradient(loss, mask, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(mask, logits)
    return float(value), tape.gradient(value, logits).numpy()


def test_cross_entropy_alone_is_to_the_bit_the_mean_over_counted_pixels(mask, logits):
    by_pixel = tf.nn.sparse_softmax_cross_entropy_with_logits(mask.astype(int) % IGNORE, logits)
    counted = tf.cast(mask != IGNORE, tf.float32)
    expected = tf.reduce_sum(by_pixel * counted) / tf.reduce_sum(counted)
    assert float(segmentation_loss(PARAMS)(mask, logits)) == float(expected)
    assert float(cross_entropy(mask, logits)) == float(expected)


def test_smoothed_cross_entropy_by_hand():
    """A tenth of the truth spread over two classes: 0.95 and 0.05 are left of 1 and 0."""
    logits = np.log(np.array([[[[0.8, 0.2]]]], np.float32))
    expected = -0.95 * np.log(0.8) - 0.05 * np.log(0.2)
    found = asked(LOSSES["smoothed"])(np.zeros((1, 1, 1), np.uint8), logits)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_focal_by_hand():
    """Of probabilities 0.5 and 0.8 of the truth, gamma 2; the third pixel is ignored."""
    logits = np.log(np.array([[[[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]]], np.float32))
    mask = np.array([[[0, 1, IGNORE]]], np.uint8)
    expected = -(0.5**2 * np.log(0.5) + 0.2**2 * np.log(0.8)) / 2
    assert float(focal(mask, logits, gamma=2)) == pytest.approx(expected, rel=1e-6)
    weighted = -(3 * 0.5**2 * np.log(0.5) + 0.2**2 * np.log(0.8)) / (3 + 1)
    assert float(focal(mask, logits, 2, weights=[3.0, 1.0])) == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize(("gamma", "smoothing"), [(2.0, 0.0), (0.5, 0.0), (3.0, 0.2)])
def test_focal_is_keras_own_where_that_clips_nothing(gamma, smoothing, rng, logits):
    mask = rng.integers(0, 3, (2, 6, 7))
    theirs = keras.losses.categorical_focal_crossentropy(
        np.eye(3)[mask], logits, alpha=1, gamma=gamma, from_logits=True, label_smoothing=smoothing
    )
    ours = focal(mask, logits, gamma, smoothing=smoothing)
    assert float(ours) == pytest.approx(float(tf.reduce_mean(theirs)), rel=1e-5)


def test_focal_of_gamma_0_is_cross_entropy(mask, logits):
    assert float(focal(mask, logits, 0)) == pytest.approx(float(cross_entropy(mask, logits)), rel=1e-6)


def test_focal_pulls_at_a_pixel_that_is_as_wrong_as_can_be():
    wrong = np.array([[[[0, 50, 0]]]], np.float32)
    _, gradient = value_and_gradient(asked(LOSSES["focal"]), np.zeros((1, 1, 1), np.uint8), wrong)
    assert gradient.ravel() == pytest.approx([-1, 1, 0])


def test_dice_by_hand():
    """Class 0: 2 * 0.9 / (1 + 1.2), class 1: 2 * 0.6 / (1 + 0.7); class 2 is not in the mask."""
    probabilities = np.array([[[[0.9, 0.1, 1e-9], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]]]], np.float32)
    mask = np.array([[[0, 1, IGNORE]]], np.uint8)
    expected = 1 - (1.8 / 2.2 + 1.2 / 1.7) / 2
    assert float(dice(mask, np.log(probabilities))) == pytest.approx(expected, rel=1e-5)


def lovasz_by_numpy(mask, logits):
    """Equations 8 and 9 of the paper, one set of errors after the other."""
    counted = mask != IGNORE
    truth, probabilities = mask[counted], softmax(logits)[counted]
    losses = []
    for number in np.unique(truth):
        of_class = truth == number
        error = np.where(of_class, 1 - probabilities[:, number], probabilities[:, number])
        missed, before, total = np.zeros(len(truth), bool), 0.0, 0.0
        for pixel in np.argsort(-error):
            missed[pixel] = True
            jaccard = missed.sum() / (of_class | missed).sum()
            total += error[pixel] * (jaccard - before)
            before = jaccard
        losses.append(total)
    return np.mean(losses)


@pytest.mark.parametrize("classes", [3, 21])
def test_lovasz_is_what_the_paper_says(classes, rng):
    """Of 21 classes about 5 are not in the mask."""
    mask = rng.choice([*range(max(3, classes - 5)), IGNORE], (2, 6, 7)).astype(np.uint8)
    logits = rng.normal(size=(2, 6, 7, classes)).astype(np.float32) * 3
    assert float(lovasz(mask, logits)) == pytest.approx(lovasz_by_numpy(mask, logits), rel=1e-5)


def test_lovasz_of_a_hard_prediction_is_1_minus_the_mean_iou_of_the_classes_in_the_mask(rng):
    mask = rng.choice([0, 1, 2, IGNORE], (4, 16, 16)).astype(np.uint8)
    prediction = rng.choice([0, 1, 1, 2, 3], mask.shape)
    counts = metrics.counts(metrics.confusion_matrix(mask, prediction, 4))
    iou = metrics.scores(counts)["iou"][:3]
    assert float(lovasz(mask, certain(prediction, 4))) == pytest.approx(1 - iou.mean(), rel=1e-5)


def test_cross_entropy_with_weights_by_hand():
    """A row of three pixels; those of class 1 weigh twice."""
    logits = np.log(np.array([[[[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]]]], np.float32))
    expected = -np.dot([1, 1, 2], np.log([0.7, 0.6, 0.8])) / 4
    found = asked({"cross_entropy": 1.0}, [1.0, 2.0])(np.array([[[0, 0, 1]]], np.uint8), logits)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_the_sum_of_what_is_asked_for_each_times_its_weight(mask, logits):
    parts = (
        cross_entropy(mask, logits),
        focal(mask, logits, 2),
        dice(mask, logits),
        lovasz(mask, logits),
    )
    expected = np.dot([0.5, 2.0, 0.25, 1.5], [float(part) for part in parts])
    assert float(asked(LOSSES["all"])(mask, logits)) == pytest.approx(expected, rel=1e-6)


def test_a_graph_gives_what_eager_execution_gives(loss, mask, logits):
    eager = loss(mask, logits)
    assert float(tf.function(loss)(mask, logits)) == pytest.approx(float(eager), rel=1e-6)
    any_size = [tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([None, None, None, 3])]
    as_keras_passes_it = mask.astype(np.float32)
    found = tf.function(loss, input_signature=any_size)(as_keras_passes_it, logits)
    assert float(found) == pytest.approx(float(eager), rel=1e-6)


def test_xla_gives_what_tensorflow_gives(loss, mask, logits):
    compiled = tf.function(loss, jit_compile=True)(mask, logits)
    assert float(compiled) == pytest.approx(float(loss(mask, logits)), rel=1e-5)


def test_gradients_are_those_of_small_differences(loss, mask, logits, rng):
    logits = logits.astype(float)
    _, gradient = value_and_gradient(loss, mask, logits)
    for _ in range(5):
        direction = rng.normal(size=logits.shape)
        ahead, behind = (float(loss(mask, logits + step * direction)) for step in (1e-6, -1e-6))
        assert (ahead - behind) / 2e-6 == pytest.approx((gradient * direction).sum(), abs=1e-6)
    assert abs(gradient).max() > 1e-3


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "dice", "lovasz", "all"])
def test_a_perfect_prediction_has_no_loss(name, mask):
    value, gradient = value_and_gradient(asked(LOSSES[name]), mask, certain(mask))
    assert value == pytest.approx(0, abs=1e-6)
    assert np.isfinite(gradient).all()


def test_ignored_pixels_change_nothing(loss, mask, logits, rng):
    value, gradient = value_and_gradient(loss, mask, logits)
    assert not gradient[mask == IGNORE].any()
    other = np.where((mask == IGNORE)[..., None], rng.normal(size=logits.shape) * 9, logits)
    assert float(loss(mask, other.astype(np.float32))) == pytest.approx(value, rel=1e-6)
    padding = [(0, 1), (0, 2), (0, 3)]
    padded = np.pad(mask, padding, constant_values=IGNORE), np.pad(logits, [*padding, (0, 0)])
    assert float(loss(*padded)) == pytest.approx(value, rel=1e-6)


def test_where_all_is_ignored_loss_and_gradient_are_zero(loss, mask, logits):
    value, gradient = value_and_gradient(loss, np.full_like(mask, IGNORE), logits)
    assert value == 0
    assert not gradient.any()


def test_gradients_stay_finite_where_the_network_is_certain(loss, mask, rng):
    for prediction, scale in itertools.product((mask, rng.integers(0, 3, mask.shape)), (1, 1e3)):
        value, gradient = value_and_gradient(loss, mask, certain(prediction) * np.float32(scale))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_descent_makes_a_prediction_right(loss, mask, logits):
    descended = tf.Variable(logits)
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([descended])

    @tf.function
    def descend():
        for _ in tf.range(150):
            with tf.GradientTape() as tape:
                value = loss(mask, descended)
            optimizer.apply([tape.gradient(value, descended)])

    descend()
    counted = mask != IGNORE
    assert (descended.numpy().argmax(-1)[counted] == mask[counted]).all()
