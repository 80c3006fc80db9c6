"""What a network costs: parameters, multiply-accumulates and memory, and the command that shows them."""

import re

import keras
import pytest
import tensorflow as tf
from helpers import decoder, make_project
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.model.backbone import backbone, set_trainable, tap
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet
from segpipe.plan import cost


def test_macs_of_a_small_network_are_those_worked_out_by_hand():
    image = keras.Input((8, 12, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)  # 4 x 6 out
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(5, padding="same")(x)
    x = keras.Sequential([layers.SeparableConv2D(8, 3, padding="same")])(x)
    x = layers.Conv2D(8, 3, padding="same", groups=2)(x)
    x = layers.Conv2DTranspose(2, 3, strides=2, padding="same")(x)  # 4 x 6 in
    x = layers.Dense(5)(x)  # at each of 8 x 12 positions
    by_hand = 24 * 27 * 4 + 24 * 25 * 4 + 24 * (9 * 4 + 4 * 8) + 24 * 9 * 4 * 8 + 24 * 9 * 8 * 2
    assert cost.macs(keras.Model(image, x)) == by_hand + 96 * 2 * 5


def test_macs_of_attention_are_those_worked_out_by_hand():
    """Of 16 queries and 4 keys, with 2 heads of 4 channels."""
    queries, keys = keras.Input((16, 8)), keras.Input((4, 8))
    attended = keras.layers.MultiHeadAttention(2, 4)(queries, keys)
    by_hand = 16 * 8 * 8 * 2 + 4 * 8 * 8 * 2 + 16 * 4 * 8 * 2
    assert cost.macs(keras.Model([queries, keys], attended)) == by_hand


MULTIPLYING = {"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2"}


def profiled_macs(network):
    """By TensorFlow's profiler, which counts a multiplication and an addition as two operations."""
    spec = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in network.inputs]
    graph = tf.function(lambda x: network(x, training=False)).get_concrete_function(*spec)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    constants = convert_variables_to_constants_v2(graph).graph.as_graph_def()
    with tf.Graph().as_default() as frozen:
        tf.graph_util.import_graph_def(constants, name="")
        found = tf.compat.v1.profiler.profile(frozen, cmd="op", options={**options, "output": "none"})
    total, node = 0, found
    while node.children:
        node = node.children[0]
        total += node.float_ops if node.name in MULTIPLYING else 0
    return total / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DECODERS if name != "aspp"])
def test_macs_of_a_whole_network_are_those_of_tensorflow_s_profiler(name):
    """TensorFlow computes dilated depthwise convolutions, as `aspp` has, on a larger map."""
    family = ENCODERS["mobilenet_v3_small"]
    encoder = tap(backbone("mobilenet_v3_small", (64, 96)), family.layers)
    network = unet(encoder, family.scaling, decoder(name, [32, 16, 8, 8]), 5)
    assert cost.macs(network) == profiled_macs(network)
    assert cost.macs(network) == sum(part.macs for part in cost.parts(network))


PUBLISHED = {
    "mobilenet_v2": 300e6,  # https://arxiv.org/abs/1801.04381, table 4
    "mobilenet_v3_large": 217e6,  # Keras' own docstring
    "efficientnet_lite0": 385e6,  # https://github.com/d-li14/efficientnet-lite.pytorch
    "densenet121": 2.83e9,  # torchvision
    "convnext_tiny": 4.46e9,  # torchvision
}


@pytest.mark.parametrize(
    "name",
    [n if n.startswith("mobilenet") else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED],
)
def test_macs_of_encoders_are_the_published_ones(name):
    """At 224 px, classifiers included there, which take 1 or 2 million."""
    assert cost.macs(backbone(name, (224, 224))) == pytest.approx(PUBLISHED[name], rel=0.02)


@pytest.fixture(scope="module")
def small():
    """MobileNetV2 up to stride 4 at 32 x 64 px, width 0.35, frozen, with one level of the decoder."""
    family = ENCODERS["mobilenet_v2"]
    encoder = tap(backbone("mobilenet_v2", (32, 64), 0.35), family.layers[:2])
    set_trainable(encoder, trainable=False, pretrained=True)
    return unet(encoder, family.scaling, decoder("pix2pix", [8]), 3)


def test_parts_are_the_encoder_the_levels_and_the_logits(small):
    parts = cost.parts(small)
    shapes = [(part.name, part.size, part.channels) for part in parts]
    assert shapes == [
        ("encoder", (8, 16), 48), ("decoder 1", (16, 32), 8 + 48), ("logits", (32, 64), 3),
    ]  # fmt: skip
    assert sum(part.params for part in parts) == small.count_params()
    assert parts[1].params == 9 * 48 * 8 + 4 * 8


def test_memory_is_what_the_tensors_take(small):
    """float32: 4 bytes a number. The encoder's widest layer pads 48 channels, the decoder's joins."""
    memory = cost.memory(small)
    assert memory.weights == 4 * small.count_params()
    assert memory.trained == 4 * (9 * 48 * 8 + 2 * 8 + 9 * 56 * 3 + 3)
    skips = 16 * 32 * 48 + 8 * 16 * 48
    padding, joining = (16 * 32 + 17 * 33) * 48, 16 * 32 * (8 + 48 + 56)
    image, scaled, logits = 32 * 64 * 3 / 4, 32 * 64 * 3, 32 * 64 * 3
    level = 3 * 16 * 32 * 8 + 16 * 32 * 56
    assert memory.kept == 4 * (image + scaled + level + logits + skips + padding)
    assert memory.training(7) == 7 * memory.kept + memory.weights + 3 * memory.trained
    assert memory.inference(7) == 7 * memory.widest + memory.weights
    assert memory.widest == 4 * (skips + joining)


def test_training_the_encoder_takes_more_memory(small):
    frozen = cost.memory(small)
    family = ENCODERS["mobilenet_v2"]
    encoder = tap(backbone("mobilenet_v2", (32, 64), 0.35), family.layers[:2])
    trained = cost.memory(unet(encoder, family.scaling, decoder("pix2pix", [8]), 3))
    assert trained.kept > frozen.kept
    assert trained.trained > frozen.trained
    assert trained.widest == frozen.widest


@pytest.fixture
def project(tmp_path, monkeypatch):
    path = make_project(tmp_path / "project", **{"data.image_size": [32, 64]})
    monkeypatch.chdir(path)
    return path


def test_segpipe_model_prints_parts_totals_and_memory(project):
    result = CliRunner().invoke(app, ["model"])
    assert result.exit_code == 0, result.output
    for row in (
        r"encoder +│ +8 x 16 x 48 │ +4 │",
        r"decoder 1 +│ +16 x 32 x 56 │ +2 │ +3,488 │ +0\.4 ",
        r"logits +│ +32 x 64 x 3 │ +1 │ +1,515 │",
        r"total ",
        r"trainable params: [\d,]+; frozen: [\d,]+\n",
        r"memory for training in batches of 4: \d\.\d\d GiB",
        r"memory for inference in batches of 32: \d\.\d\d GiB",
    ):
        assert re.search(row, result.output), (row, result.output)
    assert (
        "mobilenet_v2 with the decoder pix2pix, 3 classes, 32 x 64 px (height x width)" in result.output
    )
    assert not (project / "data/encoder").exists()


def test_segpipe_model_lists_layers_even_where_the_params_name_wrong_ones(project):
    changed = (project / "params.yaml").read_text().replace("block_3_expand_relu", "block_3_expand_rel")
    (project / "params.yaml").write_text(changed)
    message = str(CliRunner().invoke(app, ["model"]).exception)
    assert (
        "model.encoder.layers: block_3_expand_rel does not exist; did you mean block_3_expand_relu?"
        in message
    )
    result = CliRunner().invoke(app, ["model", "--layers"])
    assert re.search(r"block_1_expand_relu \* +│ +2 │ +16 x 32 x 48", result.output)
    assert re.search(r"block_3_expand_relu +│ +4 │", result.output)


def test_the_decoder_costs_what_the_notes_say_it_does():
    """494 million at 128 px for the committed params, 91 million the encoder, worked out before."""
    family = ENCODERS["mobilenet_v2"]
    encoder = tap(backbone("mobilenet_v2", (128, 128)), family.layers)
    params = decoder("pix2pix", [512, 256, 128, 64])
    inner, *rest = cost.parts(unet(encoder, family.scaling, params, 3))
    assert round(inner.macs / 1e6) == 91
    assert round(sum(part.macs for part in rest) / 1e6) == 494
