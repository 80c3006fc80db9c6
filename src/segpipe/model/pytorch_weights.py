"""Weights that PyTorch trained, given to Keras' layers."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from segpipe.model.encoders import Scaling, Torch


class _Names(NamedTuple):
    """A library's names of convolutions, each with that of its BatchNorm, in a network's order."""

    stem: tuple[str, ...]
    block: str  # what stands before the names in a block; `number` counts over all stages
    first: tuple[str, ...]  # in the first stage, which does not expand
    others: tuple[str, ...]
    head: tuple[str, ...]
    classifier: str


_TIMM = _Names(
    ("conv_stem", "bn1"),
    "blocks.{stage}.{in_stage}.",
    ("conv_dw", "bn1", "conv_pw", "bn2"),
    ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    ("conv_head", "bn2"),
    "classifier.",
)
_EFFICIENTNET_PYTORCH = _Names(
    ("_conv_stem", "_bn0"),
    "_blocks.{number}.",
    ("_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
    "_fc.",
)


def load_state_dict(
    network: keras.Model, scaling: Scaling, torch: Torch, tensors: Mapping[str, np.ndarray]
) -> list[str]:
    """Give a network the weights of a state dict, named as by timm or efficientnet_pytorch.

    Inference equals PyTorch's except at the borders, for two reasons. Convolutions of stride 2 pad where
    this network pads. If the weights were trained with another input scaling, it is folded into the
    first convolution and its BatchNorm, and padding stays 0 in the network's scaling.

    Returns:
        The names of the classifier's tensors, which an encoder does not need.

    Raises:
        ValueError: they are another network's; the message names the first tensor that does not fit.
    """
    names = next((n for n in (_TIMM, _EFFICIENTNET_PYTORCH) if f"{n.stem[0]}.weight" in tensors), None)
    if names is None:
        raise ValueError("named neither as by timm nor as by efficientnet_pytorch")
    weighted = [layer for layer in network.layers if layer.weights]
    left = dict(tensors)
    for layer, name in zip(weighted, _in_order(names, torch.blocks), strict=True):
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights(_norm(layer, name, left, torch.epsilon))
        else:
            layer.set_weights([_kernel(layer, name, left)])
    _fold_scaling(weighted[0], weighted[1], scaling, torch.scaling)
    unneeded = [name for name in left if name.startswith(names.classifier)]
    others = [n for n in left if n not in unneeded and not n.endswith(".num_batches_tracked")]
    if others:
        raise ValueError(f"{others[0]} is of no layer")
    return unneeded


def _in_order(names: _Names, blocks: tuple[int, ...]) -> Iterator[str]:
    yield from names.stem
    number = 0
    for stage, count in enumerate(blocks):
        for in_stage in range(count):
            prefix = names.block.format(stage=stage, in_stage=in_stage, number=number)
            yield from (prefix + name for name in (names.others if stage else names.first))
            number += 1
    yield from names.head


def _take(left: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in left:
        raise ValueError(f"{name} is missing")
    if left[name].shape != shape:
        raise ValueError(f"{name} has the shape {left[name].shape}, expected {shape}")
    return left.pop(name).astype(np.float32)  # 16 bits would round what is computed with them


def _kernel(layer: Any, name: str, left: dict[str, np.ndarray]) -> np.ndarray:
    """Return a convolution's kernel as Keras has it: [height, width, inputs, outputs].

    PyTorch has outputs and inputs first; one input of a depthwise convolution for each output.
    """
    height, width, inputs, outputs = layer.kernel.shape
    if isinstance(layer, layers.DepthwiseConv2D):
        return _take(left, f"{name}.weight", (inputs, outputs, height, width)).transpose(2, 3, 0, 1)
    return _take(left, f"{name}.weight", (outputs, inputs, height, width)).transpose(2, 3, 1, 0)


def _norm(layer: Any, name: str, left: dict[str, np.ndarray], epsilon: float) -> list[np.ndarray]:
    """Return BatchNorm's weights; gamma makes up for a different epsilon."""
    parts = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = (_take(left, f"{name}.{part}", layer.gamma.shape) for part in parts)
    return [gamma * np.sqrt((variance + layer.epsilon) / (variance + epsilon)), beta, mean, variance]


def _fold_scaling(convolution: Any, norm: Any, ours: Scaling, theirs: Scaling) -> None:
    """Change a convolution for inputs scaled as `theirs` into the same one for inputs scaled as `ours`.

    The offset goes into the mean of its BatchNorm.
    """
    if ours == theirs:
        return
    scale = np.broadcast_to(np.divide(theirs.scale, ours.scale), 3)
    offset = theirs.offset - np.multiply(ours.offset, scale)
    kernel = convolution.get_weights()[0]
    gamma, beta, mean, variance = norm.get_weights()
    convolution.set_weights([kernel * scale[:, None]])
    norm.set_weights([gamma, beta, mean - (kernel * offset[:, None]).sum((0, 1, 2)), variance])
