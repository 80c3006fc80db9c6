"""Batches: joint flips that are new every epoch, and an order that depends on nothing but its seed."""

from itertools import chain

import numpy as np
import pytest
from helpers import plain_params

from segpipe.common.errors import UserError
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.train.samples import Arrays, steps_per_pass, subset

COUNT = 20
ENGINE = TensorFlowEngine()
FLIP = plain_params().train.augment.model_copy(update={"flip": True})


@pytest.fixture
def arrays(rng):
    """Masks equal the image's first channel, so that any disagreement shows; [0, 0, 1] is the number."""
    images = rng.integers(0, 200, (COUNT, 4, 6, 3), np.uint8)
    images[..., 1] = np.arange(COUNT)[:, None, None]
    return Arrays(images, images[..., 0].copy(), [str(n) for n in range(COUNT)])


def epochs(arrays, count=3, seed=0, batch=4, params=FLIP):
    """The batches by epoch, as arrays."""
    steps = steps_per_pass(arrays, batch)
    batches = list(
        ENGINE.train_batches(
            arrays, range(count * steps), Batching(batch, seed, params)
        ).as_numpy_iterator()
    )
    assert len(batches) == steps * count
    return [batches[n * steps : (n + 1) * steps] for n in range(count)]


def order(epoch):
    return [int(image[0, 0, 1]) for images, _ in epoch for image in images]


def mirrored(epoch, arrays):
    """Which samples of an epoch were mirrored, by number."""
    seen = {}
    for images, _ in epoch:
        for image in images:
            number = int(image[0, 0, 1])
            seen[number] = bool((image != arrays.images[number]).any())
            assert (image == arrays.images[number][:, :: -1 if seen[number] else 1]).all()
    return seen


def test_image_and_mask_are_mirrored_together(arrays):
    for epoch in epochs(arrays):
        for images, masks in epoch:
            assert (images[..., 0] == masks).all()


def test_about_half_is_mirrored_and_another_half_in_every_epoch(arrays):
    choices = [mirrored(epoch, arrays) for epoch in epochs(arrays, 8)]
    assert 0.3 < np.mean([list(c.values()) for c in choices]) < 0.7
    assert len({tuple(sorted(c.items())) for c in choices}) == 8


def test_flip_false_mirrors_nothing(arrays):
    assert not any(
        any(mirrored(epoch, arrays).values())
        for epoch in epochs(arrays, params=FLIP.model_copy(update={"flip": False}))
    )


def test_every_sample_comes_once_an_epoch_in_a_new_order(arrays):
    orders = [order(epoch) for epoch in epochs(arrays)]
    assert all(sorted(o) == list(range(COUNT)) for o in orders)
    assert len({tuple(o) for o in orders}) == 3


def test_the_last_smaller_batch_is_left_out_and_not_always_the_same_samples(arrays):
    left_out = [set(range(COUNT)) - set(order(epoch)) for epoch in epochs(arrays, 5, batch=6)]
    assert all(len(left) == 2 for left in left_out)
    assert len(set.union(*left_out)) > 2


def test_one_seed_gives_one_run_and_another_another(arrays):
    first, second, other = (epochs(arrays, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(chain(*first), chain(*second), strict=True):
        assert (a[0] == b[0]).all()
    assert order(first[0]) != order(other[0])


@pytest.mark.parametrize("start", [0, 3, 5, 7, 12])
def test_any_step_can_be_the_first(arrays, start):
    """Of passes of 5 steps: at the border of two, and within one."""
    whole = list(ENGINE.train_batches(arrays, range(17), Batching(4, 0, FLIP)).as_numpy_iterator())
    rest = list(ENGINE.train_batches(arrays, range(start, 17), Batching(4, 0, FLIP)).as_numpy_iterator())
    assert len(rest) == 17 - start
    for (images, masks), (same_images, same_masks) in zip(whole[start:], rest, strict=True):
        assert (images == same_images).all()
        assert (masks == same_masks).all()


def test_a_batch_larger_than_the_split_is_an_error(arrays):
    with pytest.raises(
        UserError, match=r"train\.batch_size = 21 is larger than the training split of 20"
    ):
        steps_per_pass(arrays, 21)


def test_validation_sees_every_sample_once_in_order_and_unchanged(arrays):
    batches = list(ENGINE.validation_batches(arrays, 6).as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [6, 6, 6, 2]
    assert (np.concatenate([images for images, _ in batches]) == arrays.images).all()
    assert (np.concatenate([masks for _, masks in batches]) == arrays.masks).all()


def test_a_subset_is_the_same_samples_whatever_their_order_and_more_only_adds(arrays):
    backwards = Arrays(arrays.images[::-1], arrays.masks[::-1], arrays.names[::-1])
    few, more = subset(arrays, 5), subset(arrays, 9)
    assert len(few.names) == 5
    assert {*few.names} < {*more.names}
    assert {*subset(backwards, 5).names} == {*few.names}
    assert (
        [int(name) for name in few.names]
        == few.images[:, 0, 0, 1].tolist()
        == sorted(int(name) for name in few.names)
    ), "images go with their names, in the split's order"
    assert (few.masks == few.images[..., 0]).all()


def test_a_subset_of_none_is_all_and_of_too_many_an_error(arrays):
    assert subset(arrays, 0) is arrays, "a copy would hold the data twice"
    with pytest.raises(UserError, match=r"train\.samples = 21, but the training split has 20 samples"):
        subset(arrays, 21)
