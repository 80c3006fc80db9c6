"""Load the network of a saved model, checked against the model's card."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from segpipe.common import __version__
from segpipe.common.bands import Bands, Intensity, in_words, numbers
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError, brief
from segpipe.common.modelfile import read_card
from segpipe.common.records import Manifest, Resize, Tiles, read_bands, read_tiles


def load_for_records(path: Path, manifest: Manifest) -> keras.Model:
    """Load the network of a model that was trained for these records' classes, bands, size and resizing.

    Raises a UserError where the file is missing, cannot be read here, or is a model for other records.
    """
    card = read_card(path)
    size, how = card["image_size"], card["resize"]
    trained_for = _described(ClassTable.from_json(card), size, how, read_tiles(card), **read_bands(card))
    needed = _described(
        manifest.classes, manifest.size, manifest.resize, manifest.tiles, manifest.bands,
        manifest.intensity,
    )  # fmt: skip
    if trained_for != needed:
        raise UserError(
            f"{path} was trained for {trained_for}, but the records have {needed}; "
            "train it on these records"
        )
    return load_network(path, card)


def load_network(path: Path, card: dict[str, Any]) -> keras.Model:
    """Load the network that a card describes: uint8 images [n, height, width, bands] to float32 logits.

    Raises a UserError where it is an export, Keras cannot read it, or it is not what the card says.
    """
    if not (zipfile.is_zipfile(path) and zipfile.Path(path, "config.json").exists()):
        raise UserError(
            f"{path}: an export; give the .keras file that it was made from, or use it in its own "
            "runtime (docs/export.md)"
        )
    try:
        model = keras.models.load_model(path, compile=False)
        found = (model.name, model.inputs[0].dtype, model.input_shape, model.output_shape)
    except (ValueError, OSError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read by Keras {keras.__version__} and segpipe {__version__} "
            f"({brief(error)}); it was saved by Keras {card['libraries']['keras']} and segpipe "
            f"{card['segpipe']}: install those, or train it again"
        ) from None
    size, channels = card["image_size"], len(numbers(read_bands(card)["bands"]))
    expected = ("unet", "uint8", (None, *size, channels), (None, *size, len(card["classes"])))
    if found != expected:
        raise UserError(f"{path}: holds a network {found}, but its card says {expected}")
    return model


def _described(
    table: ClassTable,
    size: Sequence[int],
    how: Resize,
    tiles: Tiles | None,
    bands: Bands,
    intensity: Intensity,
) -> str:
    way = f"{how}, scale {tiles.scale:g}" if tiles else how
    words = f"{table.describe()} at {size[0]} x {size[1]} px ({way})"
    seen = in_words(bands, intensity)
    return words if seen == "RGB" else f"{words} in {seen}"
