"""segpipe: image segmentation as a reproducible DVC pipeline."""

import os

# TensorFlow reads this at import; its start-up notices would drown the stages' own one-line errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
