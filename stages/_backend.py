"""What the stage `train` needs before Keras, which reads its backend when it is imported."""

import _stage  # noqa: F401

import contextlib
import importlib.util
import os
import sys

from segpipe.common.errors import UserError
from segpipe.params.load import load_params

with contextlib.suppress(UserError):  # the stage says what is wrong with the params
    if (backend := load_params().train.backend) != "auto":
        os.environ["KERAS_BACKEND"] = backend
        if importlib.util.find_spec(backend) is None:
            sys.exit(f"error: train.backend: {backend} is not installed here; see docs/gpu.md")
