"""Deep supervision: what training minimises with it, and what it leaves as it was."""

import keras
import numpy as np
import pytest
from helpers import decoder, plain_params

from segpipe.common.classes import IGNORE
from segpipe.common.errors import UserError
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import FAMILIES
from segpipe.model.unet import unet
from segpipe.train.losses import cross_entropy, segmentation_loss
from segpipe.train.saving import save_model
from segpipe.train.scores import RunningScores
from segpipe.train.supervision import DeeplySupervised, at_stride

SIZE, FILTERS = (32, 48), [6, 5, 4]


def build(name="pix2pix", filters=FILTERS):
    """A U-Net on an encoder of as many convolutions as it needs, of stride 2 to 16."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((*SIZE, 3), name="image")
    outputs = []
    for level in range(len(filters) + 1):
        x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name=f"conv_{level}")(x)
        outputs.append(x)
    encoder = keras.Model(image, outputs, name="encoder")
    return unet(encoder, FAMILIES["mobilenet_v2"].scaling, decoder(name, filters), 3)


def supervise(network, weight=0.4):
    model = DeeplySupervised(network, weight)
    loss = segmentation_loss(plain_params().train.loss)
    model.compile("sgd", loss=loss, metrics=[RunningScores(3)], jit_compile=False)
    return model


@pytest.fixture
def batch(rng):
    """Images, and masks of which a fifth is ignored."""
    images = rng.integers(0, 256, (4, *SIZE, 3), np.uint8)
    return images, rng.choice([0, 0, 1, 2, IGNORE], (4, *SIZE)).astype(np.uint8)


@pytest.mark.parametrize("name", DECODERS)
def test_every_coarser_level_has_float32_logits_of_its_size_under_mixed_precision(name, batch):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = DeeplySupervised(build(name), 0.4)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    logits = model(batch[0], training=True)
    assert [tuple(one.shape) for one in logits] == [(4, 32, 48, 3), (4, 4, 6, 3), (4, 8, 12, 3)]
    assert {keras.backend.standardize_dtype(one.dtype) for one in logits} == {"float32"}


def test_training_minimises_the_loss_and_weight_times_the_mean_of_the_levels(batch):
    """The first level has stride 8, the second stride 4."""
    images, mask = batch
    model = supervise(build(), weight=0.4)
    logits, first, second = model(images, training=True)
    levels = [cross_entropy(mask[:, 4::8, 4::8], first), cross_entropy(mask[:, 2::4, 2::4], second)]
    expected = float(cross_entropy(mask, logits)) + 0.4 * np.mean([float(loss) for loss in levels])
    assert model.train_on_batch(images, mask, return_dict=True)["loss"] == pytest.approx(expected)


def test_metrics_in_training_are_those_of_the_logits_alone(batch):
    images, mask = batch
    model, scores = supervise(build()), RunningScores(3)
    scores.update_state(mask, model(images, training=True)[0])
    found = model.train_on_batch(images, mask, return_dict=True)
    expected = {name: pytest.approx(float(value)) for name, value in scores.result().items()}
    assert {"loss": found["loss"], **expected} == found


def test_validation_and_prediction_are_those_of_the_network(batch):
    model = supervise(build())
    history = model.fit(*batch, batch_size=2, verbose=0, validation_data=batch).history
    network = model.network
    network.compile(loss=cross_entropy, metrics=[RunningScores(3)], jit_compile=False)
    expected = network.evaluate(*batch, batch_size=2, verbose=0, return_dict=True)
    assert {f"val_{name}": [pytest.approx(value)] for name, value in expected.items()} == {
        name: value for name, value in history.items() if name.startswith("val_")
    }
    assert (model.predict_on_batch(batch[0]) == network.predict_on_batch(batch[0])).all()


def test_a_step_trains_the_heads_and_the_network(batch):
    model = supervise(build())
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    model.fit(*batch, batch_size=2, verbose=0)
    unchanged = [v.path for v in model.trainable_variables if (v.numpy() == before[v.path]).all()]
    assert unchanged == []
    assert len(before) == len(model.network.trainable_variables) + 2 * 2


def test_each_weight_of_the_network_is_counted_once(batch):
    """Or the optimizer would have two slots for it, and a checkpoint two copies."""
    model = supervise(build())
    assert len({id(variable) for variable in model.variables}) == len(model.variables)
    assert len(model.get_weights()) == len(model.network.get_weights()) + 2 * 2


def test_the_network_is_saved_as_if_it_had_never_been_supervised(batch, tmp_path):
    save_model(build(), tmp_path / "never.keras", {})
    model = supervise(build())
    save_model(model.network, tmp_path / "before.keras", {})
    assert (tmp_path / "before.keras").read_bytes() == (tmp_path / "never.keras").read_bytes()
    model.fit(*batch, batch_size=2, verbose=0)
    save_model(model.network, tmp_path / "trained.keras", {})
    again = keras.models.load_model(tmp_path / "trained.keras")
    assert (again.predict_on_batch(batch[0]) == model.predict_on_batch(batch[0])).all()


def test_a_level_is_held_against_the_pixels_in_the_middle_of_its_own():
    mask = np.arange(8 * 12).reshape(1, 8, 12)
    assert at_stride(mask, 4).tolist() == [[[26, 30, 34], [74, 78, 82]]]


def test_a_decoder_without_a_coarser_level_is_an_error():
    with pytest.raises(UserError, match=r"^train\.loss\.deep_supervision: the decoder has one level"):
        DeeplySupervised(build(filters=[4]), 0.4)
