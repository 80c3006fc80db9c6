"""A saved model, and what it says of images."""

import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from segpipe.data.records import Manifest
from segpipe.errors import UserError


def load_model(path: Path, manifest: Manifest) -> keras.Model:
    """Load a model and check that it is one for these records.

    Raises:
        UserError: the file is missing, no Keras model, or one for other images or classes.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `dvc repro train` writes it")
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a model that segpipe saved ({reason})") from None
    size = manifest.image_size
    expected = ((None, size, size, 3), (None, size, size, len(manifest.classes)))
    found = (model.input_shape, model.output_shape)
    if found != expected:
        raise UserError(
            f"{path}: maps {found[0]} to {found[1]}, but the records need {expected[0]} to "
            f"{expected[1]} (batch, height, width, channels or classes); train it on these records"
        )
    return model


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis, in the logits' float type."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mask_at_size(probabilities: np.ndarray, height: int, width: int) -> np.ndarray:
    """The most probable class of each pixel of the original picture.

    Args:
        probabilities: float32 [S, S, classes] at network size; scaled bilinearly, antialiased where
            the picture is smaller than that.
        height: the original height in pixels.
        width: the original width in pixels.

    Returns:
        Class indices, uint8 [height, width].
    """
    scaled = [
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
        for channel in np.moveaxis(probabilities, -1, 0)
    ]
    return np.argmax(scaled, 0).astype(np.uint8)
