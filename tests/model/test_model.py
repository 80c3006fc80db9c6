"""The network: shapes, scaling inside, what is frozen, and errors about layers."""

import keras
import numpy as np
import pytest
from helpers import decoder, plain_params
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.evaluate import metrics
from segpipe.model.backbone import backbone, set_trainable, tap
from segpipe.model.encoders import ENCODERS
from segpipe.model.params import EncoderParams, ModelParams
from segpipe.model.pretrained import fetch_backbone
from segpipe.model.unet import unet
from segpipe.train.losses import cross_entropy
from segpipe.train.scores import RunningScores

PARAMS: ModelParams = plain_params().model
LAYERS, SCALING = ENCODERS["mobilenet_v2"].layers, ENCODERS["mobilenet_v2"].scaling


def mobilenet(size, alpha):
    return backbone("mobilenet_v2", size, alpha)


def build(size=(32, 32), alpha=0.35, layers=LAYERS, filters=(16, 12, 8, 4), classes=3):
    return unet(tap(mobilenet(size, alpha), layers), SCALING, decoder("pix2pix", filters), classes)


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (160, 160)])
def test_uint8_images_of_any_multiple_of_32_become_float32_logits_of_their_size(size, rng):
    images = rng.integers(0, 256, (2, *size, 3), np.uint8)
    logits = build(size).predict_on_batch(images)
    assert logits.shape == (2, *size, 3)
    assert logits.dtype == np.float32


def test_the_recipe_tutorial_makes_the_tutorials_network():
    encoder = tap(mobilenet((128, 128), 1.0), LAYERS)
    assert [output.shape[1:] for output in encoder.outputs] == [
        (64, 64, 96), (32, 32, 144), (16, 16, 192), (8, 8, 576), (4, 4, 320),
    ]  # fmt: skip
    network = unet(encoder, SCALING, PARAMS.decoder, 3)
    widths = [network.get_layer(f"up_{step}_conv").filters for step in (1, 2, 3, 4)]
    assert widths == [512, 256, 128, 64]


def test_scaling_to_minus_one_to_one_is_inside_the_model():
    network = build()
    scale = keras.Model(network.input, network.get_layer("scale").output)
    values = np.array([0, 127, 255], np.uint8).reshape(1, 1, 1, 3)
    scaled = scale.predict_on_batch(np.broadcast_to(values, (1, 32, 32, 3)))
    np.testing.assert_allclose(scaled[0, 0, 0], [-1, 127 / 127.5 - 1, 1], atol=1e-6)


def test_logits_are_float32_under_mixed_precision(rng):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = build()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert network.get_layer("up_1_conv").compute_dtype == "bfloat16"
    assert network.get_layer("logits").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("trainable", "pretrained", "moving", "trained"),
    [
        (False, True, False, False),
        (True, True, False, True),
        (True, False, True, True),
        (False, False, False, False),
    ],
)
def test_what_training_changes_in_the_encoder(trainable, pretrained, moving, trained, rng):
    """In Keras 3, `fit` updates BatchNorm's moving statistics unless each layer is frozen by itself."""
    keras.utils.set_random_seed(0)
    encoder = tap(mobilenet((32, 32), 0.35), LAYERS[:2])
    set_trainable(encoder, trainable, pretrained)
    network = unet(encoder, SCALING, decoder("pix2pix", [8]), 3)
    before = {w.path: w.numpy().copy() for w in encoder.weights}
    network.compile("adam", loss=cross_entropy)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    network.fit(images, images[..., 0] % 3, epochs=2, verbose=0)
    changed = [path for path, value in before.items() if (value != find(encoder, path)).any()]
    assert any("moving" in path for path in changed) == moving
    assert any("kernel" in path for path in changed) == trained
    assert any("gamma" in path for path in changed) == (trained and not pretrained)


def find(model, path):
    return next(w.numpy() for w in model.weights if w.path == path)


def test_an_unknown_layer_is_named_with_the_layers_that_fit():
    with pytest.raises(
        UserError, match=r"block_99 does not exist.*; expected a layer of stride 4"
    ) as error:
        tap(mobilenet((64, 64), 0.35), ["block_1_expand_relu", "block_99"])
    assert "block_3_expand_relu" in str(error.value)
    assert "block_1_expand_relu," not in str(error.value)


def test_a_layer_of_the_wrong_stride_is_named():
    with pytest.raises(
        UserError, match=r"block_6_expand_relu has stride 8; expected a layer of stride 4"
    ):
        tap(mobilenet((64, 64), 0.35), ["block_1_expand_relu", "block_6_expand_relu"])


def test_other_layers_make_another_network():
    encoder = tap(mobilenet((64, 64), 0.35), ["Conv1_relu", "block_2_add"])
    assert [output.shape[1] for output in encoder.outputs] == [32, 16]


def test_cross_entropy_is_the_mean_over_counted_pixels():
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]]]], np.float32))
    mask = np.array([[[0, 2, 255]]], np.uint8)
    expected = -(np.log(0.5) + np.log(0.8)) / 2
    assert float(cross_entropy(mask, logits)) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_nothing_but_ignored_pixels_is_zero():
    assert float(cross_entropy(np.full((1, 2, 2), 255), np.zeros((1, 2, 2, 3), np.float32))) == 0


def test_running_scores_are_those_of_the_summed_confusion_matrix(rng):

    running, total = RunningScores(4), np.zeros((4, 4), np.int64)
    for _ in range(3):
        mask = rng.choice([0, 1, 2, 255], (2, 5, 5)).astype(np.uint8)  # class 3 is absent
        logits = rng.normal(size=(2, 5, 5, 4)).astype(np.float32)
        logits[..., 3] = -9
        running.update_state(mask, logits)
        total += metrics.confusion_matrix(mask, logits.argmax(-1), 4)
    result = {name: float(value) for name, value in running.result().items()}
    assert result == {
        "accuracy": pytest.approx(metrics.scores(metrics.counts(total))["pixel_accuracy"].item()),
        "mean_iou": pytest.approx(metrics.mean_present(metrics.iou(total))),
    }
    running.reset_state()
    assert float(running.result()["mean_iou"]) == 0


def test_imagenet_weights_from_a_file_know_a_dog(encoder_weights, pet_dir, tmp_path):
    """Features of pretrained weights tell breeds apart; those of random weights do not."""

    names = ["american_bulldog_10", "american_bulldog_100", "Abyssinian_1", "Abyssinian_10"]
    images = np.stack(
        [
            np.asarray(Image.open(pet_dir / f"images/{n}.jpg").convert("RGB").resize((224, 224)))
            for n in names
        ]
    )
    params = EncoderParams.model_validate(
        {**PARAMS.encoder.model_dump(), "weights": str(encoder_weights)}
    )
    network = fetch_backbone(params, tmp_path / "encoder").build((224, 224))
    features = network.predict_on_batch(images / 127.5 - 1).mean((1, 2))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    alike = features @ features.T
    assert min(alike[0, 1], alike[2, 3]) > max(alike[0, 2], alike[0, 3], alike[1, 2], alike[1, 3])
