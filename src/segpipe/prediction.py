"""A saved model, and what it says of images."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from segpipe.classes import ClassTable
from segpipe.config import Resize
from segpipe.data.records import Manifest
from segpipe.data.resize import content_box
from segpipe.errors import UserError, brief
from segpipe.modelfile import read_card


def load_model(path: Path, manifest: Manifest) -> keras.Model:
    """Load a model and check that it is one for these records.

    Raises:
        UserError: the file is missing, no Keras model, or one for other images or classes.
    """
    card = read_card(path)
    trained_for = _described(ClassTable.from_json(card), card["image_size"], card["resize"])
    needed = _described(manifest.classes, manifest.size, manifest.resize)
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
    expected = (
        "unet", "uint8", (None, *manifest.size, 3), (None, *manifest.size, len(manifest.classes))
    )  # fmt: skip
    if found != expected:
        raise UserError(f"{path}: holds a network {found}, but its card says {expected}")
    return model


def _described(table: ClassTable, size: Sequence[int], how: Resize) -> str:
    return f"{table.describe()} at {size[0]} x {size[1]} px ({how})"


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis, in the logits' float type."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mask_at_size(probabilities: np.ndarray, original: tuple[int, int], how: Resize) -> np.ndarray:
    """The most probable class of each pixel of the original picture.

    Args:
        probabilities: float32 [height, width, classes] at network size; the part that shows the
            picture is scaled bilinearly, antialiased where the picture is smaller than that.
        original: the picture's height and width in pixels.
        how: how the picture became the network's input.

    Returns:
        Class indices, uint8 of the original size.
    """
    height, width = original
    box = content_box(original, (probabilities.shape[0], probabilities.shape[1]), how)
    probabilities = probabilities[box.within]
    best = np.full((height, width), -np.inf, np.float32)
    mask = np.zeros((height, width), np.uint8)
    for index, channel in enumerate(np.moveaxis(probabilities, -1, 0)):
        scaled = np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
        mask[scaled > best] = index
        np.maximum(best, scaled, out=best)  # one class at a time: a large picture has room for no more
    return mask
