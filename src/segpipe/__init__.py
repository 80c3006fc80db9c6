"""segpipe: image segmentation as a reproducible DVC pipeline."""

import os

# TensorFlow reads these at import. Its start-up notices would drown the stages' own one-line errors;
# and it would claim the whole memory of a GPU, which a second process may need a part of.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

__version__ = "0.1.0"
