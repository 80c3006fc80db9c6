"""Exports of networks of one band and of four, in their own runtimes."""

import keras
import numpy as np
import pytest
from helpers import decoder

from segpipe.export.runtimes import FORMATS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet


def small_network(scaled_as, seen, channels):
    """A U-Net on an encoder of two convolutions, which has an input of `seen` channels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, seen))
    outputs = [image]
    for _ in range(2):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(outputs[-1])
        outputs.append(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    encoder = keras.Model(image, outputs[1:], name="encoder")
    return unet(encoder, ENCODERS[scaled_as].scaling, decoder("light", [8]), 3, channels)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("scaled_as", "seen", "channels"),
    [
        pytest.param("mobilenet_v2", 1, 1, id="one band"),
        pytest.param("densenet121", 3, 1, id="one band as grey", marks=pytest.mark.slow),
        pytest.param("densenet121", 4, 4, id="four bands", marks=pytest.mark.slow),
    ],
)
def test_an_export_takes_the_bands_of_its_model(name, scaled_as, seen, channels, rng, tmp_path):
    network = small_network(scaled_as, seen, channels)
    images = rng.integers(0, 256, (4, 32, 32, channels), np.uint8)
    path = tmp_path / FORMATS[name].file if FORMATS[name].file else tmp_path / "model"
    FORMATS[name].write(network, {}, lambda: list(images), path)
    found, expected = FORMATS[name].load(path, 1)(images), network.predict_on_batch(images)
    if FORMATS[name].exact:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        assert np.abs(found - expected).mean() < 0.03 * np.ptp(expected)
