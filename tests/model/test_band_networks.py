"""Networks of one band and of many: a grey picture stays what it is, no weight is lost or guessed."""

import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import FAMILIES, decoder, plain_params, some_quick
from keras import ops
from PIL import Image

from segpipe.model.encoders import ENCODERS
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone, fetch_backbone
from segpipe.model.unet import assemble, unet
from segpipe.plan import cost
from segpipe.train.saving import save_model

SIZE = (64, 96)
BY_FAMILY = some_quick(FAMILIES, "mobilenet_v2")
BY_CHANNEL = {"densenet121", "convnext_tiny", "mit_b0", "efficientnet_v2_b0"}
"""Encoders that scale red, green and blue differently."""


def model_params(name="mobilenet_v2", weights="none"):
    content = plain_params().model.encoder.model_dump()
    content |= {"name": name, "alpha": 1.0, "weights": str(weights), "layers": "default"}
    drawn_by = decoder("light", [8, 8, 8, 8])
    return ModelParams.model_validate({"encoder": content, "decoder": drawn_by, "init": "none"})


@functools.cache
def given(name):
    """A backbone with weights that a file gave: random ones, each BatchNorm unlike the next."""
    rng = np.random.default_rng(0)
    network = Backbone(name, 1.0, None).architecture(SIZE)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    path = Path(tempfile.mkdtemp(), "given.weights.h5")
    network.save_weights(path)
    return Backbone(name, 1.0, path)


@functools.cache
def built(backbone, channels):
    """A network that several tests look at, and none changes."""
    return backbone.build(SIZE, channels)


def features(backbone, pictures):
    """What the encoder gives for uint8 pictures [n, H, W, bands], scaled as the model does."""
    channels = pictures.shape[-1]
    params = model_params(backbone.name)
    network = assemble(backbone, built(backbone, channels), params, 3, channels)
    fed = next(operation for operation in network.operations if operation.name == "scale").output
    return keras.Model(network.input, network.get_layer("encoder")(fed))(pictures)


def assert_equal_features(backbone, grey, channels):
    """Grey pictures [n, H, W, 1] give what they give as RGB, to float32's precision of the largest."""
    expected, found = (
        features(backbone, grey.repeat(3, -1)),
        features(backbone, grey.repeat(channels, -1)),
    )
    assert len(found) == len(expected) >= 4
    for ours, theirs in zip(map(np.asarray, found), map(np.asarray, expected), strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", BY_FAMILY)
@pytest.mark.parametrize("channels", [1, 6])
def test_a_grey_picture_gives_the_same_features_as_one_band_as_rgb_and_as_six(name, channels, rng):
    """At the border too, where the first convolution sees padding."""
    assert_equal_features(given(name), rng.integers(0, 256, (1, *SIZE, 1), np.uint8), channels)


def test_an_encoder_that_scales_red_green_and_blue_differently_sees_a_single_band_as_grey(rng):
    image = keras.Input((32, 32, 3))
    outputs = [image, *(keras.layers.Conv2D(4, 3, strides=2, padding="same") for _ in range(2))]
    encoder = keras.Model(image, [first := outputs[1](image), outputs[2](first)], name="encoder")
    one, three = (
        unet(encoder, ENCODERS["densenet121"].scaling, decoder("light", [4]), 3, n) for n in (1, 3)
    )
    three.set_weights(one.get_weights())
    grey = rng.integers(0, 256, (2, 32, 32, 1), np.uint8)
    np.testing.assert_array_equal(one(grey), three(grey.repeat(3, -1)))
    assert "grey_as_rgb" not in [part.name for part in cost.parts(one)]


def test_a_grey_photograph_gives_the_same_features_with_imagenets_mobilenet(
    encoder_weights, pet_dir, tmp_path
):
    photo = Image.open(pet_dir / "images/Abyssinian_1.jpg").convert("L").resize(SIZE[::-1])
    backbone = fetch_backbone(model_params(weights=encoder_weights).encoder, tmp_path / "encoder")
    assert_equal_features(backbone, np.asarray(photo)[None, ..., None], 1)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", BY_FAMILY)
def test_only_the_first_kernel_differs_from_the_given_weights(name, channels):
    theirs, network = built(given(name), 3).get_weights(), built(given(name), channels)
    ours = network.get_weights()
    different = [n for n, pair in enumerate(zip(ours, theirs, strict=True)) if not np.array_equal(*pair)]
    if channels == 1 and name in BY_CHANNEL:
        assert (network.input_shape[-1], different) == (3, [])
        return
    assert network.input_shape[-1] == channels
    (first,) = different
    kernel = theirs[first]
    by_hand = {
        1: [kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2]],
        2: [kernel[:, :, 0] * 1.5, kernel[:, :, 1] * 1.5],
        4: [kernel[:, :, i] * 0.75 for i in (0, 1, 2, 0)],
    }
    np.testing.assert_allclose(ours[first], np.stack(by_hand[channels], 2), rtol=1e-6, atol=1e-7)


def test_the_cost_counts_a_kernel_for_each_band():
    """MobileNetV2's first kernels are of 3 x 3, and there are 32."""

    def params_of(channels):
        inner = built(given("mobilenet_v2"), channels)
        network = assemble(given("mobilenet_v2"), inner, model_params(), 3, channels)
        return sum(part.params for part in cost.parts(network))

    assert params_of(3) - params_of(1) == 2 * 9 * 32
    assert params_of(4) - params_of(3) == 9 * 32


def test_three_bands_have_the_given_weights_to_the_bit():
    backbone = given("mobilenet_v2")
    network = backbone.architecture(SIZE)
    network.load_weights(backbone.weights)
    pairs = zip(built(backbone, 3).get_weights(), network.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_each_band_is_scaled_as_the_colour_whose_kernel_it_has():
    scaling = ENCODERS["densenet121"].scaling.of(5)
    mean, deviation = (0.485, 0.456, 0.406, 0.485, 0.456), (0.229, 0.224, 0.225, 0.229, 0.224)
    white = np.array(scaling.scale) * 255 + np.array(scaling.offset)
    np.testing.assert_allclose(white, (1 - np.array(mean)) / deviation)
    assert ENCODERS["mobilenet_v2"].scaling.of(5) == ENCODERS["mobilenet_v2"].scaling


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", BY_FAMILY)
def test_a_saved_network_takes_uint8_pictures_of_its_bands_and_each_of_them_counts(
    name, channels, rng, tmp_path
):
    network = assemble(given(name), built(given(name), channels), model_params(name), 3, channels)
    save_model(network, tmp_path / "model.keras", {})
    network = keras.models.load_model(tmp_path / "model.keras")
    assert (network.input_shape, network.inputs[0].dtype) == ((None, *SIZE, channels), "uint8")
    pictures = rng.integers(0, 256, (1, *SIZE, channels), np.uint8)
    logits = network(pictures)
    assert logits.shape == (1, *SIZE, 3)
    for band in range(channels):
        changed = pictures.copy()
        changed[..., band] = 255 - changed[..., band]
        assert float(ops.max(ops.abs(network(changed) - logits))) > 0
