"""Backbones, most of `keras.applications`, and the encoders that are cut from them."""

import re
import warnings
from collections.abc import Sequence

import keras
import numpy as np
from keras import tree

from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.model.encoders import ENCODERS, Encoder
from segpipe.model.lite import efficientnet_lite0
from segpipe.model.mit import mit_b0

BATCH_NORM_MOMENTUM = 0.9
"""For every BatchNorm of an encoder. With Keras' 0.99, or MobileNetV2's 0.999, moving statistics need
thousands of steps to reach those of training; a small data set trains for hundreds."""

_OWN = {"efficientnet_lite0": efficientnet_lite0, "mit_b0": mit_b0}
"""Networks that `keras.applications` lacks."""

_LISTED = 12  # layers in an error


def backbone(
    name: str, size: tuple[int, int], alpha: float = 1.0, weights: str | None = None, channels: int = 3
) -> keras.Model:
    """Build a network without its classifier.

    Args:
        name: one of `ENCODERS`.
        size: height and width of the input in pixels.
        alpha: width multiplier, where the encoder has one.
        weights: None for random ones, or `imagenet` to have Keras download them, for 3 channels and a
            network of `keras.applications`.
        channels: those of the input.

    Returns:
        A model of float images [batch, H, W, channels], scaled by the encoder's `scaling`.
    """
    encoder, image = ENCODERS[name], keras.Input((*size, channels), name="scaled_image")
    if encoder.builder is None:
        network = _OWN[name](image)
    else:
        network = _of_keras(encoder, encoder.builder, image, alpha, weights)
    _replace_numbered_names(network)
    return network


def _of_keras(
    encoder: Encoder, builder: str, image: keras.KerasTensor, alpha: float, weights: str | None
) -> keras.Model:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
        return getattr(keras.applications, builder)(
            input_tensor=image,
            input_shape=image.shape[1:],  # from the tensor alone Keras does not see which weights fit
            include_top=False,
            weights=weights,
            **({"alpha": alpha} if encoder.alpha else {}),
            **({"include_preprocessing": False} if encoder.scales_itself else {}),
        )


def strides(network: keras.Model) -> dict[str, int]:
    """Return the stride of each layer whose output is [batch, H / stride, W / stride, C]."""
    height, width = network.input_shape[1:3]
    by_name = {}
    for operation in network.operations:
        shape = operation.output.shape
        stride = height // shape[1]
        if len(shape) == 4 and (stride * shape[1], stride * shape[2]) == (height, width):
            by_name[operation.name] = stride
    return by_name


def tap(network: keras.Model, layers: Sequence[str]) -> keras.Model:
    """Return the part of `network` up to `layers`, with their outputs as its own, in that order.

    Raises:
        UserError: a layer does not exist, or the strides are not the network's finest (2, ConvNeXt's 4),
            twice that, and so on; the message lists layers that fit.
    """
    by_name = strides(network)
    expected = min(stride for stride in by_name.values() if stride > 1)
    for position, name in enumerate(layers, 1):
        if by_name.get(name) != expected:
            raise UserError(_misfit(by_name, name, position, expected))
        expected *= 2
    outputs = {operation.name: operation.output for operation in network.operations}
    return keras.Model(network.input, [outputs[name] for name in layers], name="encoder")


def depths(encoder: keras.Model) -> dict[str, int]:
    """Return the depth of each variable in the encoder, in resolutions, by the variable's path.

    1 for the coarsest stage, up to `len(encoder.outputs)` for the finest.
    """
    resolutions = len(encoder.outputs)
    tapped = {output._keras_history.operation.name for output in encoder.outputs}
    by_path, passed = {}, 0
    for operation in encoder.operations:
        for variable in getattr(operation, "variables", ()):
            by_path[variable.path] = resolutions - min(passed, resolutions - 1)
        passed += operation.name in tapped
    return by_path


def set_trainable(encoder: keras.Model, trainable: bool, pretrained: bool) -> None:
    """Choose whether an encoder's weights are trained.

    BatchNorm layers of a pretrained encoder stay in inference mode either way: their statistics of a
    million pictures are better than those of a batch. Each is frozen by itself, because in Keras 3 a
    layer called with `training=False` still updates its statistics in `fit`. Dropout of a frozen encoder
    is turned off, since it has nothing to regularise.
    """
    encoder.trainable = trainable
    for layer in encoder.layers:
        if isinstance(layer, keras.Model):
            set_trainable(layer, trainable, pretrained)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
            if pretrained:
                layer.trainable = False
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate_of_training = getattr(layer, "rate_of_training", layer.rate)
            layer.rate = layer.rate_of_training if trainable else 0


def for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return a network's first kernel, [height, width, inputs, outputs], for another number of inputs.

    The kernel of one channel is the sum of all channels': a grey picture gives equal outputs. Other
    numbers take the channels in turn, scaled so that the outputs keep their size, as in timm and
    segmentation_models.pytorch.
    """
    inputs = kernel.shape[2]
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    return kernel[:, :, [channel % inputs for channel in range(channels)]] * (inputs / channels)


def _replace_numbered_names(network: keras.Model) -> None:
    """Name layers and operations without a name of their own after the layer before them.

    Keras numbers them by how many of the kind the process has made (`re_lu_15`, `add_3`): the same layer
    would have another name in another program.
    """
    makers: dict[int, str] = {}
    for operation in network.operations:
        kind = type(operation).__name__.lower()
        if re.sub(r"_\d+$", "", operation.name).replace("_", "") == kind:
            before = makers[id(tree.flatten(operation.input)[-1])]
            operation.name = f"{before}_{kind}"
        makers[id(operation.output)] = operation.name


def _misfit(by_name: dict[str, int], name: str, position: int, expected: int) -> str:
    fitting = [layer for layer, stride in by_name.items() if stride == expected]
    missing = f"does not exist{did_you_mean(name, fitting)}"
    problem = f"has stride {by_name[name]}" if name in by_name else missing
    shown = fitting[-_LISTED:]
    rest = f" (the last {len(shown)} of {len(fitting)}; `segpipe model --layers` lists all)"
    return (
        f"model.encoder.layers: {name} {problem}; expected a layer of stride "
        f"{expected} as number {position}: {', '.join(shown)}{rest if len(shown) < len(fitting) else ''}"
    )
