"""ONNX: a file that ONNX Runtime and many other runtimes read."""

import json
import re
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

_NUMBERED = re.compile(r"__\d+$")  # tf2onnx counts the names that it makes up
_EDGES = ("batch", "height", "width")  # edges of a tensor that a runtime learns from the call


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that takes any number of images, with its card in the file's properties."""
    write_graph(of_network(model), card, images, path)


def write_graph(graph: Graph, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a graph with a card. Raises a UserError where ONNX lacks an operation of it."""
    import onnx
    import tf2onnx

    with quiet():
        function = graph.traced().get_concrete_function()
        # Keras' own export leaves calls and constants of some encoders that tf2onnx does not inline.
        frozen = convert_variables_to_constants_v2(
            function, lower_control_flow=False, aggressive_inlining=True
        )
        (image,), outputs = frozen.inputs, [tensor.name for tensor in frozen.outputs]
        renamed = dict(zip(outputs, sorted(function.structured_outputs), strict=True))
        content, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(), input_names=[image.name], output_names=outputs,
            tensors_to_rename={image.name: IMAGE, **renamed},
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
    """Make equal files of equal models: the order of nodes and many names of tf2onnx are random."""
    for tensor in (*graph.input, *graph.output):
        for edge, name in zip(tensor.type.tensor_type.shape.dim, _EDGES, strict=False):
            if not edge.HasField("dim_value"):
                edge.dim_param = name
    _sort(graph)
    all_graphs = list(graphs(graph))
    names = _names(graph, all_graphs)
    for inner in all_graphs:
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for tensor in (*inner.input, *inner.output):
            tensor.name = names.get(tensor.name, tensor.name)
        used = [weight for weight in inner.initializer if weight.name in names]
        for weight in used:
            weight.name = names[weight.name]
        del inner.initializer[:], inner.value_info[:]
        inner.initializer.extend(sorted(used, key=lambda weight: weight.name))


def _sort(graph: Any) -> None:
    """Sort nodes in the order in which the outputs need them, also in the bodies of loops."""
    for inner in _bodies(graph):
        _sort(inner)
    producer = {name: node for node in graph.node for name in node.output if name}
    ordered, seen = [], set()
    stack = [(producer[tensor.name], False) for tensor in graph.output if tensor.name in producer]
    while stack:
        node, complete = stack.pop()
        if complete:
            ordered.append(node)
        elif node.output[0] not in seen:
            seen.add(node.output[0])
            stack.append((node, True))
            stack += [(producer[name], False) for name in _needs(node) if name in producer]
    del graph.node[:]
    graph.node.extend(ordered)


def _needs(node: Any) -> Iterator[str]:
    """Yield the names of the tensors that a node and its bodies take."""
    yield from node.input
    for inner in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
        for inner_node in inner.node:
            yield from _needs(inner_node)


def _names(graph: Any, all_graphs: list[Any]) -> dict[str, str]:
    """Return new names by old ones: a tensor is named after its node, a weight after its first use.

    Nodes of a layer keep their names; others, which have no path, are named by their places.
    """
    names = {tensor.name: tensor.name for tensor in (*graph.input, *graph.output)}
    names[""] = ""  # stands for an input that a node leaves out
    weights = {weight.name for inner in all_graphs for weight in inner.initializer}
    for number, inner in enumerate(all_graphs):
        for position, tensor in enumerate(inner.input):
            names.setdefault(tensor.name, f"body_{number}/{position}")
        for place, node in enumerate(inner.node):
            if "/" not in node.name or _NUMBERED.search(node.name):
                node.name = f"{node.op_type}_{number}_{place}"
            for position, name in enumerate(node.output):
                names.setdefault(name, f"{node.name}:{position}")
            for position, name in enumerate(node.input):
                if name in weights:
                    names.setdefault(name, f"{node.name}/{position}")
    return names


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside it, such as the body of a loop."""
    yield graph
    for inner in _bodies(graph):
        yield from graphs(inner)


def _bodies(graph: Any) -> Iterator[Any]:
    return (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
