"""Open a model for the commands that predict."""

from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.common.quiet import quiet

if TYPE_CHECKING:
    from segpipe.predict.predictor import Predictor


def open_predictor(model: Path) -> "Predictor":
    """Take a GPU, and load a model without the messages of TensorFlow's start."""
    from segpipe.common.devices import take_gpus

    with quiet():  # takes seconds, for TensorFlow
        from segpipe.predict.predictor import load_model

    take_gpus()
    with quiet():  # TensorFlow looks for GPUs
        return load_model(model)
