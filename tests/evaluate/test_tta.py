"""Test-time augmentation: what the mean over several views is, and which sizes they have."""

import keras
import numpy as np
import pytest
from helpers import plain_params

from segpipe.common.errors import UserError
from segpipe.evaluate.masks import softmax
from segpipe.evaluate.params import sizes
from segpipe.evaluate.tta import at_size, augmented
from segpipe.model.decoders import DECODERS
from segpipe.model.params import EncoderParams, ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble
from segpipe.train.saving import save_model

PARAMS: ModelParams = plain_params().model
OTHERS = [name for name in DECODERS if name != "fpn"]
LN3 = np.log(3)
"""Where a pixel is white, the second of two classes has this logit: 3/4 against 1/4."""


def network(kernel, size=(32, 64)):
    """Two classes: logits 0, and `LN3` times the red (0..1) that a kernel picks, float [h, w]."""
    image = keras.Input((*size, 3), dtype="uint8")
    convolution = keras.layers.Conv2D(2, np.shape(kernel), padding="same", use_bias=False)
    logits = convolution(keras.layers.Rescaling(1 / 255)(image))
    weights = np.zeros(convolution.kernel.shape, np.float32)
    weights[:, :, 0, 1] = LN3 * np.array(kernel)
    convolution.set_weights([weights])
    return keras.Model(image, logits, name="unet")


def pixel():
    """Sees the pixel itself."""
    return network([[1.0]])


def left():
    """Sees the pixel to the left."""
    return network([[1.0, 0.0, 0.0]])


def columns(reds, size=(32, 64)):
    """An image of equal rows: red by column, the others black."""
    image = np.zeros((1, *size, 3), np.uint8)
    for column, red in reds.items():
        image[:, :, column, 0] = red
    return image


def second(logits):
    """The probability of the second class along a row in the middle, as all rows are."""
    return softmax(logits)[0, 16, :, 1]


def noise(rng, count=3, size=(32, 64)):
    return rng.integers(0, 256, (count, *size, 3), np.uint8)


def test_one_view_of_the_image_as_it_is_gives_the_networks_own_logits_bit_for_bit(rng):
    model, images = left(), noise(rng)
    found = augmented(model, False, (1.0,))(images)
    assert (found == model.predict_on_batch(images)).all()
    assert abs(found).max() > 0


def test_with_flip_probabilities_are_the_mean_of_both_views():
    """White is column 10: seen by 11, and in the mirror image by 9. (3/4 + 1/2) / 2 = 5/8."""
    image = columns({10: 255})
    expected = np.full(64, 1 / 2)
    expected[11] = 3 / 4
    np.testing.assert_allclose(second(augmented(left(), False, (1.0,))(image)), expected, atol=1e-6)
    expected[[9, 11]] = 5 / 8
    np.testing.assert_allclose(second(augmented(left(), True, (1.0,))(image)), expected, atol=1e-6)


def test_a_flip_changes_nothing_where_left_is_right(rng):
    model, images = pixel(), noise(rng)
    found = augmented(model, True, (1.0,))(images)
    np.testing.assert_allclose(softmax(found), softmax(model.predict_on_batch(images)), atol=1e-6)


def test_with_scales_probabilities_are_the_mean_over_sizes():
    """An edge at twice the size, and back.

    Bilinear at twice the size: 0, 0 | 64, 191 | 255, 255 from column 29 on, for 63.75 and 191.25. Back
    with a triangle over four columns, 1/8, 3/8, 3/8, 1/8: column 15 has 3/8 * 64 + 1/8 * 191 = 47.875,
    column 16 has 207.125, the others stay.
    """
    image = columns(dict.fromkeys(range(16, 64), 255))
    plain = np.where(np.arange(64) < 16, 0, 255.0)
    twice = plain.copy()
    twice[15:17] = 47.875, 207.125
    expected = np.mean([1 / (1 + 3 ** -(red / 255)) for red in (plain, twice)], axis=0)
    found = augmented(pixel(), False, (1.0, 2.0))(image)
    np.testing.assert_allclose(second(found), expected, atol=1e-6)


def test_at_every_scale_the_mirror_image_is_a_view_too(rng):
    """Four views, each of them worked out by one or two."""
    images = noise(rng)
    by_one = [softmax(augmented(left(), False, (scale,))(images)) for scale in (1.0, 2.0)]
    by_one += [
        softmax(augmented(left(), False, (scale,))(images[:, :, ::-1]))[:, :, ::-1]
        for scale in (1.0, 2.0)
    ]
    assert abs(by_one[0] - by_one[2]).max() > 0.1
    found = augmented(left(), True, (1.0, 2.0))(images)
    np.testing.assert_allclose(softmax(found), np.mean(by_one, axis=0), atol=1e-6)


def test_a_picture_without_contours_is_the_same_at_any_scale():
    image = columns(dict.fromkeys(range(64), 100))
    found = augmented(pixel(), True, (0.5, 1.0, 1.5, 4.0))(image)
    expected = augmented(pixel(), False, (1.0,))(image)
    np.testing.assert_allclose(softmax(found), softmax(expected), atol=1e-6)


def test_a_network_that_is_sure_gives_finite_logits(rng):
    """Every view gives a probability of 0, whose logarithm would be minus infinity."""
    model = pixel()
    model.set_weights([1e4 * weight for weight in model.get_weights()])
    found = augmented(model, True, (1.0, 2.0))(np.full((1, 32, 64, 3), 255, np.uint8))
    assert softmax(found)[..., 0].max() == 0
    np.testing.assert_allclose(found[..., 0], -1e4 * LN3, rtol=1e-4)


def test_an_image_gets_the_same_alone_and_in_a_batch(rng):
    images = noise(rng)
    predict = augmented(left(), True, (1.0, 1.5))
    together = predict(images)
    assert (together.shape, together.dtype) == ((3, 32, 64, 2), np.float32)
    for image, of_one in zip(images, together, strict=True):
        np.testing.assert_allclose(predict(image[None])[0], of_one, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "scales", "expected"),
    [
        ((128, 128), (0.75, 1.0, 1.25), [(96, 96), (128, 128), (160, 160)]),
        ((128, 128), (1.35,), [(160, 160)]),  # 172.8
        ((128, 128), (1.125,), [(160, 160)]),  # 144, as near to 128: up
        ((96, 160), (1.5,), [(160, 256)]),  # 144 and 240
        ((32, 64), (0.25, 1), [(32, 32), (32, 64)]),  # 8 and 16: at least 32
    ],
)
def test_a_scale_comes_to_the_nearest_multiple_of_32(size, scales, expected):
    assert sizes(size, scales) == expected


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ((1, 0), "a scale of 0; expected 0.25 to 4"),
        ((-1.0,), "a scale of -1; expected 0.25 to 4"),
        ((4.5,), "a scale of 4.5; expected"),
        ((float("nan"),), "a scale of nan; expected"),
        ((), "no scale; 1 is the network's own size"),
        ((1.1,), "the scale 1.1 comes to 128 x 128 px, the network's own size, because edges are"),
        ((0.9, 2.0), "the scale 0.9 comes to 128 x 128 px, the network's own size"),
        ((1.0, 1.0), "the scales 1 and 1 both come to 128 x 128 px"),
        (
            (0.5, 1.0, 1.1),
            "the scales 1 and 1.1 both come to 128 x 128 px, because edges are multiples of 32; leave",
        ),
    ],
)
def test_a_scale_that_cannot_be_meant_is_refused(scales, words):
    with pytest.raises(UserError) as error:
        sizes((128, 128), scales)
    assert str(error.value).startswith(words)


def build(encoder, decoder, size, classes=5):
    """The network of params.yaml with another encoder and decoder, small and random."""
    alpha = 0.35 if encoder == "mobilenet_v2" else 1.0
    changes = {"name": encoder, "alpha": alpha, "weights": "none"}
    encoding = EncoderParams.model_validate({**PARAMS.encoder.model_dump(), **changes})
    decoding = PARAMS.decoder.model_copy(update={"name": decoder, "filters": (16, 12, 8, 4)})
    backbone = Backbone(encoder, alpha, None)
    params = PARAMS.model_copy(update={"encoder": encoding, "decoder": decoding})
    return assemble(backbone, backbone.architecture(size), params, classes)


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ("mobilenet_v2", "fpn"),
        pytest.param("mobilenet_v3_small", "light", marks=pytest.mark.slow),  # squeezes and excites
        *(pytest.param("mobilenet_v2", name, marks=pytest.mark.slow) for name in OTHERS),
        # The same, by another layer; and networks in networks.
        pytest.param("efficientnet_v2_b0", "light", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", "light", marks=pytest.mark.slow),
    ],
)
def test_at_another_size_a_saved_network_is_what_one_built_for_that_size_would_be(
    tmp_path, rng, encoder, decoder
):
    keras.utils.set_random_seed(0)
    save_model(build(encoder, decoder, (64, 96)), tmp_path / "model.keras", {})
    loaded = keras.models.load_model(tmp_path / "model.keras")
    larger = build(encoder, decoder, (96, 160))
    larger.set_weights(loaded.get_weights())
    sized = at_size(loaded, (96, 160))
    for count in (1, 3):
        images = noise(rng, count, (96, 160))
        expected = larger.predict_on_batch(images)
        np.testing.assert_allclose(
            sized.predict_on_batch(images), expected, atol=1e-5 * abs(expected).max()
        )


def test_a_network_at_another_size_has_no_weights_of_its_own():
    model = left()
    sized = at_size(model, (64, 96))
    assert [id(weight) for weight in sized.weights] == [id(weight) for weight in model.weights]
