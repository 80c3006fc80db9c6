"""Encoders: networks from `keras.applications` that show their inner layers."""

from collections.abc import Sequence

import keras

from segpipe.errors import UserError

BATCH_NORM_MOMENTUM = 0.9
"""For every BatchNorm that is trained here. Keras' 0.99, and MobileNetV2's 0.999, need thousands of
steps until inference sees what training saw; a small data set trains for hundreds."""


def mobilenet_v2(size: tuple[int, int], alpha: float) -> keras.Model:
    """MobileNetV2 without its classifier, weights random.

    Args:
        size: height and width of the input in pixels.
        alpha: width multiplier.

    Returns:
        A model of float images [batch, H, W, 3] in -1..1. Source: https://arxiv.org/abs/1801.04381
    """
    return keras.applications.MobileNetV2(
        input_tensor=keras.Input((*size, 3), name="scaled_image"),
        alpha=alpha,
        include_top=False,
        weights=None,
    )


def tap(backbone: keras.Model, layers: Sequence[str]) -> keras.Model:
    """The part of `backbone` up to `layers`, with their outputs as its own, in that order.

    Raises:
        UserError: a layer does not exist, or the strides are not 2, 4, 8, ...; the message lists
            the layers that fit.
    """
    size = backbone.input_shape[1]
    strides = {
        layer.name: size // layer.output.shape[1]
        for layer in backbone.layers
        if len(layer.output.shape) == 4
    }
    for position, name in enumerate(layers, 1):
        if strides.get(name) != 2**position:
            found = f"has stride {strides[name]}" if name in strides else "does not exist"
            fitting = ", ".join(layer for layer, stride in strides.items() if stride == 2**position)
            raise UserError(
                f"model.encoder.layers: {name} {found}; expected a layer of stride {2**position} "
                f"as number {position}: {fitting}"
            )
    outputs = [backbone.get_layer(name).output for name in layers]
    return keras.Model(backbone.input, outputs, name="encoder")


def set_trainable(encoder: keras.Model, trainable: bool, pretrained: bool) -> None:
    """Choose whether an encoder's weights are trained.

    BatchNorm layers of a pretrained encoder stay in inference mode either way: what they learned
    from a million pictures is better than what a batch says. Each is frozen by itself, because in
    Keras 3 a layer called with `training=False` still updates its statistics in `fit`.
    """
    encoder.trainable = trainable
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
            if pretrained:
                layer.trainable = False
