"""The decoders: what they are made of, what they cost, and that they train wherever a model trains."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import decoder, some_quick
from keras import layers

from segpipe.model.backbone import backbone, set_trainable, tap
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import divide_logits, unet
from segpipe.plan import cost
from segpipe.train.losses import cross_entropy

MOBILENET = ENCODERS["mobilenet_v2"]


def build(
    name, size=(64, 96), alpha=0.35, filters=(16, 12, 8, 4), classes=3, taps=MOBILENET.layers, **changes
):
    encoder = tap(backbone("mobilenet_v2", size, alpha), taps)
    return unet(encoder, MOBILENET.scaling, decoder(name, filters, **changes), classes)


def decoder_macs(network):
    return sum(part.macs for part in cost.parts(network) if part.name != "encoder")


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "aspp"))
def test_logits_have_the_size_of_the_image_and_are_float32_under_mixed_precision(
    name, normalization, rng
):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = build(name, normalization=normalization)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    logits = network.predict_on_batch(rng.integers(0, 256, (2, 64, 96, 3), np.uint8))
    assert logits.shape == (2, 64, 96, 3)
    assert logits.dtype == np.float32
    within = [layer for layer in network.layers if isinstance(layer, layers.ReLU)]
    assert {layer.compute_dtype for layer in within} == {"bfloat16"}
    last = [layer for layer in network.layers if layer.name.startswith("logits")]
    assert {layer.compute_dtype for layer in last} == {"float32"}


@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "aspp"))
def test_logits_are_divided_in_the_weights_and_every_pixel_keeps_its_class(name, rng):
    network = build(name)
    network.set_weights([w + 0.1 * rng.standard_normal(w.shape) ** 2 for w in network.get_weights()])
    images = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
    before, layers_before = network.predict_on_batch(images), len(network.layers)
    divide_logits(network, 2.0)  # exact in floats
    assert (network.predict_on_batch(images) == before / 2).all()
    divide_logits(network, 0.7)
    after = network.predict_on_batch(images)
    assert after == pytest.approx(before / 1.4, rel=1e-5, abs=1e-5 * float(np.abs(before).max()))
    assert (after.argmax(-1) == before.argmax(-1)).all()
    assert len(network.layers) == layers_before


def test_a_level_of_the_unet_is_an_up_convolution_and_two_convolutions():
    """By hand, from 144 to 16 channels with a skip connection of 96: and BatchNorm's vectors."""
    network = build("unet", alpha=1.0, filters=[16], taps=MOBILENET.layers[:2])
    level = cost.parts(network)[1]
    up = 2 * 2 * 144 * 16 + 16
    first, second = 9 * (16 + 96) * 16, 9 * 16 * 16
    assert level.params == up + first + second + 2 * 4 * 16
    assert (level.name, level.size, level.channels) == ("decoder 1", (32, 48), 16)
    positions = 32 * 48
    assert level.macs == positions // 4 * 2 * 2 * 144 * 16 + positions * (first + second)


def test_a_level_of_light_is_a_pointwise_and_a_depthwise_convolution():
    network = build("light", alpha=1.0, filters=[16], taps=MOBILENET.layers[:2])
    level = cost.parts(network)[1]
    assert level.params == 144 * 16 + 9 * 16 + 4 * 16
    positions = 32 * 48
    assert level.macs == positions // 4 * 144 * 16 + positions * 9 * 16


def test_a_level_of_fpn_sums_two_convolutions_of_1_x_1_and_convolves_the_sum():
    network = build("fpn", alpha=1.0, filters=[16], taps=MOBILENET.layers[:2])
    level = cost.parts(network)[1]
    reduce, lateral, smooth = 144 * 16, 96 * 16, 9 * 16 * 16
    assert level.params == reduce + lateral + smooth + 3 * 4 * 16
    positions = 32 * 48
    assert level.macs == positions // 4 * reduce + positions * (lateral + smooth)
    logits = cost.parts(network)[2]
    assert (logits.params, logits.macs) == (9 * 16 * 3 + 3, positions * 9 * 16 * 3)


def test_a_level_of_fpn_as_wide_as_the_one_before_takes_it_as_it_is():
    names = [layer.name for layer in build("fpn", filters=[16, 16, 8, 8]).layers]
    assert [n for n in names if n.endswith("conv_reduce")] == ["up_1_conv_reduce", "up_3_conv_reduce"]


def test_aspp_is_a_pyramid_on_stride_16_and_a_skip_connection_of_stride_4():
    """By hand, for 576 channels of stride 16 and 320 of stride 32, and the 144 of stride 4."""
    join, pyramid, level, logits = cost.parts(build("aspp", alpha=1.0, filters=[16] * 4))[1:]
    assert (join.size, join.channels, join.params) == ((4, 6), 576 + 320, 0)
    assert (pyramid.name, pyramid.size, pyramid.channels) == ("context", (4, 6), 16)
    branches = 4 * 896 * 16 + 3 * 9 * 896  # a 1 x 1, and a depthwise and a 1 x 1 at each of three rates
    assert pyramid.macs == 24 * (branches + 4 * 16 * 16) + 896 * 16 + 16 * 16
    assert (level.size, level.channels) == ((16, 24), 16)
    assert level.macs == 16 * 24 * (144 * 48 + 9 * (48 + 16) * 16 + 9 * 16 * 16)
    assert (logits.size, logits.macs) == ((64, 96), 16 * 24 * 9 * 16 * 3)


def test_the_rates_of_aspp_see_more_than_padding_at_128_px():
    network = build("aspp", size=(128, 128))
    far = [layer for layer in network.layers if isinstance(layer, layers.DepthwiseConv2D)]
    assert {layer.input.shape[1:3] for layer in far} == {(8, 8)}
    assert max(layer.dilation_rate[0] for layer in far) < 8


def test_aspp_costs_less_than_fpn():
    settings = {"size": (128, 128), "alpha": 1.0, "filters": [64] * 4}
    assert decoder_macs(build("aspp", **settings)) < decoder_macs(build("fpn", **settings))


def seen(name, width=896):
    """How many columns of a picture a pixel in its middle depends on, where nothing cancels out.

    All kernels are positive, and the picture is so dark that no ReLU6 is at its end.
    """
    network = build(name, size=(32, width), filters=[8] * 4)
    for variable in network.weights:
        if variable.path.endswith("kernel"):
            variable.assign(np.full(variable.shape, 1 if "depthwise" in variable.path else 0.01))
    inner = keras.Model(network.get_layer("scale").output, network.output)
    picture = tf.fill((1, 32, width, 3), 1e-20)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        logit = inner(picture, training=False)[0, 16, width // 2, 0]
    return np.count_nonzero(tape.gradient(logit, picture).numpy().any((0, 1, 3)))


@pytest.mark.slow
def test_aspp_looks_farther_than_fpn():
    """MobileNetV2's last output sees 491 px, FPN 96 more, and an average of the picture all of it."""
    assert [seen(name) for name in ("fpn", "aspp")] == [587, 896]


def test_image_pooling_learns_from_a_batch_of_one_image(rng):
    """BatchNorm of the pooled features, or right after their sum, would leave it without a gradient."""
    keras.utils.set_random_seed(0)
    network = build("aspp")
    project = network.get_layer("context_image_project").kernel
    project.assign(rng.normal(0, 0.3, project.shape))
    pixels = rng.integers(0, 256, (1, 64, 96, 3), np.uint8)
    first, point = (network.get_layer(f"context_{conv}").kernel for conv in ("image_conv", "project"))
    with tf.GradientTape() as tape:
        loss = cross_entropy(pixels[..., 0] % 3, network(pixels, training=True))
    gradients = tape.gradient(loss, [first.value, project.value, point.value])
    *pooled, of_rest = (float(tf.norm(gradient)) for gradient in gradients)
    assert min(pooled) > 0.01 * of_rest


@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "aspp"))
def test_the_smallest_picture_trains_alone_in_a_batch(name, rng):
    """At 32 px the encoder's last output is 1 x 1. A small encoder compiles quickly."""
    keras.utils.set_random_seed(0)
    outputs = [keras.Input((32, 32, 3))]
    for _ in range(5):
        outputs.append(layers.Conv2D(8, 3, 2, padding="same", activation="relu")(outputs[-1]))
    encoder = keras.Model(outputs[0], outputs[1:], name="encoder")
    network = unet(encoder, MOBILENET.scaling, decoder(name, [8] * 4), 3)
    network.compile("adam", loss=cross_entropy, jit_compile=False)
    pixels = rng.integers(0, 256, (3, 1, 32, 32, 3), np.uint8)
    losses = [network.train_on_batch(some, some[..., 0] % 3) for some in pixels]
    logits = network.predict_on_batch(pixels[:2, 0])
    assert np.isfinite(losses).all()
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0


@pytest.mark.parametrize("name", DECODERS)
def test_the_momentum_is_that_of_every_batch_norm_of_the_decoder(name):
    found = build(name, batch_norm_momentum=0.75).layers
    norms = [layer for layer in found if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) >= 4
    assert {norm.momentum for norm in norms} == {0.75}


def test_there_are_as_many_groups_as_divide_the_channels_up_to_32_of_two_channels_or_more():
    network = build("pix2pix", filters=[96, 40, 34, 7], normalization="group")
    assert [network.get_layer(f"up_{n}_norm").groups for n in (1, 2, 3, 4)] == [32, 20, 17, 1]


@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "aspp"))
def test_with_group_normalization_training_sees_what_inference_sees(name, rng):
    """And so whatever else is in the batch. With BatchNorm it does not."""
    pixels = rng.integers(0, 256, (4, 64, 96, 3), np.uint8)
    for normalization, equal in (("group", True), ("batch", False)):
        network = build(name, filters=[16, 16, 8, 8], normalization=normalization)
        set_trainable(network.get_layer("encoder"), trainable=False, pretrained=True)
        training, inference = network(pixels, training=True), network(pixels[:1], training=False)
        assert np.allclose(training[:1], inference, rtol=1e-4, atol=1e-5) == equal


@pytest.mark.parametrize(
    ("filters", "classes"), [((512, 256, 128, 64), 3), ((512, 256, 128, 64), 150), ((64, 32, 16, 8), 2)]
)
def test_light_costs_at_most_a_quarter_of_pix2pix(filters, classes):
    settings = {"alpha": 1.0, "filters": filters, "classes": classes}
    light, pix2pix = (decoder_macs(build(name, **settings)) for name in ("light", "pix2pix"))
    assert light <= pix2pix / 4


def test_an_encoder_without_stride_2_leaves_the_last_level_without_a_skip_connection():
    family = ENCODERS["convnext_tiny"]
    encoder = tap(backbone("convnext_tiny", (64, 96)), family.layers)
    for name in DECODERS:
        network = unet(encoder, family.scaling, decoder(name, [8, 8, 8, 4]), 3)
        assert network.output_shape == (None, 64, 96, 3)
        joins = [x.name for x in network.layers if isinstance(x, layers.Concatenate | layers.Add)]
        levels = [re.sub(r"\D", "", join) for join in joins if not join.startswith("context")]
        assert levels == (["1", "2"] if name == "aspp" else ["1", "2", "3"])


@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "aspp"))
def test_xla_trains_it_as_tensorflow_does(name, rng):
    """`UpSampling2D` has had no gradient under XLA. The encoder is small, because XLA takes its time."""
    pixels = rng.integers(0, 256, (2, 32, 64, 3), np.uint8)
    losses = {}
    for compiled in (False, True):
        keras.utils.set_random_seed(0)
        image = keras.Input((32, 64, 3))
        fine = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
        coarse = keras.layers.Conv2D(8, 3, strides=2, padding="same")(fine)
        encoder = keras.Model(image, [fine, coarse], name="encoder")
        network = unet(encoder, MOBILENET.scaling, decoder(name, [4]), 3)
        network.compile("sgd", loss=cross_entropy, jit_compile=compiled)
        losses[compiled] = [network.train_on_batch(pixels, pixels[..., 0] % 3) for _ in range(3)]
    assert np.isfinite(losses[True]).all()
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)
