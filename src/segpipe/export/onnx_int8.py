"""ONNX with 8-bit integers: the float file's network, quantised by ONNX Runtime's own tools.

Convolutions and what stands between them compute with integers, on scales that are learned from images;
weights are scaled by channel, to 7 bits: with 8, processors without instructions for such products
(AVX2) cut sums of two of them off at 16 bits. The first three convolutions stay float32, since they
cause most of the loss with MobileNetV2. Other operations stay float32 too, as does everything that a
whole predictor does before and after the network.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segpipe.common.errors import UserError
from segpipe.common.quiet import quiet
from segpipe.export import onnx
from segpipe.export.signature import IMAGE, Graph, Images, of_network

_EXACT = 3  # convolutions at the beginning that stay float32
_OPERATIONS = ("Add", "Clip", "Concat", "Conv", "ConvTranspose", "MaxPool", "Pad", "Relu", "Resize")


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a network that takes any number of images."""
    write_graph(of_network(model), card, images, path)


def write_graph(graph: Graph, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write what a graph computes, with a card; scales are learned from images that it takes.

    Raises a UserError where a convolution after the first ones cannot be quantised (those that predict
    tiles in a loop never can), or where there is none after them.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        exact, fused = Path(folder, "float.onnx"), Path(folder, "fused.onnx")
        onnx.write_graph(graph, card, images, exact)
        with quiet():
            quant_pre_process(exact, fused, skip_symbolic_shape=True)
        network = _read(fused)
        chosen = _nodes_of_network(network)
        if not chosen:  # ONNX Runtime would quantise every node
            raise _refusal(_floats(network)[-1])
        quantize_static(
            fused, path, _Calibration(images()), QuantFormat.QDQ, list(_OPERATIONS), per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_quantize=chosen,
        )  # fmt: skip
    if floats := _floats(_read(path))[_EXACT:]:
        raise _refusal(floats[0])


def _refusal(convolution: str) -> UserError:
    return UserError(
        f"onnx-int8: the convolution {convolution} cannot be quantised (convolutions that predict tiles "
        "in a loop never can); export the network alone (--no-whole), or floats (--to onnx)"
    )


class _Calibration:
    """Gives images one by one, as ONNX Runtime asks for them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, or None after the last."""
        image = next(self._left, None)
        return None if image is None else {IMAGE: image[None]}


def _read(path: Path) -> Any:
    import onnx as library

    return library.load(path).graph


def _nodes_of_network(graph: Any) -> list[str]:
    """Return the names of the convolutions after the first ones, and of all nodes after these.

    The nodes before the network compute places and weights, which 8 bits cannot hold; they stay float32.
    """
    reached: set[str] = set()
    names, convolutions = [], 0
    for node in graph.node:
        convolutions += node.op_type == "Conv"
        is_quantised = node.op_type == "Conv" and convolutions > _EXACT
        if is_quantised or not reached.isdisjoint(node.input):
            reached.update(node.output)
            names.append(node.name)
    return names


def _floats(graph: Any) -> list[str]:
    """Return the names of the convolutions whose weights are not integers, also inside loops."""
    integers = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    every = (node for inner in onnx.graphs(graph) for node in inner.node)
    return [node.name for node in every if node.op_type == "Conv" and node.input[1] not in integers]
