"""Imports Keras for the stages that need it, without the messages of TensorFlow's start."""

import _stage  # noqa: F401

import contextlib

from segpipe.common.quiet import quiet

with quiet():
    import keras

    if keras.config.backend() == "jax":  # Keras would import TensorFlow later, where it is installed
        with contextlib.suppress(ModuleNotFoundError):
            import tensorflow  # noqa: F401
