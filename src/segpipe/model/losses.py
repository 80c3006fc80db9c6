"""Losses on logits; ignored pixels do not count."""

from collections.abc import Sequence

import keras
from keras import ops

from segpipe.classes import IGNORE


def cross_entropy(
    mask: keras.KerasTensor, logits: keras.KerasTensor, weights: Sequence[float] | None = None
) -> keras.KerasTensor:
    """Mean cross-entropy over the counted pixels of a batch.

    Args:
        mask: integer class indices [batch, height, width], 255 for ignored pixels.
        logits: float [batch, height, width, classes].
        weights: one a class, of at least 0; the mean is then sum(w * loss) / sum(w) over the pixels,
            so that the loss keeps its size whatever the weights' sum.

    Returns:
        A float scalar in nats; 0 where every pixel is ignored or weighs nothing.
    """
    counted = ops.not_equal(mask, IGNORE)
    target = ops.where(counted, ops.cast(mask, "int32"), 0)
    by_pixel = ops.sparse_categorical_crossentropy(target, logits, from_logits=True)
    weight = ops.cast(counted, by_pixel.dtype)
    if weights is None:
        return ops.sum(by_pixel * weight) / ops.maximum(ops.sum(weight), 1)
    weight *= ops.take(ops.convert_to_tensor(weights, by_pixel.dtype), target)
    total = ops.sum(weight)
    return ops.sum(by_pixel * weight) / ops.where(total > 0, total, 1)
