"""Losses on logits; ignored pixels do not count.

All take a mask, integer class indices [batch, height, width] with 255 for ignored pixels, and float
logits [batch, height, width, classes]. All return a float scalar, 0 where every pixel is ignored.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import keras
from keras import ops

from segpipe.common.classes import IGNORE
from segpipe.train.params import LossParams

Tensor: TypeAlias = keras.KerasTensor

Weights = Sequence[float] | None
"""One a class, or None where all are equal."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From mask and logits to a scalar."""


def segmentation_loss(params: LossParams, weights: Weights = None) -> Loss:
    """Return the loss that `train.loss` asks for: a sum of losses, each times its weight.

    Args:
        params: the weights of the losses, and their settings.
        weights: one a class, of at least 0, for cross-entropy and focal loss; None where all are equal.
    """
    smoothing = params.label_smoothing
    losses: list[tuple[float, Loss]] = [
        (params.cross_entropy, partial(cross_entropy, weights=weights, smoothing=smoothing)),
        (params.focal, partial(focal, gamma=params.focal_gamma, weights=weights, smoothing=smoothing)),
        (params.dice, dice),
        (params.lovasz, lovasz),
    ]
    return lambda mask, logits: sum(weight * loss(mask, logits) for weight, loss in losses if weight)


def cross_entropy(
    mask: Tensor, logits: Tensor, weights: Weights = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy over the counted pixels of a batch, in nats.

    Args:
        mask: class indices.
        logits: of each class.
        weights: one a class, of at least 0; the mean is then sum(w * loss) / sum(w) over the pixels,
            so that the size of the loss does not depend on the weights' sum.
        smoothing: share of the truth that is spread over all classes, 0 to below 1
            (https://arxiv.org/abs/1512.00567, section 7).
    """
    if smoothing:
        truth = _smoothed(mask, logits, smoothing)
        by_pixel = ops.categorical_crossentropy(truth, logits, from_logits=True)
    else:
        by_pixel = ops.sparse_categorical_crossentropy(_target(mask), logits, from_logits=True)
    return _mean(by_pixel, mask, weights)


def focal(
    mask: Tensor, logits: Tensor, gamma: float, weights: Weights = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean of cross-entropy times (1 - probability)^gamma over the counted pixels of a batch.

    The other arguments are those of `cross_entropy`, which equals the focal loss of `gamma` 0. Unlike
    Keras' own, which clips probabilities, it has a gradient at a pixel that is completely wrong.

    Source: https://arxiv.org/abs/1708.02002
    """
    log = ops.log_softmax(logits)
    # At least epsilon: with gamma below 1, the derivative at 0 is infinite.
    away = ops.maximum(1 - ops.exp(log), keras.config.epsilon()) ** gamma
    by_pixel = -ops.sum(_smoothed(mask, logits, smoothing) * away * log, -1)
    return _mean(by_pixel, mask, weights)


def dice(mask: Tensor, logits: Tensor) -> Tensor:
    """Return 1 - soft Dice over the counted pixels of a batch, 0..1, averaged over the mask's classes.

    Source: https://arxiv.org/abs/1608.04117, equation 3, here of each class.
    """
    truth, probability = _by_class(mask, logits)
    return _mean_of_present(keras.losses.dice(truth, probability, axis=-1), truth)


def lovasz(mask: Tensor, logits: Tensor) -> Tensor:
    """Return Lovász-softmax over the counted pixels of a batch, 0..1, averaged over the mask's classes.

    It equals 1 - IoU where every probability is 0 or 1, and extends it to probabilities in between.
    Sorts the pixels once a class.

    Source: https://arxiv.org/abs/1705.08790
    """
    truth, probability = _by_class(mask, logits)
    error = ops.abs(truth - probability)
    order = ops.argsort(-error, -1)
    hit = ops.take_along_axis(truth, order, -1)
    pixels = ops.sum(truth, -1, keepdims=True)
    left = pixels - ops.cumsum(hit, -1)
    union = pixels + ops.cumsum(1 - hit, -1)
    # Each further error lowers the IoU, left / union: a pixel of the class takes one from `left`, any
    # other adds one to `union`. A difference of neighbouring values would lose precision.
    steps = ops.where(hit > 0, 1 / union, left / ops.maximum(union * (union - 1), 1))
    return _mean_of_present(ops.sum(ops.take_along_axis(error, order, -1) * steps, -1), truth)


def _counted(mask: Tensor) -> Tensor:
    return ops.not_equal(mask, IGNORE)


def _target(mask: Tensor) -> Tensor:
    """Return class indices that are all in range; those of ignored pixels mean nothing."""
    return ops.where(_counted(mask), ops.cast(mask, "int32"), 0)


def _one_hot(mask: Tensor, logits: Tensor) -> Tensor:
    return ops.one_hot(_target(mask), logits.shape[-1], dtype=logits.dtype)


def _smoothed(mask: Tensor, logits: Tensor, share: float) -> Tensor:
    return _one_hot(mask, logits) * (1 - share) + share / logits.shape[-1]


def _by_class(mask: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return truth and probability, [classes, pixels]; both are 0 where ignored."""
    counted = ops.expand_dims(ops.cast(_counted(mask), logits.dtype), -1)
    truth, probability = (
        ops.transpose(ops.reshape(values * counted, [-1, logits.shape[-1]]))
        for values in (_one_hot(mask, logits), ops.softmax(logits))
    )
    return truth, probability


def _mean(by_pixel: Tensor, mask: Tensor, weights: Weights) -> Tensor:
    weight = ops.cast(_counted(mask), by_pixel.dtype)
    if weights is not None:
        weight *= ops.take(ops.convert_to_tensor(weights, by_pixel.dtype), _target(mask))
    total = ops.sum(weight)
    return ops.sum(by_pixel * weight) / ops.where(total > 0, total, 1)


def _mean_of_present(by_class: Tensor, truth: Tensor) -> Tensor:
    present = ops.cast(ops.any(truth > 0, -1), by_class.dtype)
    return ops.sum(by_class * present) / ops.maximum(ops.sum(present), 1)
