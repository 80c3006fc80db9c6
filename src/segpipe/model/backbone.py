"""Encoders: networks from `keras.applications` that show their inner layers."""

import re
from collections.abc import Iterator, Sequence

import keras
from keras import tree

from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.model.encoders import FAMILIES

BATCH_NORM_MOMENTUM = 0.9
"""For every BatchNorm of a trained encoder. Keras' 0.99, and MobileNetV2's 0.999, need thousands of
steps until inference sees what training saw; a small data set trains for hundreds."""

_LISTED = 12
"""How many layers an error lists."""


def backbone(
    name: str, size: tuple[int, int], alpha: float = 1.0, weights: str | None = None
) -> keras.Model:
    """A network of `keras.applications` without its classifier.

    Args:
        name: one of `families.FAMILIES`.
        size: height and width of the input in pixels.
        alpha: width multiplier, where the family has one.
        weights: None for random ones, or `imagenet` to have Keras download them.

    Returns:
        A model of float images [batch, H, W, 3], scaled as the family's `scaling` says.
    """
    family = FAMILIES[name]
    network = getattr(keras.applications, family.builder)(
        input_tensor=keras.Input((*size, 3), name="scaled_image"),
        input_shape=(*size, 3),  # from the tensor alone Keras does not see which of its weights fit
        include_top=False,
        weights=weights,
        **({"alpha": alpha} if family.alpha else {}),
        **({"include_preprocessing": False} if family.scales_itself else {}),
    )
    _name_what_is_numbered(network)
    return network


def strides(network: keras.Model) -> dict[str, int]:
    """The stride of each layer with an output [batch, H / stride, W / stride, C]."""
    height, width = network.input_shape[1:3]
    found = {}
    for operation in network.operations:
        shape = operation.output.shape
        stride = height // shape[1]
        if len(shape) == 4 and (stride * shape[1], stride * shape[2]) == (height, width):
            found[operation.name] = stride
    return found


def tap(network: keras.Model, layers: Sequence[str]) -> keras.Model:
    """The part of `network` up to `layers`, with their outputs as its own, in that order.

    Raises:
        UserError: a layer does not exist, or the strides are not the network's finest (2, ConvNeXt's 4),
            twice that, and so on; the message lists layers that fit.
    """
    found = strides(network)
    expected = min(stride for stride in found.values() if stride > 1)
    for position, name in enumerate(layers, 1):
        if found.get(name) != expected:
            raise UserError(_misfit(found, name, position, expected))
        expected *= 2
    outputs = {operation.name: operation.output for operation in network.operations}
    return keras.Model(network.input, [outputs[name] for name in layers], name="encoder")


def depths(encoder: keras.Model) -> dict[str, int]:
    """How many resolutions lie between each variable's layer and the decoder, by the variable's path.

    1 for what comes after the last output but one, up to the number of outputs for the finest layers.
    """
    resolutions = len(encoder.outputs)
    tapped = {output._keras_history.operation.name for output in encoder.outputs}
    found, passed = {}, 0
    for operation in encoder.operations:
        for variable in getattr(operation, "variables", ()):
            found[variable.path] = resolutions - min(passed, resolutions - 1)
        passed += operation.name in tapped
    return found


def set_trainable(encoder: keras.Model, trainable: bool, pretrained: bool) -> None:
    """Choose whether an encoder's weights are trained.

    BatchNorm layers of a pretrained encoder stay in inference mode either way: what they learned
    from a million pictures is better than what a batch says. Each is frozen by itself, because in
    Keras 3 a layer called with `training=False` still updates its statistics in `fit`. For the same
    reason a frozen encoder's dropout is taken out: nothing that it could regularise is trained.
    """
    encoder.trainable = trainable
    for layer in _all_layers(encoder):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
            if pretrained:
                layer.trainable = False
        elif isinstance(layer, keras.layers.Dropout) and not trainable:
            layer.rate = 0


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _name_what_is_numbered(network: keras.Model) -> None:
    """Name layers and operations that have no name of their own after what they come after.

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


def _misfit(found: dict[str, int], name: str, position: int, expected: int) -> str:
    fitting = [layer for layer, stride in found.items() if stride == expected]
    missing = f"does not exist{did_you_mean(name, fitting)}"
    what = f"has stride {found[name]}" if name in found else missing
    shown = fitting[-_LISTED:]
    some = f" (the last {len(shown)} of {len(fitting)}; `segpipe model --layers` lists all)"
    return (
        f"model.encoder.layers: {name} {what}; expected a layer of stride "
        f"{expected} as number {position}: {', '.join(shown)}{some if len(shown) < len(fitting) else ''}"
    )
