"""Compute the cost of a network from its graph: parameters, multiplications, memory."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import keras
from keras import tree

from segpipe.model.unet import GREY


@dataclass(frozen=True)
class Part:
    """A part of the network: the encoder, a level of the decoder, or the head."""

    name: str
    size: tuple[int, int]  # height and width of its output in pixels
    channels: int
    params: int
    macs: int  # multiply-accumulates for one image


@dataclass(frozen=True)
class Memory:
    """Bytes that a network takes, estimated from its tensors."""

    weights: int
    trained: int  # the trained part of the weights
    kept: int  # per image in training: outputs for the backward pass; of a frozen encoder the widest
    widest: int  # per image in inference: skip connections, and a layer's largest inputs and outputs

    def training(self, batch: int) -> int:
        """Add activations, weights, their gradients, and Adam's two moments of each."""
        return batch * self.kept + self.weights + 3 * self.trained

    def inference(self, batch: int) -> int:
        """Add activations and weights."""
        return batch * self.widest + self.weights


def parts(network: keras.Model) -> list[Part]:
    """Return the parts of a U-Net in the order in which an image passes them."""
    groups: dict[str, list[keras.Operation]] = {}
    for operation in network.operations:
        if operation.name not in ("image", GREY, "scale"):
            groups.setdefault(_part(operation.name), []).append(operation)
    parts = []
    for name, group in groups.items():
        _, height, width, channels = tree.flatten(group[-1].output)[-1].shape
        params = sum(count(getattr(operation, "weights", [])) for operation in group)
        parts.append(Part(name, (height, width), channels, params, sum(map(_macs, _leaves(group)))))
    return parts


def macs(network: keras.Model) -> int:
    """Count multiply-accumulates of convolutions and dense layers for one image.

    Layers without a kernel (BatchNorm, which inference may fold away, activations, sums) count nothing,
    as is usual in papers.
    """
    return sum(map(_macs, _leaves([network])))


def memory(network: keras.Model) -> Memory:
    """Estimate the memory of a U-Net, in inference and in training.

    The libraries' workspaces, fragmentation and TensorFlow itself come on top; fused layers take less.
    """
    encoder = network.get_layer("encoder")
    within = [*_leaves([encoder])]
    around = [*_leaves(operation for operation in network.operations if operation is not encoder)]
    skips = sum(map(_bytes, encoder.outputs))
    held = [_bytes([o.input, o.output]) for o in (*within, *around)]
    frozen = skips + max(held[: len(within)])
    return Memory(
        weights=_bytes(network.weights),
        trained=_bytes(network.trainable_weights),
        kept=sum(_bytes(o.output) for o in around)
        + (sum(_bytes(o.output) for o in within) if encoder.trainable_weights else frozen),
        widest=skips + max(held),
    )


def count(variables: Iterable[keras.Variable]) -> int:
    """Count the numbers in variables."""
    return sum(prod(variable.shape) for variable in variables)


def _part(layer: str) -> str:
    """Return the part that a layer of `unet` belongs to, by its name."""
    if level := re.match(r"(?:up|join)_(\d+)", layer):
        return f"decoder {level[1]}"
    return next((part for part in ("context", "logits") if layer.startswith(part)), layer)


def _leaves(operations: Iterable[keras.Operation]) -> Iterator[keras.Operation]:
    """Yield layers and operations; for a model, those within it."""
    for operation in operations:
        if isinstance(operation, keras.Model):
            yield from _leaves(getattr(operation, "operations", operation.layers))  # Sequential: layers
        else:
            yield operation


def _macs(operation: keras.Operation) -> int:
    """Count a kernel's numbers once for each position of the output; of the input if transposed."""
    if isinstance(operation, keras.layers.MultiHeadAttention):
        return _attention_macs(operation)
    kernels = count(w for w in getattr(operation, "weights", []) if len(w.shape) > 1)
    if not kernels:
        return 0
    transposed = isinstance(operation, keras.layers.Conv2DTranspose)
    return kernels * prod((operation.input if transposed else operation.output).shape[1:-1])


def _attention_macs(attention: keras.layers.MultiHeadAttention) -> int:
    """Count the four projections, and the products of queries with keys, and of those with values."""
    queries, keys = (tensor.shape[1] for tensor in attention.input)
    query, key, value, output = (count([w]) for w in attention.weights if len(w.shape) == 3)
    width = attention.num_heads * attention.key_dim
    return queries * (query + output) + keys * (key + value) + 2 * queries * keys * width


def _bytes(tensors: object) -> int:
    """Return the size of variables, or of tensors for one image, whose batch axis is None."""
    flat = tree.flatten(tensors)
    return sum(prod(filter(None, t.shape)) * int(re.sub(r"\D", "", t.dtype)) // 8 for t in flat)
