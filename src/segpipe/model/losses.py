"""Losses on logits; ignored pixels do not count."""

import keras
from keras import ops

from segpipe.classes import IGNORE


def cross_entropy(mask: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Mean cross-entropy over the counted pixels of a batch.

    Args:
        mask: integer class indices [batch, height, width], 255 for ignored pixels.
        logits: float [batch, height, width, classes].

    Returns:
        A float scalar in nats; 0 where every pixel is ignored.
    """
    counted = ops.not_equal(mask, IGNORE)
    target = ops.where(counted, ops.cast(mask, "int32"), 0)
    by_pixel = ops.sparse_categorical_crossentropy(target, logits, from_logits=True)
    weight = ops.cast(counted, by_pixel.dtype)
    return ops.sum(by_pixel * weight) / ops.maximum(ops.sum(weight), 1)
