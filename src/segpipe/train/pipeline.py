"""From samples to batches with tf.data. One function feeds training, one feeds validation."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from segpipe.train.arrays import Samples, steps_per_pass
from segpipe.train.augment import DRAWS, augment
from segpipe.train.params import AugmentParams


def train_batches(
    samples: Samples, batch_size: int, steps: range, seed: int, params: AugmentParams
) -> tf.data.Dataset:
    """The batches of some steps of a run, which passes over the samples again and again.

    The order of a pass and how its samples are changed depend on seed, pass and sample only, not on the
    step that a process begins with. The last, smaller batch of a pass is left out: every step then has
    one shape, and BatchNorm never sees a handful of images. Which samples that leaves out is new in
    every pass.

    Args:
        samples: the training split.
        batch_size: samples a step.
        steps: which, counted from 0 at the run's beginning.
        seed: decides order and augmentation.
        params: the augmentation.

    Yields:
        images uint8 [batch, H, W, 3] and masks uint8 [batch, H, W].
    """
    count, a_pass = len(samples.names), steps_per_pass(samples, batch_size)
    taken = taking(samples)

    def of_pass(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order_key, draw_key = tf.unstack(tf.random.split(tf.cast(key, tf.int32), 2))
        order = tf.random.experimental.stateless_shuffle(tf.range(count), order_key)
        draws = tf.gather(tf.random.stateless_uniform([count, DRAWS], draw_key), order)
        numbers = tf.data.Dataset.from_tensor_slices((order, draws))
        return numbers.batch(batch_size, drop_remainder=True)

    def augmented(chosen: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(*taken(chosen), draws, params)

    passes = tf.data.Dataset.range(steps.start // a_pass, -(-steps.stop // a_pass))
    batches = passes.flat_map(of_pass).skip(steps.start % a_pass).take(len(steps))
    return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def validation_batches(samples: Samples, batch_size: int) -> tf.data.Dataset:
    """Every sample once, in order; the last batch may be smaller."""
    batches = tf.data.Dataset.range(len(samples.names)).batch(batch_size)
    return batches.map(taking(samples), num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def taking(samples: Samples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """`samples.take` as a part of a data set: from numbers to images and masks.

    As tensors, arrays would be four times in memory: themselves, twice in `tf.constant`, and in the data
    set's graph when it starts. A gather from them is not measurably faster, next to the augmentation.
    """

    def take(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return samples.take(chosen)
        except Exception as error:
            _raised.append(error)
            raise

    def taken(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, masks = tf.numpy_function(take, [chosen], [tf.uint8, tf.uint8], stateful=False)
        shape = [*chosen.shape, *samples.size]
        return tf.ensure_shape(images, [*shape, 3]), tf.ensure_shape(masks, shape)

    return taken


_raised: list[Exception] = []
"""What reading samples has raised."""


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Raise what reading samples raised in this block, not the error that TensorFlow makes of it."""
    _raised.clear()
    try:
        yield
    except tf.errors.OpError:
        if _raised:
            raise _raised[0] from None
        raise
