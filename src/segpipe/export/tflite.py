"""LiteRT's (TensorFlow Lite's) file for phones: as float32, or quantised to 8-bit integers."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from segpipe.common.errors import UserError
from segpipe.common.modelfile import CARD, write_member
from segpipe.common.quiet import quiet
from segpipe.evaluate.masks import Predict
from segpipe.export import savedmodel
from segpipe.export.signature import CONFIDENCE, IMAGE, LOGITS, MASK, Graph, Images, Run, named, refuses


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a float32 model that takes one image, since delegates refuse an unknown batch size."""
    _convert(named(model), "uint8", card, path, [tf.lite.OpsSet.TFLITE_BUILTINS])


def write_int8(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that computes with integers alone: weights scaled by channel, calibrated on images.

    It maps one uint8 image to int8 logits, whose scale and zero point the file holds. Raises a UserError
    where an operation of the network has no integer form. Source: https://arxiv.org/abs/1712.05877
    """
    # Calibrated from float pixels: a cast from uint8 to float inside would have no integer form.
    pixels = keras.Input(model.input_shape[1:], dtype="float32", name=IMAGE)
    network = keras.models.clone_model(named(model), input_tensors=[pixels])
    network.set_weights(model.get_weights())
    _convert(
        network, "float32", card, path, [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: _calibration(images()),
        inference_input_type=tf.uint8,
        inference_output_type=tf.int8,
    )  # fmt: skip
    if floats := _floats(path):  # the converter keeps them without a warning
        raise UserError(f"tflite-int8: {floats[0]} of the network has no integer form; export tflite")


def write_graph(graph: Graph, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a graph that takes one picture, with a card."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "model")
        savedmodel.write_graph(graph, card, images, saved)
        with quiet(), refuses(ConverterError, "TensorFlow Lite"):
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            path.write_bytes(converter.convert())
    _append(card, path)


def load(path: Path, threads: int) -> Predict:
    """Load an export, to run on a number of threads; integers are scaled back to logits."""
    run = _runner(path, threads)
    scale, zero_point = run.get_output_details()[LOGITS]["quantization"]

    def predict(images: np.ndarray) -> np.ndarray:
        logits = np.concatenate([run(**{IMAGE: image[None]})[LOGITS] for image in images])
        if logits.dtype == np.float32:
            return logits
        return (logits.astype(np.float32) - zero_point) * np.float32(scale)

    return predict


def load_whole(path: Path, threads: int) -> Run:
    """Load a whole predictor, to run on a number of threads."""
    run = _runner(path, threads)

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = run(**{IMAGE: images})
        return outputs[MASK], outputs[CONFIDENCE]

    return predict


def _runner(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner()


def _convert(
    network: keras.Model, dtype: str, card: dict[str, Any], path: Path, ops: list, **settings: Any
) -> None:
    spec = keras.InputSpec(shape=(1, *network.input_shape[1:]), dtype=dtype, name=IMAGE)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, "model.tflite")  # Keras insists on the suffix
        with quiet(), refuses(ConverterError, "TensorFlow Lite"):
            network.export(
                converted, format="litert", verbose=False, input_signature=[spec],
                target_spec={"supported_ops": ops}, **settings,
            )  # fmt: skip
        path.write_bytes(converted.read_bytes())
    _append(card, path)


def _append(card: dict[str, Any], path: Path) -> None:
    """Append a card as a zip archive, as TensorFlow Lite's own metadata: interpreters ignore it."""
    with zipfile.ZipFile(path, "a") as archive:
        write_member(archive, CARD, json.dumps(card, ensure_ascii=False))


def _floats(path: Path) -> list[str]:
    """Return the names of a file's float tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # delegates add tensors of their own
    tensors = Interpreter(str(path), experimental_op_resolver_type=plain).get_tensor_details()
    return [tensor["name"] for tensor in tensors if tensor["dtype"] == np.float32]


def _calibration(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for image in images:
        pixels = image.astype(np.float32)
        # A black and a white pixel make the input's range 0..255, so that uint8 pixels need no scaling.
        pixels[0, 0], pixels[-1, -1] = 0, 255
        yield [pixels[None]]
