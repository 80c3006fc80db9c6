"""What the stage `train` needs before Keras, which reads its backend when it is imported."""

import _stage  # noqa: F401

import contextlib
import os

from segpipe.config import load_params
from segpipe.errors import UserError

with contextlib.suppress(UserError):  # the stage says what is wrong with the params
    if (backend := load_params().train.backend) != "auto":
        os.environ["KERAS_BACKEND"] = backend
