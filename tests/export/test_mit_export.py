"""MiT-B0, the transformer, exported: no test of the other encoders has attention."""

import keras
import numpy as np
import pytest
from helpers import decoder

from segpipe.common.errors import UserError
from segpipe.export.runtimes import FORMATS
from segpipe.model.backbone import backbone, tap
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet

SIZE = (64, 96)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    family = ENCODERS["mit_b0"]
    encoder = tap(backbone("mit_b0", SIZE), family.layers)
    return unet(encoder, family.scaling, decoder("fpn", [16, 16, 16, 16]), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_an_exported_transformer_gives_the_logits_of_the_model(name, network, rng, tmp_path):
    images = rng.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    path = tmp_path / FORMATS[name].file
    FORMATS[name].write(network, {}, lambda: list(images), path)
    expected = network.predict_on_batch(images)
    np.testing.assert_allclose(
        FORMATS[name].load(path, 1)(images), expected, atol=1e-5 * np.ptp(expected)
    )


@pytest.mark.slow
def test_integers_are_refused_in_one_line(network, rng, tmp_path):
    images = rng.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="has no integer form; export tflite"):
        FORMATS["tflite-int8"].write(network, {}, lambda: list(images), tmp_path / "model.tflite")
