"""Augmentation of whole batches: image and mask by one transform.

Stateless: what happens to a sample is decided by numbers drawn beforehand from seed, epoch and sample.
"""

import tensorflow as tf


def flip(images: tf.Tensor, masks: tf.Tensor, mirrored: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror the chosen samples of a batch left to right.

    Args:
        images: [batch, height, width, channels], any dtype.
        masks: [batch, height, width], any dtype.
        mirrored: bool [batch], which samples to mirror.

    Returns:
        Images and masks, shapes and dtypes as given.
    """
    return (
        tf.where(mirrored[:, None, None, None], tf.reverse(images, [2]), images),
        tf.where(mirrored[:, None, None], tf.reverse(masks, [2]), masks),
    )
