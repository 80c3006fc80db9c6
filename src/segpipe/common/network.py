"""The network of a saved model: loaded and checked against its card; with its encoder's features too."""

import zipfile
from pathlib import Path
from typing import Any

import keras

from segpipe.common import __version__
from segpipe.common.bands import numbers
from segpipe.common.errors import UserError, brief
from segpipe.common.modelfile import UNREADABLE
from segpipe.common.records import read_bands


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
        actual = (model.name, model.inputs[0].dtype, model.input_shape, model.output_shape)
    except (*UNREADABLE, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read by Keras {keras.__version__} and segpipe {__version__} "
            f"({brief(error)}); it was saved by Keras {card['libraries']['keras']} and segpipe "
            f"{card['segpipe']}: install those, or train it again"
        ) from None
    size, channels = card["image_size"], len(numbers(read_bands(card)["bands"]))
    expected = ("unet", "uint8", (None, *size, channels), (None, *size, len(card["classes"])))
    if actual != expected:
        raise UserError(f"{path}: holds a network {actual}, but its card says {expected}")
    return model


def with_features(network: keras.Model) -> keras.Model:
    """Return a U-Net of the same layers with two outputs: its logits, and the encoder's features.

    The features are the encoder's coarsest output averaged over the picture, [n, channels].
    """
    coarsest = network.get_layer("encoder")._inbound_nodes[-1].output_tensors[-1]
    pooling = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32")
    return keras.Model(network.inputs, [*network.outputs, pooling(coarsest)])
