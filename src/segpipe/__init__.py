"""segpipe: image segmentation as a reproducible DVC pipeline."""

import importlib
import os
from typing import Any

from segpipe.common import __version__ as __version__

# Read by TensorFlow and JAX at import. Start-up notices would drown the stages' own one-line errors; and
# both would claim the whole memory of a GPU, which a second process may need a part of.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# By default both report to their makers: ONNX Runtime name and hashes of each model, Ray its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def __getattr__(name: str) -> Any:
    """`segpipe.load_model`, looked up when it is asked for.

    An import here would bring TensorFlow into every command.
    """
    if name == "load_model":
        return importlib.import_module("segpipe.predict.predictor").load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
