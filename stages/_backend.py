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
    if backend := train.backend_to_set(os.environ):
        os.environ["KERAS_BACKEND"] = backend
        if importlib.util.find_spec(backend) is None:
            asked = train.needs_jax if train.backend == "auto" else "train.backend"
            extra = "; pip install -e '.[jax]' installs it" if backend == "jax" else ""
            sys.exit(f"error: {asked} needs {backend}, which is not installed here{extra}")
