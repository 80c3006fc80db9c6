"""From arrays to batches with tf.data. One function feeds training, one feeds validation."""

import tensorflow as tf

from segpipe.config import AugmentParams
from segpipe.data.arrays import Arrays, steps_per_pass
from segpipe.data.augment import DRAWS, augment


def train_batches(
    arrays: Arrays, batch_size: int, steps: range, seed: int, params: AugmentParams
) -> tf.data.Dataset:
    """The batches of some steps of a run, which passes over the samples again and again.

    The order of a pass and how its samples are changed depend on seed, pass and sample only, not on the
    step that a process begins with. The last, smaller batch of a pass is left out: every step then has
    one shape, and BatchNorm never sees a handful of images. Which samples that leaves out is new in
    every pass.

    Args:
        arrays: the training split.
        batch_size: samples a step.
        steps: which, counted from 0 at the run's beginning.
        seed: decides order and augmentation.
        params: the augmentation.

    Yields:
        images uint8 [batch, H, W, 3] and masks uint8 [batch, H, W].
    """
    count, a_pass = len(arrays.names), steps_per_pass(arrays, batch_size)
    with tf.device("CPU"):  # a batch at a time goes to the accelerator, not the data set
        images, masks = tf.constant(arrays.images), tf.constant(arrays.masks)

    def of_pass(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order_key, draw_key = tf.unstack(tf.random.split(tf.cast(key, tf.int32), 2))
        order = tf.random.experimental.stateless_shuffle(tf.range(count), order_key)
        draws = tf.gather(tf.random.stateless_uniform([count, DRAWS], draw_key), order)
        samples = tf.data.Dataset.from_tensor_slices((order, draws))
        return samples.batch(batch_size, drop_remainder=True)

    def augmented(chosen: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(tf.gather(images, chosen), tf.gather(masks, chosen), draws, params)

    passes = tf.data.Dataset.range(steps.start // a_pass, -(-steps.stop // a_pass))
    batches = passes.flat_map(of_pass).skip(steps.start % a_pass).take(len(steps))
    return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def validation_batches(arrays: Arrays, batch_size: int) -> tf.data.Dataset:
    """Every sample once, in order; the last batch may be smaller."""
    with tf.device("CPU"):
        samples = tf.data.Dataset.from_tensor_slices((arrays.images, arrays.masks))
    return samples.batch(batch_size).prefetch(tf.data.AUTOTUNE)
