"""EfficientNet-Lite0, which was made for int8, exported with ImageNet's weights."""

import keras
import numpy as np
import pytest
from helpers import decoder, plain_params
from PIL import Image

from segpipe.export.runtimes import FORMATS
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import fetch_backbone
from segpipe.model.unet import assemble

SIZE = (96, 96)


@pytest.fixture(scope="module")
def network(lite0_weights, tmp_path_factory):
    keras.utils.set_random_seed(0)
    content = plain_params().model.encoder.model_dump()
    content |= {"name": "efficientnet_lite0", "alpha": 1.0, "weights": str(lite0_weights)}
    params = ModelParams.model_validate(
        {
            "encoder": content | {"layers": "default"},
            "decoder": decoder("fpn", [16, 16, 16, 16]),
            "init": "none",
        }
    )
    backbone = fetch_backbone(params.encoder, tmp_path_factory.mktemp("lite0") / "encoder")
    return assemble(backbone, backbone.build(SIZE), params, 3)


@pytest.mark.parametrize("name", [pytest.param("tflite-int8", marks=pytest.mark.slow), "onnx"])
def test_an_export_gives_the_logits_of_the_model_on_photographs(name, network, pet_dir, tmp_path):
    paths = sorted((pet_dir / "images").glob("*.jpg"))[::25]
    photos = np.stack([Image.open(path).convert("RGB").resize(SIZE) for path in paths])
    path = tmp_path / FORMATS[name].file
    FORMATS[name].write(network, {}, lambda: list(photos), path)
    found, expected = FORMATS[name].load(path, 1)(photos), network.predict_on_batch(photos)
    if name == "tflite-int8":
        assert np.abs(found - expected).mean() < 0.02 * np.ptp(expected)
        assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.9
    else:
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))
