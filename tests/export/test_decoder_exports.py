"""Exports of every decoder, in their own runtimes."""

import keras
import numpy as np
import pytest
from helpers import decoder, some_quick

from segpipe.export.runtimes import FORMATS
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet


def small_network(name, rng):
    """A U-Net on an encoder of four convolutions; no kernel is left as zero."""
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 96, 3))
    outputs = [image]
    for _ in range(4):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(outputs[-1])
        outputs.append(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    encoder = keras.Model(image, outputs[1:], name="encoder")
    network = unet(encoder, ENCODERS["mobilenet_v2"].scaling, decoder(name, [8] * 3), 3)
    for variable in network.trainable_variables:
        if not variable.numpy().any():
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return network


@pytest.mark.parametrize("made", FORMATS)
@pytest.mark.parametrize("name", some_quick(DECODERS, "aspp"))
def test_an_export_draws_what_its_model_draws(name, made, rng, tmp_path):
    network = small_network(name, rng)
    images = rng.integers(0, 256, (4, 64, 96, 3), np.uint8)
    path = tmp_path / (FORMATS[made].file or "model")
    FORMATS[made].write(network, {}, lambda: list(images), path)
    found, expected = FORMATS[made].load(path, 1)(images), network.predict_on_batch(images)
    if FORMATS[made].exact:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    else:
        assert np.abs(found - expected).mean() < 0.03 * np.ptp(expected)
