"""Sets Keras' backend for the stage `train`: Keras reads it when it is imported."""

import _stage  # noqa: F401

import contextlib
import importlib.util
import os
import sys

from segpipe.common.errors import UserError
from segpipe.params.load import load_params

with contextlib.suppress(UserError):  # the stage itself says what is wrong with the params
    train = load_params().train
    backend, asked = train.backend, "train.backend"
    if backend == "auto" and train.needs_jax and "KERAS_BACKEND" not in os.environ:
        backend, asked = "jax", train.needs_jax
    if backend != "auto":
        os.environ["KERAS_BACKEND"] = backend
        if importlib.util.find_spec(backend) is None:
            extra = "; pip install -e '.[jax]' installs it" if backend == "jax" else ""
            sys.exit(f"error: {asked} needs {backend}, which is not installed here{extra}")
