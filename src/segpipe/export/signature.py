"""Shared by all formats: the names of inputs and outputs, and the graph that a file computes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common.errors import UserError, brief

IMAGE = "image"  # the input of every export
LOGITS = "logits"  # the output of a network
MASK, CONFIDENCE = "mask", "confidence"  # those of a whole predictor
FEATURES = "features"  # of a whole predictor whose card has a profile of them, beside the logits

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Pictures [n, height, width, bands] to masks, uint8, and confidences, float32, [n, height, width]."""

Images = Callable[[], Iterable[np.ndarray]]
"""Reads training images, as the exported file takes them; the scales of 8 bits are learned from them."""


@dataclass(frozen=True)
class Graph:
    """The computation of an exported file: from one tensor to named ones, with a network's weights."""

    call: Callable[[Any], dict[str, Any]]
    input: tf.TensorSpec
    network: keras.Model

    def traced(self) -> Any:
        """Return the computation as a TensorFlow function."""
        return tf.function(self.call, input_signature=[self.input], autograph=False)


def named(model: keras.Model) -> keras.Model:
    """Return the same network with its output named, as the converters need it."""
    return keras.Model(model.inputs, {LOGITS: model.outputs[0]}, name=model.name)


def of_network(model: keras.Model) -> Graph:
    """Return the graph of a network alone: from any number of uint8 images of its size to logits."""
    network = named(model)
    images = tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, IMAGE)
    return Graph(lambda image: network(image, training=False), images, network)


@contextlib.contextmanager
def refuses(error: type[Exception], format_: str) -> Iterator[None]:
    """Turn a converter's error into a UserError: the format lacks what the network needs."""
    try:
        yield
    except error as reason:
        raise UserError(
            f"{format_} lacks an operation of this network ({brief(reason)}); choose another format"
        ) from None
