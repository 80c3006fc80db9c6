"""What TensorFlow trains on a CPU in place of the saved network: the same, in fewer operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import FAMILIES, decoder, some_quick
from keras import layers

from segpipe.model.backbone import backbone, set_trainable, tap
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet
from segpipe.train.fusion import fused

MOBILENET = ENCODERS["mobilenet_v2"]


def build(rng, name, trainable=True, pretrained=True, family="mobilenet_v2", taps=3, spread=0.5):
    """A U-Net on some of an encoder's outputs, whose BatchNorm has seen something, with biases."""
    keras.utils.set_random_seed(0)
    alpha = 0.35 if ENCODERS[family].alpha else 1.0
    encoder = tap(backbone(family, (64, 96), alpha), ENCODERS[family].layers[:taps])
    set_trainable(encoder, trainable, pretrained)
    for layer in encoder.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0
    filters = [16, 12, 8, 4][: taps - (ENCODERS[family].finest == 2)]
    network = unet(encoder, ENCODERS[family].scaling, decoder(name, filters), 3)
    for variable in network.weights:
        if variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(rng.uniform(1 - spread, 1 + spread, variable.shape))
        elif variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(rng.normal(0, spread / 5, variable.shape))
    return network


def step(model, network, images, direction):
    """Logits in training, gradients of their scalar product with a direction, the weights with the
    statistics that it moved, and the logits of inference later."""
    before = network.get_weights()
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(logits * direction)
    gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    moved, after = network.get_weights(), model(images, training=False)
    network.set_weights(before)
    return {
        "logits": [logits.numpy()],
        "gradients": [gradient.numpy() for gradient in gradients],
        "weights": moved,
        "later": [after.numpy()],
    }


def assert_close(ours, theirs, tolerance):
    """Each array, relative to its own largest value and a hundredth of the largest of all."""
    largest = [np.abs(array).max() for array in theirs]
    for one, other, scale in zip(ours, theirs, largest, strict=True):
        assert np.abs(one - other).max() <= tolerance * (scale + max(largest) / 100)


def assert_same(network, rng, of_gradients=0.01):
    """Gradients differ where a last digit decides on which side of a kink ReLU is. One of four draws of
    images has to have no such place."""
    for left in (3, 2, 1, 0):
        try:
            return assert_same_on_a_draw(network, rng, of_gradients)
        except AssertionError:
            if not left:
                raise


def assert_same_on_a_draw(network, rng, of_gradients):
    shape = (4, *network.input_shape[1:])
    images = rng.integers(0, 256, shape, np.uint8)
    direction = rng.normal(size=(*shape[:-1], 3)).astype(np.float32)
    ours, theirs = (step(model, network, images, direction) for model in (fused(network), network))
    for part, tolerance in (("logits", 1e-4), ("gradients", of_gradients), ("later", 1e-4)):
        assert_close(ours[part], theirs[part], tolerance)
    for one, other in zip(ours["weights"], theirs["weights"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trainable", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("name", some_quick(DECODERS, "fpn", "unet"))
def test_logits_gradients_and_statistics_are_those_of_the_network(name, trainable, rng):
    assert_same(build(rng, name, trainable), rng)


def test_moving_statistics_follow_those_of_the_batch(rng):
    """By hand: half of what they were, which is 0 and 1, and half of the batch's own."""
    image = keras.Input((2, 2, 3))
    network = keras.Model(image, layers.BatchNormalization(momentum=0.5)(image))
    batch = rng.normal(2, 3, (2, 2, 2, 3)).astype(np.float32)
    fused(network)(batch, training=True)
    _, _, mean, variance = network.get_weights()
    np.testing.assert_allclose(mean, batch.mean((0, 1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(variance, (1 + batch.var((0, 1, 2))) / 2, rtol=1e-5)


def test_an_encoder_that_learns_its_own_statistics_computes_the_same(rng):
    assert_same(build(rng, "fpn", pretrained=False), rng, of_gradients=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_encoders_computes_the_same(family, rng):
    # With statistics far from their defaults the deepest blow the last digit of a weight up, too.
    spread = 0.2 if family.startswith("efficientnet_v2") else 0.5
    network = build(rng, "fpn", family=family, taps=len(ENCODERS[family].layers), spread=spread)
    assert_same(network, rng, of_gradients=0.05)


def test_what_is_trained_are_the_variables_of_the_network_in_its_order(rng):
    network = build(rng, "pix2pix")
    ours = fused(network)
    for kind in ("weights", "trainable_variables"):
        pairs = zip(getattr(ours, kind), getattr(network, kind), strict=True)
        assert all(one is other for one, other in pairs)


def test_a_frozen_encoder_that_is_trained_later_is_normalized_by_its_batches_then(rng):
    network = build(rng, "pix2pix", trainable=False, pretrained=False)
    ours = fused(network)
    set_trainable(network.get_layer("encoder"), True, pretrained=False)
    images = rng.integers(0, 256, (4, 64, 96, 3), np.uint8)
    logits = [[model(images, training=True).numpy()] for model in (ours, network)]
    assert_close(*logits, 1e-4)


@pytest.mark.parametrize("name", ["pix2pix", "unet"])
def test_no_gradient_is_computed_for_skip_connections_of_a_frozen_encoder(name, rng):
    """Each convolution needs one for its input but the first and those of skip connections."""

    def input_gradients(model):
        @tf.function
        def train(images):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(images, training=True))
            return tape.gradient(loss, [v.value for v in network.trainable_variables])

        graph = train.get_concrete_function(tf.TensorSpec((4, 64, 96, 3), tf.uint8)).graph
        results = [tensor.op.name for tensor in graph.outputs]
        kept = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), results)
        inputs = "Conv2D" if name == "pix2pix" else "Conv2DBackpropInput"
        gradients = [node.name for node in kept.node if node.op == inputs and "gradient" in node.name]
        return sum(graph.get_operation_by_name(name).outputs[0].shape[-1] for name in gradients)

    network = build(rng, name, trainable=False)
    skips = sum(output.shape[-1] for output in network.get_layer("encoder").outputs[:-1])
    assert input_gradients(network) - input_gradients(fused(network)) == skips


def test_what_is_saved_needs_nothing_of_segpipe(rng, tmp_path):
    network = build(rng, "pix2pix")
    fused(network)
    network.save(tmp_path / "model.keras")
    kinds = {type(layer).__module__.partition(".")[0] for layer in network.layers}
    assert kinds == {"keras"}
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    images = rng.integers(0, 256, (1, 64, 96, 3), np.uint8)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), network.predict_on_batch(images))
