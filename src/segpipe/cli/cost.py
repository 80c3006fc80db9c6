"""What a network costs, read off its graph: parameters, multiplications, memory."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import keras
from keras import tree


@dataclass(frozen=True)
class Part:
    """A part of the network: the encoder, a level of the decoder, or the head."""

    name: str
    size: tuple[int, int]
    """Height and width of its output in pixels."""
    channels: int
    params: int
    macs: int
    """Multiply-accumulates for one image."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a network takes, estimated from its tensors."""

    weights: int
    trained: int
    """Of those of the weights, the bytes that are trained."""
    kept: int
    """For an image in training: the outputs that backward needs; of a frozen encoder the widest."""
    widest: int
    """For an image in inference: the skip connections, the layer with the largest inputs and outputs."""

    def training(self, batch: int) -> int:
        """Activations, weights, their gradients, and Adam's two moments of each."""
        return batch * self.kept + self.weights + 3 * self.trained

    def inference(self, batch: int) -> int:
        """Activations and weights."""
        return batch * self.widest + self.weights


def parts(network: keras.Model) -> list[Part]:
    """The parts of a U-Net in the order in which an image passes them."""
    groups: dict[str, list[keras.Operation]] = {}
    for operation in network.operations:
        if operation.name not in ("image", "scale"):
            groups.setdefault(_part(operation.name), []).append(operation)
    return [
        Part(
            name,
            tuple(_tensors(group[-1].output)[-1].shape[1:3]),
            _tensors(group[-1].output)[-1].shape[3],
            sum(count(getattr(operation, "weights", [])) for operation in group),
            sum(map(_macs, _leaves(group))),
        )
        for name, group in groups.items()
    ]


def macs(network: keras.Model) -> int:
    """Multiply-accumulates of convolutions and dense layers for one image.

    What has no kernel (BatchNorm, which inference may fold away, activations, sums) counts nothing, as
    in the papers' figures.
    """
    return sum(map(_macs, _leaves([network])))


def memory(network: keras.Model) -> Memory:
    """What a U-Net takes, in inference and in training.

    An estimate from tensors alone: workspaces of the libraries' kernels, fragments and TensorFlow itself
    come on top; and where it fuses layers it keeps less.
    """
    encoder = network.get_layer("encoder")
    within, around = list(_leaves([encoder])), list(_leaves(_without(network, encoder)))
    skips = sum(map(_bytes, encoder.outputs))
    trains = bool(encoder.trainable_weights)
    return Memory(
        weights=sum(_variable_bytes(w) for w in network.weights),
        trained=sum(_variable_bytes(w) for w in network.trainable_weights),
        kept=_kept(around) + (_kept(within) if trains else skips + max(map(_held, within))),
        widest=skips + max(map(_held, [*within, *around])),
    )


def count(variables: Iterable[keras.Variable]) -> int:
    """How many numbers they hold."""
    return sum(prod(variable.shape) for variable in variables)


def _part(layer: str) -> str:
    """The part that a layer of `unet` belongs to, by its name."""
    if level := re.match(r"(?:up|join)_(\d+)", layer):
        return f"decoder {level[1]}"
    return "logits" if layer.startswith("logits") else layer


def _leaves(operations: Iterable[keras.Operation]) -> Iterator[keras.Operation]:
    """Layers and operations, those within models instead of the models."""
    for operation in operations:
        if isinstance(operation, keras.Model):
            within = getattr(operation, "operations", operation.layers)  # a Sequential has layers alone
            yield from _leaves(within)
        else:
            yield operation


def _without(network: keras.Model, encoder: keras.Model) -> list[keras.Operation]:
    return [operation for operation in network.operations if operation is not encoder]


def _macs(operation: keras.Operation) -> int:
    """Each number of a kernel is multiplied once a position of the output; transposed, of the input."""
    kernels = sum(prod(w.shape) for w in getattr(operation, "weights", []) if len(w.shape) > 1)
    if not kernels:
        return 0
    transposed = isinstance(operation, keras.layers.Conv2DTranspose)
    return kernels * prod((operation.input if transposed else operation.output).shape[1:-1])


def _kept(operations: Iterable[keras.Operation]) -> int:
    return sum(_bytes(tensor) for operation in operations for tensor in _tensors(operation.output))


def _held(operation: keras.Operation) -> int:
    return sum(map(_bytes, [*_tensors(operation.input), *_tensors(operation.output)]))


def _tensors(structure: object) -> list[keras.KerasTensor]:
    return tree.flatten(structure)


def _bytes(tensor: keras.KerasTensor) -> int:
    return prod(tensor.shape[1:]) * _width(tensor.dtype)


def _variable_bytes(variable: keras.Variable) -> int:
    return prod(variable.shape) * _width(variable.dtype)


def _width(dtype: str) -> int:
    """Bytes of a number: float32 has 4, bfloat16 2."""
    return int(re.sub(r"\D+", "", dtype)) // 8
