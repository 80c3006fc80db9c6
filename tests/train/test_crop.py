"""Crops of training pieces: at a new place each time, turned and zoomed, and never beyond the piece."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, run
from hypothesis import given
from hypothesis import strategies as st
from test_augment import drawn, only

from segpipe.common.classes import IGNORE
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.train.samples import Arrays

PIECE, CROP = (48, 60), (32, 40)
ALL = only(flip=True, scale=[0.5, 2.0], aspect=1.3, rotation=180.0)


@pytest.fixture
def pieces(rng):
    return rng.integers(0, 256, (5, *PIECE, 3), np.uint8), rng.integers(0, 5, (5, *PIECE), np.uint8)


def cropped(images, masks, draws, params):
    return tuple(np.asarray(part) for part in augment(images, masks, draws, params, True, CROP))


@pytest.mark.parametrize(
    ("right", "down", "left", "top"), [(0, 0, 0, 0), (0.999, 0.999, 20, 16), (0.5, 0.25, 10, 4)]
)
def test_without_changes_a_crop_is_a_part_of_its_piece_to_the_bit(pieces, right, down, left, top):
    images, masks = cropped(*pieces, drawn(5, right=right, down=down), only())
    assert (images == pieces[0][:, top : top + 32, left : left + 40]).all()
    assert (masks == pieces[1][:, top : top + 32, left : left + 40]).all()


def test_every_place_of_a_piece_is_drawn(pieces, rng):
    image = np.arange(48 * 60).reshape(48, 60) % 251
    images = np.repeat(image[None, ..., None], 3, -1).astype(np.uint8)
    masks = np.zeros((1, 48, 60), np.uint8)
    masks[0, 24, :] = np.arange(60)  # says the column
    draws = rng.random((400, DRAWS)).astype(np.float32)
    columns = {int(cropped(images, masks, draw[None], only())[1].max()) - 39 for draw in draws}
    assert columns == set(range(21))


@given(st.integers(0, 2**32 - 1))
def test_no_crop_reaches_beyond_its_piece_however_it_is_turned_and_zoomed(seed):
    draws = np.random.default_rng(seed).random((8, DRAWS)).astype(np.float32)
    images = np.full((8, *PIECE, 3), 200, np.uint8)
    masks = np.ones((8, *PIECE), np.uint8)
    crops, truths = cropped(images, masks, draws, ALL)
    assert crops.shape == (8, *CROP, 3)
    assert (truths == 1).all(), "no ignored corner"
    assert (crops == 200).all()


def test_without_a_margin_a_crop_is_zoomed_in_as_far_as_its_turn_needs():
    masks = np.ones((3, *CROP), np.uint8)
    images = np.full((3, *CROP, 3), 7, np.uint8)
    draws = drawn(3, turn=[0.0, 0.5, 1.0])
    truths = augment(images, masks, draws, only(rotation=45.0), True, CROP)[1]
    assert (np.asarray(truths) == 1).all()


def test_what_is_ignored_in_a_piece_stays_ignored(pieces, rng):
    images, masks = pieces
    masks[:, :20] = IGNORE
    assert (cropped(images, masks, drawn(5, down=0.0), only())[1][:, :20] == IGNORE).all()


def test_crops_are_the_same_in_a_data_set_and_eagerly(pieces, rng):
    draws = rng.random((5, DRAWS)).astype(np.float32)
    data = tf.data.Dataset.from_tensors((*pieces, draws))
    (mapped,) = data.map(lambda *batch: augment(*batch, ALL, True, CROP)).as_numpy_iterator()
    for one, other in zip(mapped, cropped(*pieces, draws, ALL), strict=True):
        assert (one == other).all()


def test_a_crop_does_not_depend_on_its_place_in_a_batch(pieces, rng):
    draws = rng.random((5, DRAWS)).astype(np.float32)
    together = cropped(*pieces, draws, ALL)
    for number in range(5):
        alone = cropped(*(part[number][None] for part in (*pieces, draws)), ALL)
        assert all((one[number] == other[0]).all() for one, other in zip(together, alone, strict=True))


def test_a_run_that_is_resumed_crops_as_one_that_was_never_stopped(pieces):
    samples = Arrays(*pieces, list("abcde"))

    def batches(first):
        made = TensorFlowEngine().train_batches(samples, range(first, 9), Batching(2, 3, ALL, CROP))
        return list(made.as_numpy_iterator())

    whole = batches(0)
    assert whole[0][0].shape == (2, *CROP, 3)
    for one, other in zip(whole[5:], batches(5), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert (whole[0][0] != whole[4][0]).any()


JAX = """
import numpy as np
from segpipe.train.engine import Batching
from segpipe.train.on_jax import JaxEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (5, 48, 60, 3), np.uint8)
pieces = Arrays(images, np.ones((5, 48, 60), np.uint8), [*"abcde"])
params = AugmentParams(flip=True, scale=[0.5, 2.0], aspect=1.3, rotation=180.0, brightness=0,
                       contrast=0, saturation=0, hue=0)
engine = JaxEngine()
batching = Batching(2, 3, params, (32, 40))
whole, rest = (list(engine.train_batches(pieces, range(n, 9), batching)) for n in (0, 5))
assert whole[0][0].shape == (2, 32, 40, 3)
assert all((np.asarray(masks) == 1).all() for _, masks in whole)
for one, other in zip(whole[5:], rest, strict=True):
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(one, other, strict=True))
"""


@pytest.mark.slow
def test_on_jax_crops_are_resumed_and_stay_within_their_pieces():
    result = run(sys.executable, "-c", JAX, cwd=ROOT, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr
