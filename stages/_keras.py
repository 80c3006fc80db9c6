"""Imports Keras for the stages that need it, without the messages of TensorFlow's start."""

import _stage  # noqa: F401

from segpipe.common.quiet import quiet

with quiet():
    import keras  # noqa: F401
    import tensorflow  # noqa: F401  # Keras' JAX backend alone would not, but tf.data does later
