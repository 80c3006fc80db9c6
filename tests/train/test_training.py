"""The training run: the best model is kept, its file is canonical, its history is complete."""

import contextlib
import os
import shutil
import signal
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, plain_params, run, some_quick

from segpipe.common import errors
from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.common.records import Manifest
from segpipe.model.backbone import backbone, depths, tap
from segpipe.model.encoders import ENCODERS
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import is_trainable
from segpipe.params.load import Params, load_params
from segpipe.train import loop, provenance
from segpipe.train.callbacks import HISTORY, AveragedWeights, Diverged, Recorder
from segpipe.train.engine import current_engine
from segpipe.train.losses import cross_entropy, segmentation_loss
from segpipe.train.optimizer import build_optimizer, learning_rate, phases
from segpipe.train.resume import Progress, Run
from segpipe.train.samples import Arrays, preview_samples
from segpipe.train.saving import in_float32, save_model
from segpipe.train.scores import RunningScores

COMMITTED = plain_params()
ENGINE = current_engine()
TABLE = ClassTable((SegmentationClass("a", 0, "#000000"), SegmentationClass("b", 1, "#ffffff")))
PHOTOS = Manifest(None, "a test", (128, 128), "stretch", TABLE, {}, [])
IDENTITY = {"params": {"seed": 0}, "records": "0", "encoder": None, "libraries": {}, "backend": "any"}


def with_changes(frozen: bool = False, levels: int = 1, **train: object) -> Params:
    """The committed params for a tiny network; a section of `train` keeps what is not changed."""
    content = COMMITTED.model_dump()
    content["model"]["encoder"]["trainable"] = False if frozen else "auto"
    content["model"]["encoder"]["layers"] = ENCODERS["mobilenet_v2"].layers[: levels + 1]
    content["model"]["decoder"]["filters"] = [8] * levels
    for key, value in {"epochs": 3, "batch_size": 4, **train}.items():
        section = content["train"][key]
        content["train"][key] = section | value if isinstance(section, dict) else value
    return Params.model_validate(content)


@pytest.fixture
def arrays(rng):
    images = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    return Arrays(images, (images[..., 0] > 127).astype(np.uint8), [f"photo {n}" for n in range(12)])


def manifest_of(arrays):
    split = {"samples": len(arrays.names)}
    splits = {"train": split, "val": split, "test": split}
    return Manifest(None, "a test", (32, 32), "stretch", TABLE, splits, [])


def new_network(arrays, params):
    backbone = Backbone("mobilenet_v2", 0.35, None)
    return loop.build_model(backbone, params.model, manifest_of(arrays), params.seed)


def setup_of(arrays, tmp_path, params, draw=lambda epoch, masks: None):
    run = Run(tmp_path / "run")
    run.folder.mkdir(exist_ok=True)
    shown, manifest = arrays.images[:2], manifest_of(arrays)
    data = manifest, arrays, arrays
    return loop.TrainingSetup(
        IDENTITY, *data, params.train, params.seed, current_engine(), run, shown, draw, tmp_path
    )


def train(arrays, tmp_path, params=None, draw=lambda epoch, masks: None, network=None):
    """Train in `tmp_path`, resuming what an earlier call left there; network and progress."""
    params = params or with_changes()
    network = network or new_network(arrays, params)
    return network, loop.train(network, setup_of(arrays, tmp_path, params, draw))


def test_history_has_a_row_an_epoch_and_the_contracts_columns(arrays, tmp_path):
    _, progress = train(arrays, tmp_path)
    rows = progress.history
    assert [tuple(row) for row in rows] == [HISTORY] * 3
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(row["learning_rate"] == 0.001 for row in rows)
    assert all(0 <= row[column] <= 1 for row in rows for column in HISTORY if "iou" in column)


@pytest.mark.slow
def test_an_epoch_may_have_any_number_of_steps(arrays, tmp_path):
    """The optimizer counts them; a pass over the 12 samples would be 3."""
    _, progress = train(arrays, tmp_path, with_changes(epochs=2, steps_per_epoch=4))
    assert progress.epoch == 2
    with np.load(Run(tmp_path / "run").checkpoints[0]) as saved:
        counts = [saved[name].item() for name in saved.files if saved[name].dtype == np.int64]
    assert counts == [8]


def test_training_learns(arrays, tmp_path):
    _, progress = train(arrays, tmp_path, with_changes(epochs=15, learning_rate=0.01))
    assert progress.history[-1]["loss"] < 0.5 * progress.history[0]["loss"]
    assert progress.history[-1]["mean_iou"] > 0.8


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_model_returned_scores_what_the_best_epoch_scored(arrays, tmp_path, ema):
    network, progress = train(arrays, tmp_path, with_changes(learning_rate=0.05, epochs=5, ema=ema))
    best = max(progress.history, key=lambda row: row["val_mean_iou"])
    assert (progress.best_epoch, progress.best_mean_iou) == (best["epoch"], best["val_mean_iou"])
    network.compile(loss=cross_entropy, metrics=[RunningScores(3)])
    again = network.evaluate(arrays.images, arrays.masks, batch_size=4, return_dict=True, verbose=0)
    assert again["mean_iou"] == pytest.approx(best["val_mean_iou"], abs=1e-6)


def one_weight():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


def test_the_weights_of_the_best_epoch_are_kept_and_the_first_of_equals_wins():
    recorder, model = Recorder(Progress()), one_weight()
    recorder.set_model(model)
    for epoch, score in enumerate([0.2, 0.5, 0.5, 0.4]):
        model.set_weights([np.full((1, 1), epoch + 1)])
        recorder.on_epoch_begin(epoch)
        recorder.on_test_end({"mean_iou": score})
    assert recorder.progress.best_epoch == 2
    assert recorder.progress.best_weights[0].item() == 2


def test_the_moving_average_is_validated_and_the_weights_themselves_are_trained_on():
    """By hand, SGD's Nesterov steps at gradient 1: the weight is 8.1, 5.39, 1.951.

    Its average begins with the first; the second counts it by a tenth, the third as `ema` says.
    """
    model = one_weight()
    model.set_weights([np.full((1, 1), 10.0)])
    params = with_changes(optimizer="sgd", learning_rate=1.0, ema=0.15).train
    optimizer = build_optimizer(model.trainable_variables, {}, params, *phases(params, True), 1)
    model.compile(optimizer, loss=lambda truth, prediction: keras.ops.mean(prediction))
    averaged = AveragedWeights()
    averaged.set_model(model)
    second = 0.1 * 8.1 + 0.9 * 5.39
    for weight, average in ((8.1, 8.1), (5.39, second), (1.951, 0.15 * second + 0.85 * 1.951)):
        model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
        averaged.on_test_begin()
        assert model.get_weights()[0].item() == pytest.approx(average)
        averaged.on_test_end()
        assert model.get_weights()[0].item() == pytest.approx(weight)


def test_the_learning_rate_warms_up_in_a_line_and_falls_by_cosine():
    params = with_changes(schedule="cosine", warmup_epochs=1, learning_rate=0.8).train
    (phase,) = phases(params, True)
    rates = [float(learning_rate(params, phase, 4)(step)) for step in range(13)]
    expected = [0, 0.2, 0.4, 0.6, *(0.4 * (1 + np.cos(np.pi * n / 8)) for n in range(9))]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_a_run_may_be_all_warm_up():
    params = with_changes(epochs=1, warmup_epochs=1, schedule="cosine", learning_rate=0.8).train
    (phase,) = phases(params, True)
    rates = [float(learning_rate(params, phase, 4)(step)) for step in range(5)]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_a_constant_learning_rate_is_constant_after_its_warm_up():
    params = with_changes(warmup_epochs=2, learning_rate=0.8).train
    (phase,) = phases(params, True)
    rates = [float(learning_rate(params, phase, 1)(step)) for step in range(4)]
    assert rates == pytest.approx([0, 0.4, 0.8, 0.8])


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_shrinks_kernels_and_nothing_else(name):
    """Without gradients a step multiplies a kernel by 1 - rate * decay."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, bias_initializer="ones")])
    kernel = model.get_weights()[0]
    params = with_changes(optimizer=name, weight_decay=0.5, learning_rate=0.1).train
    optimizer = build_optimizer(model.trainable_variables, {}, params, *phases(params, True), 1)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    assert model.get_weights()[0] == pytest.approx(0.95 * kernel, rel=1e-6)
    assert (model.get_weights()[1] == 1).all()


def test_gradients_are_clipped_by_their_common_norm():
    """Gradients 3 and 4 have norm 5; clipped to 1 they are 0.6 and 0.8, and SGD's first Nesterov step
    moves by 1.9 times that."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    params = with_changes(optimizer="sgd", clip_norm=1.0, learning_rate=1.0).train
    optimizer = build_optimizer(model.trainable_variables, {}, params, *phases(params, True), 1)
    optimizer.apply([keras.ops.full((1, 1), 3.0), keras.ops.full((1,), 4.0)])
    assert [w.item() for w in model.get_weights()] == pytest.approx([-0.6 * 1.9, -0.8 * 1.9])


def two_resolutions():
    """A network of an encoder with two outputs and a decoder, of a weight each, all 1."""
    dense = partial(keras.layers.Dense, 1, use_bias=False, kernel_initializer="ones")
    x = keras.Input((1,))
    fine = dense(name="fine")(x)
    encoder = keras.Model(x, [fine, dense(name="coarse")(fine)], name="encoder")
    outer = keras.Input((1,))
    return keras.Model(outer, dense(name="decoder")(encoder(outer)[1]))


def test_the_learning_rate_decays_by_resolution_from_the_decoder_on():
    """Nesterov's first step is 1.9 times the gradient, here 1, at the rate 0.1 times 1, 1/2, 1/4."""
    model = two_resolutions()
    params = with_changes(optimizer="sgd", learning_rate=0.1, layer_decay=0.5).train
    optimizer = build_optimizer(
        model.trainable_variables, depths(model.get_layer("encoder")), params, *phases(params, True), 1
    )
    optimizer.apply([keras.ops.ones((1, 1))] * 3)
    moved = {v.path.split("/")[-2]: 1 - v.numpy().item() for v in model.trainable_variables}
    assert moved == pytest.approx({"decoder": 0.19, "coarse": 0.095, "fine": 0.0475})


def test_weight_decay_follows_the_learning_rate_of_its_layer():
    model = two_resolutions()
    params = with_changes(weight_decay=0.5, learning_rate=0.1, layer_decay=0.5).train
    optimizer = build_optimizer(
        model.trainable_variables, depths(model.get_layer("encoder")), params, *phases(params, True), 1
    )
    optimizer.apply([keras.ops.zeros((1, 1))] * 3)
    left = {v.path.split("/")[-2]: v.numpy().item() for v in model.trainable_variables}
    assert left == pytest.approx({"decoder": 0.95, "coarse": 0.975, "fine": 0.9875})


@pytest.mark.parametrize("name", some_quick(ENCODERS, "mobilenet_v2", "convnext_tiny", "mit_b0"))
def test_every_variable_of_an_encoder_lies_at_one_of_its_resolutions(name):
    encoder = tap(backbone(name, (64, 64)), ENCODERS[name].layers)
    found = depths(encoder)
    assert {variable.path for variable in encoder.variables} == {*found}
    assert {*found.values()} == {*range(1, len(encoder.outputs) + 1)}


def encoder_weights_of(network):
    """Those that are trained when the encoder is, and all that BatchNorm holds."""
    norms, others = [], []
    for layer in network.get_layer("encoder").layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        (norms if is_norm else others).extend(layer.get_weights())
    return [w.tobytes() for w in norms], [w.tobytes() for w in others]


def test_fine_tuning_trains_the_encoder_after_the_decoder_and_leaves_its_batch_norm_alone(
    arrays, tmp_path, capsys
):
    """The statistics, too: in Keras 3 `training=False` alone does not keep them."""
    params = with_changes(
        frozen=True, epochs=2, fine_tuning={"epochs": 1, "learning_rate": 0.01}, learning_rate=0.1
    )
    network = new_network(arrays, params)
    seen = []
    (norms, others) = encoder_weights_of(network)
    _, progress = train(
        arrays, tmp_path, params, lambda e, _: seen.append(encoder_weights_of(network)), network
    )
    assert "ended the run" not in capsys.readouterr().out
    assert [norm == norms for norm, _ in seen] == [True] * 4
    assert [other == others for _, other in seen] == [True, True, True, False]
    assert [row["learning_rate"] for row in progress.history] == [0.1, 0.1, 0.01]


def test_fine_tuning_starts_its_own_schedule():
    params = with_changes(
        epochs=2, schedule="cosine", learning_rate=0.8, fine_tuning={"epochs": 4, "learning_rate": 0.2}
    ).train
    first, second = phases(params, False)
    assert (first.epochs, first.trains_encoder) == (range(2), False)
    assert (second.epochs, second.trains_encoder) == (range(2, 6), True)
    rates = [float(learning_rate(params, second, 1)(step)) for step in range(5)]
    assert rates == pytest.approx([0.1 * (1 + np.cos(np.pi * n / 4)) for n in range(5)], abs=1e-7)


def test_early_stopping_ends_a_run_that_no_longer_improves(arrays, tmp_path):
    params = with_changes(epochs=50, learning_rate=1e-9, early_stopping={"patience": 2})
    _, progress = train(arrays, tmp_path, params)
    assert progress.epoch == progress.best_epoch + 2 < 50
    assert progress.summary(params.train)["stopped_by"] == "early_stopping.patience"


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ({"early_stopping": {"patience": 1}}, "early_stopping.patience"),
        ({"max_minutes": 1e-9}, "max_minutes"),
    ],
)
def test_a_run_that_stops_before_its_fine_tuning_says_so(arrays, tmp_path, capsys, stops, said):
    fine_tuning = {"epochs": 1, "learning_rate": 0.01}
    params = with_changes(frozen=True, epochs=9, learning_rate=1e-9, fine_tuning=fine_tuning, **stops)
    _, progress = train(arrays, tmp_path, params)
    assert progress.epoch < 9
    assert f"train.{said} ended the run before its fine-tuning\n" in capsys.readouterr().out


def test_max_minutes_ends_a_run_after_the_epoch_that_reaches_it(arrays, tmp_path):
    params = with_changes(epochs=50, max_minutes=1e-9)
    _, progress = train(arrays, tmp_path, params)
    assert progress.epoch == 1
    assert progress.summary(params.train)["stopped_by"] == "max_minutes"
    assert with_changes(epochs=1).train.max_minutes == 0, "off, unless asked for"


def test_a_run_that_ends_as_planned_says_so(arrays, tmp_path):
    params = with_changes(epochs=2)
    _, progress = train(arrays, tmp_path, params)
    row = progress.history[progress.best_epoch - 1]
    assert progress.summary(params.train) == {
        "epochs": 2, "stopped_by": "epochs", "best_epoch": progress.best_epoch,
        **{key: row[key] for key in ("val_loss", "val_accuracy", "val_mean_iou")},
    }  # fmt: skip


def train_and_spoil(arrays, tmp_path, after):
    """Train, and make a weight NaN after an epoch (0: before the first); the error's message."""
    params = with_changes(epochs=5)
    network = new_network(arrays, params)

    def spoil(epoch, masks):
        if epoch == after:
            logits = network.get_layer("logits")
            logits.set_weights([w * np.nan for w in logits.get_weights()])

    with pytest.raises(Diverged) as caught:
        train(arrays, tmp_path, params, spoil, network)
    return str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run_at_its_step_and_the_best_model_is_kept(arrays, tmp_path):
    message = train_and_spoil(arrays, tmp_path, after=2)
    path = tmp_path / "run/best.keras"
    assert message.startswith("the loss is nan in epoch 3, step 1; the best model so far, of epoch ")
    assert message.endswith(f", is {path}; lower train.learning_rate or set train.clip_norm")
    assert read_card(path)["training"]["epochs"] == 2
    kept = keras.models.load_model(path)
    assert np.isfinite(kept.predict_on_batch(arrays.images)).all()


def test_a_loss_that_is_no_number_in_the_first_epoch_leaves_no_model(arrays, tmp_path):
    message = train_and_spoil(arrays, tmp_path, after=0)
    assert message.startswith("the loss is nan in epoch 1, step 1; no epoch was finished before;")
    assert not (tmp_path / "run/best.keras").exists()


@pytest.mark.slow
def test_previews_are_drawn_before_training_and_after_every_nth_epoch(arrays, tmp_path):
    drawn = []
    params = with_changes(epochs=5, previews={"samples": 2, "every": 2})
    train(arrays, tmp_path, params, lambda epoch, masks: drawn.append((epoch, masks)))
    assert [epoch for epoch, _ in drawn] == [0, 2, 4]
    assert all(masks.shape == (2, 32, 32) and masks.max() < 2 for _, masks in drawn)


def test_preview_samples_do_not_depend_on_order_or_on_later_samples(arrays):
    backwards = Arrays(arrays.images[::-1], arrays.masks[::-1], arrays.names[::-1])
    assert preview_samples(arrays, 3).names == preview_samples(backwards, 3).names
    assert preview_samples(arrays, 99).names == sorted(
        arrays.names, key=preview_samples(arrays, 99).names.index
    )


def test_two_runs_save_the_same_bytes(arrays, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        network, _ = train(arrays, tmp_path / name)
        save_model(network, tmp_path / f"{name}.keras", {"any": "card"})
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_the_saved_file_loads_without_segpipe_and_predicts_the_same(arrays, tmp_path):
    model, _ = train(arrays, tmp_path)
    save_model(model, tmp_path / "model.keras", {"any": "card"})
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.predict_on_batch(arrays.images) == model.predict_on_batch(arrays.images)).all()
    assert [p.name for p in tmp_path.glob("*.keras")] == ["model.keras"]
    assert not loaded.compiled


@pytest.mark.parametrize(
    ("setting", "weights", "trained"),
    [("auto", None, True), ("auto", "some.h5", False), (True, "some.h5", True), (False, None, False)],
)
def test_auto_trains_the_encoder_only_without_pretrained_weights(setting, weights, trained):
    params = COMMITTED.model.encoder.model_copy(update={"trainable": setting})
    assert is_trainable(params, Backbone("mobilenet_v2", 1.0, weights)) == trained


@pytest.mark.slow
def test_a_full_sized_network_has_the_same_gradients_each_time():
    """At 128 px and 16 a batch: TensorFlow's graph optimizer reorders sums only where they are large."""
    ENGINE.prepare(COMMITTED.train)
    params = load_params(ROOT / "params.yaml")
    network = loop.build_model(Backbone("mobilenet_v2", 1.0, None), params.model, PHOTOS, params.seed)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 128, 128, 3), np.uint8)
    masks = (images[..., 0] > 127).astype(np.uint8)
    loss = segmentation_loss(params.train.loss)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            value = loss(masks, network(images, training=True))
        return tape.gradient(value, [v.value for v in network.trainable_variables])

    found = {b"".join(g.numpy().tobytes() for g in gradients()) for _ in range(8)}
    assert len(found) == 1


def test_without_a_gpu_it_says_that_it_runs_on_the_cpu():
    if not tf.config.list_physical_devices("GPU"):
        assert ENGINE.prepare(COMMITTED.train) == "no GPU found: running on the CPU"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true", "and with one, it takes what it needs"


def resolved_params(params, backbone):
    return provenance.resolved(params.seed, params.model, params.train, backbone)


def test_resolved_params_hold_what_made_the_model_and_no_path(tmp_path):
    resolved = resolved_params(with_changes(), Backbone("mobilenet_v2", 0.35, tmp_path / "weights.h5"))
    assert resolved["model"]["encoder"]["trainable"] is False
    assert resolved["model"]["encoder"]["pretrained"] is True
    assert resolved["train"]["epochs"] == 3
    assert str(tmp_path) not in str(resolved)


def test_resolved_params_name_the_layers_that_default_stands_for():
    resolved = resolved_params(COMMITTED, Backbone("convnext_tiny", 1.0, None))
    assert resolved["model"]["encoder"]["layers"] == list(ENCODERS["convnext_tiny"].layers)


def test_no_preview_is_drawn_where_none_is_asked_for(arrays, tmp_path):
    drawn = []
    params = with_changes(previews={"samples": 2, "every": 0})
    train(arrays, tmp_path, params, draw=lambda epoch, masks: drawn.append(epoch))
    assert not drawn


@contextlib.contextmanager
def computing_in(precision):
    """Have Keras compute in 16 bits for a while; the params that ask for it."""
    params = with_changes(precision=precision, ema=0.9)
    ENGINE.prepare(params.train)
    try:
        yield params
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_computed_in_16_bits_is_saved_to_compute_in_32(arrays, tmp_path, precision):
    with computing_in(precision) as params:
        network, progress = train(arrays, tmp_path, params)
        losses = [row["loss"] for row in progress.history]
        assert losses[-1] < losses[0]
        assert network.get_layer("up_1_conv").compute_dtype == precision
        assert network.get_layer("up_1_conv").variable_dtype == "float32"
        logits = network.predict_on_batch(arrays.images)
        assert logits.dtype == np.float32
        save_model(network, tmp_path / "model.keras", {})
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert {layer.compute_dtype for layer in saved.get_layer("encoder").layers} == {"float32"}
    again = saved.predict_on_batch(arrays.images)
    assert np.abs(again - logits).max() < 0.1 * np.abs(logits).max(), "16 bits, and no more, apart"


@pytest.mark.slow
def test_16_bits_with_a_scaled_loss_resume_where_they_were(arrays, tmp_path):
    with computing_in("float16") as params:
        (tmp_path / "whole").mkdir()
        _, whole = train(arrays, tmp_path / "whole", params)
        shutil.copytree(tmp_path / "whole/run", tmp_path / "stopped/run")
        (tmp_path / "stopped/run/epoch-0003.npz").unlink()
        _, resumed = train(arrays, tmp_path / "stopped", params)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    assert resumed.history == whole.history
    assert not list((tmp_path / "stopped/run").glob("*.unreadable"))


@pytest.mark.parametrize(
    "name",
    some_quick(["convnext_tiny", "mobilenet_v3_small", "efficientnet_v2_b0", "mit_b0"], "convnext_tiny"),
)
def test_any_encoder_is_saved_to_compute_in_32_bits(name):
    with computing_in("bfloat16"):
        model = backbone(name, (32, 32))
    plain = in_float32(model)
    assert {layer.compute_dtype for layer in plain._flatten_layers()} == {"float32"}
    for before, after in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert (before == after).all()


@pytest.mark.slow
def test_several_steps_an_execution_train_as_one_does(arrays, tmp_path):
    (tmp_path / "one").mkdir()
    _, one = train(arrays, tmp_path / "one")
    (tmp_path / "three").mkdir()
    _, three = train(arrays, tmp_path / "three", with_changes(steps_per_execution=3))
    for before, after in zip(one.history, three.history, strict=True):
        assert after == pytest.approx(before, rel=1e-4)


def test_an_epoch_must_be_a_whole_number_of_executions(arrays, tmp_path):
    message = r"train\.steps_per_execution = 2 does not divide the 3 steps of an epoch"
    with pytest.raises(UserError, match=message):
        train(arrays, tmp_path, with_changes(steps_per_execution=2))


LOST = """
import os, signal
from segpipe.common.errors import exits_cleanly, raise_lost_interrupt

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

@exits_cleanly
def main():
    raise_lost_interrupt()
    Finalised()
    print("went on", flush=True)
    raise_lost_interrupt()
    print("and on", flush=True)

main()
"""


def test_an_interrupt_that_python_lost_is_raised_where_it_is_looked_for(tmp_path):
    done = run(sys.executable, "-c", LOST, cwd=tmp_path)
    assert done.stdout == "went on\n"
    assert done.returncode == -signal.SIGINT


def test_training_ends_after_the_step_in_which_an_interrupt_was_lost(arrays, tmp_path, monkeypatch):
    seen = []

    def draw(epoch, masks):
        seen.append(epoch)
        monkeypatch.setattr(errors, "_interrupted", epoch == 1)

    with pytest.raises(KeyboardInterrupt):
        train(arrays, tmp_path, draw=draw)
    assert seen == [0, 1]
