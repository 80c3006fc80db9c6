"""Shared by all formats: the names of input and output, and tracing the network."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common.errors import UserError, brief

IMAGE, LOGITS = "image", "logits"  # the input and the output of every export

Images = Callable[[], Sequence[np.ndarray]]
"""Reads images to calibrate on, each uint8 [height, width, bands]; only tflite-int8 calls it."""


def named(model: keras.Model) -> keras.Model:
    """Return the same network with its output named, as the converters need it."""
    return keras.Model(model.inputs, {LOGITS: model.outputs[0]}, name=model.name)


def traced(network: keras.Model) -> Any:
    """Return inference as a TensorFlow function of any number of uint8 images."""
    return tf.function(
        lambda image: network(image, training=False),
        input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, IMAGE)],
        autograph=False,
    )


@contextlib.contextmanager
def refuses(error: type[Exception], format_: str) -> Iterator[None]:
    """Turn a converter's error into a UserError: the format lacks what the network needs."""
    try:
        yield
    except error as reason:
        raise UserError(
            f"{format_} lacks an operation of this network ({brief(reason)}); choose another format"
        ) from None
