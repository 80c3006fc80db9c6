"""A saved model, and what it says of images."""

import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from segpipe.classes import ClassTable
from segpipe.data.records import Manifest
from segpipe.errors import UserError, brief
from segpipe.modelfile import read_card


def load_model(path: Path, manifest: Manifest) -> keras.Model:
    """Load a model and check that it is one for these records.

    Raises:
        UserError: the file is missing, no Keras model, or one for other images or classes.
    """
    card = read_card(path)
    trained_for = _described(ClassTable.from_json(card), card["image_size"])
    needed = _described(manifest.classes, manifest.image_size)
    if trained_for != needed:
        raise UserError(
            f"{path} was trained for {trained_for}, but the records have {needed}; "
            "train it on these records"
        )
    try:
        model = keras.models.load_model(path, compile=False)
        found = (model.name, model.inputs[0].dtype, model.input_shape, model.output_shape)
    except (ValueError, OSError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a model that segpipe saved ({brief(error)})") from None
    size = manifest.image_size
    expected = ("unet", "uint8", (None, size, size, 3), (None, size, size, len(manifest.classes)))
    if found != expected:
        raise UserError(f"{path}: holds a network {found}, but its card says {expected}")
    return model


def _described(table: ClassTable, image_size: int) -> str:
    return f"{table.describe()} at {image_size} px"


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
    best = np.full((height, width), -np.inf, np.float32)
    mask = np.zeros((height, width), np.uint8)
    for index, channel in enumerate(np.moveaxis(probabilities, -1, 0)):
        scaled = np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
        mask[scaled > best] = index
        np.maximum(best, scaled, out=best)  # one class at a time: a large picture has room for no more
    return mask
