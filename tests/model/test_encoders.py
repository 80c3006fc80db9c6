"""Every encoder: layers and strides, what it is fed, what stays frozen, weights from files, training."""

import functools
import re

import keras
import numpy as np
import pytest
import yaml
from helpers import (
    FAMILIES,
    ROOT,
    decoder,
    error_line,
    make_project,
    plain_params,
    run_stage,
    some_quick,
)
from keras import applications, layers, ops

from segpipe.common.errors import UserError
from segpipe.model.backbone import backbone, set_trainable, strides, tap
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.params import EncoderParams, ModelParams
from segpipe.model.pretrained import Backbone, fetch_backbone
from segpipe.model.unet import assemble
from segpipe.train.losses import cross_entropy
from segpipe.train.saving import save_model

PARAMS: ModelParams = plain_params().model
SIZE = (64, 96)


@functools.cache
def untouched(name):
    """A backbone that several tests look at, and none changes."""
    return backbone(name, SIZE)


def images(rng, count=2):
    return rng.integers(0, 256, (count, *SIZE, 3), np.uint8)


def with_encoder(**changes):
    return ModelParams.model_validate(
        {
            "encoder": {**PARAMS.encoder.model_dump(), "alpha": 1.0, **changes},
            "decoder": decoder("light", [8, 8, 8, 8]),
            "init": "none",
        }
    )


@pytest.mark.parametrize("name", some_quick(ENCODERS, "mobilenet_v2", "convnext_tiny", "mit_b0"))
def test_the_default_layers_have_strides_up_to_32_on_a_size_that_is_not_square(name):
    """2, 4, 8, 16, 32; ConvNeXt has nothing of stride 2. Outputs are exact: 64 x 96 px become 2 x 3."""
    encoder = tap(untouched(name), ENCODERS[name].layers)
    expected = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)][ENCODERS[name].finest == 4 :]
    assert [output.shape[1:3] for output in encoder.outputs] == expected


@pytest.mark.parametrize("name", some_quick(ENCODERS, "mobilenet_v3_small"))
def test_the_default_layers_have_strides_up_to_32_on_a_square(name):
    encoder = tap(backbone(name, (96, 96)), ENCODERS[name].layers)
    expected = [48, 24, 12, 6, 3][ENCODERS[name].finest == 4 :]
    assert [output.shape[1:3] for output in encoder.outputs] == [(edge, edge) for edge in expected]


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_the_default_layers_are_there_at_any_width(name):
    assert len(tap(backbone(name, SIZE, 0.35), ENCODERS[name].layers).outputs) == 5


def test_names_of_layers_do_not_depend_on_what_else_was_built():
    """Keras would number ReLU layers and sums on: `re_lu_15` here, `re_lu_31` there."""
    first, second = (
        [operation.name for operation in backbone("mobilenet_v3_small", SIZE, 0.35).operations]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("name", some_quick(ENCODERS, "mobilenet_v2", "convnext_tiny", "mit_b0"))
def test_names_of_layers_differ_within_an_encoder(name):
    names = [operation.name for operation in untouched(name).operations]
    assert len(set(names)) == len(names)


def test_an_error_about_layers_lists_what_fits_and_where_all_are_listed():
    with pytest.raises(UserError) as caught:
        tap(untouched("densenet121"), ["conv1_relu", "pool2_rel"])
    message = str(caught.value)
    assert "pool2_rel does not exist; did you mean pool2_relu?" in message
    assert "expected a layer of stride 4 as number 2: " in message
    assert "`segpipe model --layers` lists all" in message
    assert len(message) < 600
    assert strides(untouched("densenet121"))["pool2_conv"] == 4
    assert "pool2_conv" in message


def test_an_encoder_without_stride_2_says_that_it_begins_with_4():
    wrong = ["convnext_tiny_stage_1_block_2_identity_add"]
    with pytest.raises(UserError, match=r"has stride 8; expected a layer of stride 4 as number 1"):
        tap(untouched("convnext_tiny"), wrong)


THEIRS = {
    "mobilenet_v2": applications.mobilenet_v2.preprocess_input,
    "resnet50_v2": applications.resnet_v2.preprocess_input,
    "densenet121": applications.densenet.preprocess_input,
    # Its authors' scaling, and that of the next; Keras has neither network.
    "efficientnet_lite0": lambda pixels: (pixels - 127) / 128,
    "mit_b0": lambda pixels: (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225),
}
"""For the others `preprocess_input` does nothing: Keras scales in the network's first layers."""


def theirs_of(name):
    """Keras' own network; ours where it has none."""
    builder = ENCODERS[name].builder
    if builder is None:
        return backbone(name, SIZE)
    return getattr(applications, builder)(input_shape=(*SIZE, 3), include_top=False, weights=None)


@pytest.mark.parametrize(
    "name", some_quick(ENCODERS, *THEIRS, "mobilenet_v3_small", "efficientnet_v2_b0", "convnext_tiny")
)
def test_scaling_inside_the_model_is_keras_own(name, rng):
    pixels = images(rng)
    network = assemble(Backbone(name, 1.0, None), backbone(name, SIZE), with_encoder(), 3)
    ours = keras.Model(network.input, network.get_layer("scale").output).predict_on_batch(pixels)
    if name in THEIRS:
        theirs = THEIRS[name](pixels.astype(np.float32))
    else:
        whole = theirs_of(name)
        seen = next(layer for layer in whole.layers if layer.weights).input
        theirs = keras.Model(whole.input, seen).predict_on_batch(pixels.astype(np.float32))
        assert abs(theirs).max() < 3
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def largest_difference(encoder, rng):
    inputs = rng.normal(size=(2, *SIZE, 3)).astype(np.float32)
    pairs = zip(encoder(inputs, training=True), encoder(inputs, training=False), strict=True)
    return max(float(ops.max(ops.abs(a - b))) for a, b in pairs)


@pytest.mark.parametrize("name", some_quick(FAMILIES, "efficientnet_v2_b0"))
def test_a_frozen_encoder_does_in_training_what_it_does_in_inference(name, rng):
    encoder = tap(backbone(name, SIZE), ENCODERS[name].layers)
    set_trainable(encoder, trainable=False, pretrained=True)
    assert largest_difference(encoder, rng) == 0


def test_a_trained_encoder_keeps_its_dropout(rng):
    encoder = tap(backbone("efficientnet_v2_b0", SIZE), ENCODERS["efficientnet_v2_b0"].layers)
    set_trainable(encoder, trainable=True, pretrained=True)
    assert largest_difference(encoder, rng) > 0


def test_an_encoder_that_fine_tuning_thaws_has_the_dropout_of_one_that_was_never_frozen():
    encoder = tap(backbone("efficientnet_v2_b0", SIZE), ENCODERS["efficientnet_v2_b0"].layers)
    dropout = [layer for layer in encoder.layers if isinstance(layer, layers.Dropout)]
    before = [layer.rate for layer in dropout]
    for trainable in (False, False, True):
        set_trainable(encoder, trainable, pretrained=True)
    assert [layer.rate for layer in dropout] == before
    assert max(before) > 0


def test_batch_norm_is_frozen_in_models_within_the_encoder_too():
    image = keras.Input((*SIZE, 3))
    inner = keras.Sequential([layers.Conv2D(4, 2, strides=2), layers.BatchNormalization(name="deep")])
    encoder = keras.Model(image, [inner(image)])
    set_trainable(encoder, trainable=True, pretrained=True)
    assert not inner.get_layer("deep").trainable
    assert inner.layers[0].trainable


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("name", some_quick(FAMILIES, "mobilenet_v3_small"))
def test_weights_come_from_a_file_of_keras_own_network(name, suffix, tmp_path):
    """As `save_weights` writes it today, and in the format of the files that Keras downloads."""
    theirs = theirs_of(name)
    path = tmp_path / f"given{suffix}"
    theirs.save_weights(path) if suffix == ".weights.h5" else theirs.save(path)
    fetched = fetch_from(path, name, tmp_path / "encoder")
    assert (tmp_path / "encoder/backbone.weights.h5").is_file()
    ours = fetched.build((96, 64)).get_weights()
    assert len(ours) == len(theirs.get_weights()) > 0
    assert all((a == b).all() for a, b in zip(ours, theirs.get_weights(), strict=True))


def fetch_from(path, name, folder):
    content = PARAMS.encoder.model_dump() | {"name": name, "weights": str(path)}
    return fetch_backbone(EncoderParams.model_validate(content), folder)


def test_weights_with_a_classifier_on_top_are_refused_in_one_line(tmp_path):
    whole = applications.MobileNetV3Small(input_shape=(*SIZE, 3), weights=None, classes=7)
    whole.save(tmp_path / "given.h5")
    with pytest.raises(UserError, match=r"do not fit mobilenet_v3_small .* without its top") as caught:
        fetch_from(tmp_path / "given.h5", "mobilenet_v3_small", tmp_path / "encoder")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_of_a_sister_are_refused_in_one_line(suffix, tmp_path):
    """B1 is as wide as B0, and a few layers deeper."""
    path = tmp_path / f"given{suffix}"
    sister = untouched("efficientnet_v2_b1")
    sister.save_weights(path) if suffix == ".weights.h5" else sister.save(path)
    with pytest.raises(UserError, match=r"do not fit efficientnet_v2_b0") as caught:
        fetch_from(path, "efficientnet_v2_b0", tmp_path / "encoder")
    assert "\n" not in str(caught.value)


def test_weights_of_another_width_are_refused_with_both_shapes(tmp_path):
    """Not as those of another Keras, of which Keras warns first."""
    backbone("mobilenet_v2", SIZE, 0.35).save_weights(tmp_path / "given.weights.h5")
    with pytest.raises(UserError, match=r"do not fit mobilenet_v2 with alpha 1\.0") as caught:
        fetch_from(tmp_path / "given.weights.h5", "mobilenet_v2", tmp_path / "encoder")
    message = str(caught.value)
    assert re.search(r"variable\.shape=\(.*\), Received: value\.shape=\(", message)
    assert "\n" not in message


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_with_the_layer(number, tmp_path):
    """Training would end in a loss of NaN, and tell to lower the learning rate."""
    network = backbone("mobilenet_v2", SIZE)
    kernel = network.get_layer("block_3_project").kernel
    kernel.assign(np.full(kernel.shape, number))
    network.save_weights(tmp_path / "given.weights.h5")
    with pytest.raises(UserError) as caught:
        fetch_from(tmp_path / "given.weights.h5", "mobilenet_v2", tmp_path / "encoder")
    assert str(caught.value) == (
        f"{tmp_path}/given.weights.h5: block_3_project/kernel holds NaN or infinity; fetch it anew"
    )
    assert not (tmp_path / "encoder").exists()


def test_a_file_of_hdf5_whose_directory_is_damaged_is_refused_in_one_line(tmp_path):
    """Names of groups lie in a heap, which begins with HEAP; HDF5 then raises a RuntimeError."""
    path = tmp_path / "given.weights.h5"
    backbone("mobilenet_v2", SIZE).save_weights(path)
    path.write_bytes(path.read_bytes().replace(b"HEAP", b"HEAT"))
    with pytest.raises(UserError, match=r"do not fit mobilenet_v2") as caught:
        fetch_from(path, "mobilenet_v2", tmp_path / "encoder")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_without_a_network_the_error_names_the_file_that_keras_wanted(tmp_path):
    changes = {"model.encoder.name": "densenet121", "model.encoder.alpha": 1.0}
    defaults = {"model.encoder.layers": "default", "model.decoder.filters": [8, 8, 8, 8]}
    weights = {"model.encoder.weights": "imagenet"}
    project = make_project(tmp_path / "project", **changes, **defaults, **weights)
    nowhere = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    message = error_line(run_stage("fetch_encoder", project, **nowhere))
    assert "the ImageNet weights could not be downloaded" in message
    assert "Fetch densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5 where there is a" in message
    assert "model.encoder.weights" in message
    assert not (project / "data/encoder").exists()


def test_a_width_that_nobody_trained_is_no_failed_download(tmp_path):
    content = PARAMS.encoder.model_dump() | {"name": "mobilenet_v3_small", "alpha": 0.5}
    with pytest.raises(UserError, match=r"^model\.encoder\.alpha: .*0\.75"):
        fetch_backbone(EncoderParams.model_validate(content), tmp_path / "encoder")


def step(network, rng):
    """Two batches of training; the losses."""
    network.compile("sgd", loss=cross_entropy, jit_compile=False)
    pixels = images(rng, 4)
    history = network.fit(pixels, pixels[..., 0] % 3, batch_size=2, verbose=0)
    return history.history["loss"]


def changed_layers(encoder, before):
    after = encoder.get_weights()
    return {
        variable.path
        for variable, old, new in zip(encoder.weights, before, after, strict=True)
        if (old != new).any()
    }


PAIRS = [
    *((name, "fpn") for name in FAMILIES),
    # Decoders differ in what they do with an encoder that has an output of stride 2, and without.
    *(
        (name, other)
        for name in ("mobilenet_v3_small", "mit_b0")
        for other in DECODERS
        if other != "fpn"
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "drawn_by"), PAIRS)
def test_every_family_of_encoders_and_every_decoder_trains_and_is_saved_whole(
    name, drawn_by, rng, tmp_path
):
    params = with_encoder(trainable=True)
    params = params.model_copy(update={"decoder": params.decoder.model_copy(update={"name": drawn_by})})
    keras.utils.set_random_seed(0)
    network = assemble(Backbone(name, 1.0, None), backbone(name, SIZE), params, 3)
    encoder = network.get_layer("encoder")
    before = encoder.get_weights()
    assert np.isfinite(step(network, rng)).all()
    first = next(v.path for v in encoder.trainable_variables)
    assert first in changed_layers(encoder, before)
    save_model(network, tmp_path / "model.keras", {})
    again = keras.models.load_model(tmp_path / "model.keras")
    pixels = images(rng)
    assert (again.predict_on_batch(pixels) == network.predict_on_batch(pixels)).all()


@pytest.mark.parametrize("name", some_quick(FAMILIES, "efficientnet_v2_b0"))
def test_nothing_of_a_frozen_encoder_changes_in_training(name, rng):
    pretrained = Backbone(name, 1.0, "some.h5")
    network = assemble(pretrained, backbone(name, SIZE), with_encoder(trainable="auto"), 3)
    encoder = network.get_layer("encoder")
    before = encoder.get_weights()
    assert np.isfinite(step(network, rng)).all()
    assert changed_layers(encoder, before) == set()


def test_params_name_every_encoder_in_their_comment():
    """The comment shortens `mobilenet_v3_small | mobilenet_v3_large` to `mobilenet_v3_small, _large`."""
    text = (ROOT / "params.yaml").read_text()
    assert yaml.safe_load(text)["model"]["encoder"]["name"] in ENCODERS
    for name in ENCODERS:
        family, _, member = name.rpartition("_")
        assert name in text or (family in text and f"_{member}" in text)
