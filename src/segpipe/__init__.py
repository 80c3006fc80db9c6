"""segpipe: image segmentation as a reproducible DVC pipeline."""

import os

# Read by TensorFlow and JAX at import. Start-up notices would drown the stages' own one-line errors; and
# both would claim the whole memory of a GPU, which a second process may need a part of.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

__version__ = "0.2.0"
