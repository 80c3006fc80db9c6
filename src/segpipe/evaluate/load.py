"""Load the network of a saved model for some records."""

from collections.abc import Sequence
from pathlib import Path

import keras

from segpipe.common.bands import Bands, Intensity, in_words
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.common.network import load_network
from segpipe.common.records import Manifest, Resize, Tiles, read_bands, read_tiles


def load_for_records(path: Path, manifest: Manifest) -> keras.Model:
    """Load the network of a model that was trained for these records' classes, bands, size and resizing.

    Raises a UserError where the file is missing, cannot be read here, or is a model for other records.
    """
    card = read_card(path)
    size, how = card["image_size"], card["resize"]
    trained_for = _in_words(ClassTable.from_json(card), size, how, read_tiles(card), **read_bands(card))
    needed = _in_words(
        manifest.classes, manifest.size, manifest.resize, manifest.tiles, manifest.bands,
        manifest.intensity,
    )  # fmt: skip
    if trained_for != needed:
        raise UserError(
            f"{path} was trained for {trained_for}, but the records have {needed}; "
            "train it on these records"
        )
    return load_network(path, card)


def _in_words(
    table: ClassTable,
    size: Sequence[int],
    how: Resize,
    tiles: Tiles | None,
    bands: Bands,
    intensity: Intensity,
) -> str:
    resizing = f"{how}, scale {tiles.scale:g}" if tiles else how
    words = f"{table.describe()} at {size[0]} x {size[1]} px ({resizing})"
    bands_in_words = in_words(bands, intensity)
    return words if bands_in_words == "RGB" else f"{words} in {bands_in_words}"
