"""A small network, its card, pictures, and its whole predictor in a runtime."""

import keras
import numpy as np
from helpers import PETS, decoder

from segpipe.export.runtimes import FORMATS
from segpipe.export.whole import predictor_graph
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet

SIZE = (32, 64)


def card(**changes):
    plain = {"image_size": list(SIZE), "resize": "stretch", "bands": "rgb", "intensity": None}
    return {**plain, "depths": ["uint8"], **PETS.to_json(), **changes}


def network(bands=3):
    """A U-Net on an encoder of two convolutions, whose classes lie close together."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, bands))
    outputs = [image]
    for _ in range(2):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(outputs[-1])
        outputs.append(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    encoder = keras.Model(image, outputs[1:], name="encoder")
    return unet(encoder, ENCODERS["mobilenet_v2"].scaling, decoder("light", [8]), 3, bands)


def photo(rng, height, width, bands=3):
    """Smooth blobs with noise, uint8."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (7 + b)) * np.cos(columns / (11 - b)) for b in range(bands)]
    noisy = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 20, (height, width, bands))
    return noisy.clip(0, 255).astype(np.uint8)


def export(name, model, of, path, images=list):
    """Write a whole predictor and load it in its own runtime; `images` gives those to calibrate on."""
    whole = FORMATS[name].whole
    path = path / (FORMATS[name].file or "model")
    whole.write(predictor_graph(model, of, whole.batch, whole.real), of, images, path)
    return whole.load(path, 1)
