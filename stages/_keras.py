"""Imports Keras for the stages that need it, without the messages of TensorFlow's start."""

import _stage  # noqa: F401

import importlib.util

from segpipe.common.quiet import quiet

with quiet():
    import keras  # noqa: F401

    if importlib.util.find_spec("tensorflow"):  # with JAX, Keras itself would import it later
        import tensorflow  # noqa: F401
