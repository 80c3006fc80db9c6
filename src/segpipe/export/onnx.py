"""ONNX: a file that ONNX Runtime and many other runtimes read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from segpipe.common.modelfile import CARD
from segpipe.common.quiet import quiet
from segpipe.evaluate.masks import Predict
from segpipe.export.signature import (
    CONFIDENCE,
    IMAGE,
    LOGITS,
    MASK,
    Graph,
    Images,
    Run,
    of_network,
    refuses,
)

_EDGES = ("batch", "height", "width")  # those of a tensor that a runtime learns from the call


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that takes any number of images, its card among the file's properties."""
    write_graph(of_network(model), card, path)


def write_graph(graph: Graph, card: dict[str, Any], path: Path) -> None:
    """Write what a graph computes, with a card. Raises a UserError where ONNX lacks an operation."""
    import onnx
    import tf2onnx

    with quiet():
        function = graph.traced().get_concrete_function()
        # Keras' own export leaves calls and constants of some encoders that tf2onnx does not inline.
        frozen = convert_variables_to_constants_v2(
            function, lower_control_flow=False, aggressive_inlining=True
        )
        (given,), taken = frozen.inputs, [tensor.name for tensor in frozen.outputs]
        renamed = dict(zip(taken, sorted(function.structured_outputs), strict=True))
        content, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(), input_names=[given.name], output_names=taken,
            tensors_to_rename={given.name: IMAGE, **renamed},
        )  # fmt: skip
    _tidy(content.graph)
    onnx.helper.set_model_props(content, {CARD: json.dumps(card, ensure_ascii=False)})
    with refuses(onnx.checker.ValidationError, "ONNX"):
        onnx.checker.check_model(content)
    path.write_bytes(content.SerializeToString(deterministic=True))


def load(path: Path, threads: int) -> Predict:
    """Load an export, to run on a number of threads."""
    session = _session(path, threads)
    return lambda images: session.run([LOGITS], {IMAGE: images})[0]


def load_whole(path: Path, threads: int) -> Run:
    """Load a whole predictor, to run on a number of threads."""
    session = _session(path, threads)
    return lambda images: session.run([MASK, CONFIDENCE], {IMAGE: images})


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _tidy(graph: Any) -> None:
    """Name unknown edges, and each weight after its first use: tf2onnx's names are random."""
    for tensor in (*graph.input, *graph.output):
        for edge, name in zip(tensor.type.tensor_type.shape.dim, _EDGES, strict=False):
            if not edge.HasField("dim_value"):
                edge.dim_param = name
    graphs = list(_graphs(graph))
    weights = {weight.name for inner in graphs for weight in inner.initializer}
    names: dict[str, str] = {}
    for node in (node for inner in graphs for node in inner.node):
        for position, name in enumerate(node.input):
            if name in weights:
                node.input[position] = names.setdefault(name, f"{node.name}/{position}")
    for inner in graphs:
        used = [weight for weight in inner.initializer if weight.name in names]
        for weight in used:
            weight.name = names[weight.name]
        del inner.initializer[:]
        inner.initializer.extend(sorted(used, key=lambda weight: weight.name))


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside it, such as the body of a loop."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
