"""ONNX: a file that ONNX Runtime and many other runtimes read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from segpipe.common.modelfile import CARD
from segpipe.export.signature import IMAGE, LOGITS, Images, named, quiet, refuses


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that takes any number of images, with its card among the file's properties."""
    import onnx
    import tf2onnx

    network = named(model)
    traced = tf.function(
        lambda image: network(image, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, IMAGE)],
        autograph=False,
    )
    with quiet():
        # Keras' own export leaves calls and constants of some encoders where tf2onnx does not follow.
        frozen = convert_variables_to_constants_v2(
            traced.get_concrete_function(), aggressive_inlining=True
        )
        (given,), (taken,) = frozen.inputs, frozen.outputs
        content, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(), input_names=[given.name], output_names=[taken.name],
            tensors_to_rename={given.name: IMAGE, taken.name: LOGITS},
        )  # fmt: skip
    _tidy(content.graph)
    onnx.helper.set_model_props(content, {CARD: json.dumps(card, ensure_ascii=False)})
    with refuses(onnx.checker.ValidationError, "ONNX"):
        onnx.checker.check_model(content)
    path.write_bytes(content.SerializeToString(deterministic=True))


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """What the written model predicts."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([LOGITS], {IMAGE: images})[0]


def _tidy(graph: Any) -> None:
    """Name the free dimension, and each weight after its first use: tf2onnx has names by chance."""
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    weights = {weight.name: weight for weight in graph.initializer}
    names: dict[str, str] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in weights:
                node.input[position] = names.setdefault(name, f"{node.name}/{position}")
    for old, new in names.items():
        weights[old].name = new
    in_order = sorted((weights[old] for old in names), key=lambda weight: weight.name)
    del graph.initializer[:]
    graph.initializer.extend(in_order)
