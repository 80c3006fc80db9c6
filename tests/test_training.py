"""The training run: the best model is kept, its file is canonical, its history is complete."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT

from segpipe.config import Params, load_params
from segpipe.data.pipeline import Arrays
from segpipe.pretrained import Backbone
from segpipe.training import loop
from segpipe.training.callbacks import HISTORY, BestWeights
from segpipe.training.saving import save_model

COMMITTED = load_params(ROOT / "params.yaml")
TAPS = COMMITTED.model.encoder.layers[:2]


def with_changes(**train: object) -> Params:
    content = COMMITTED.model_dump()
    content["model"]["encoder"]["layers"], content["model"]["decoder"]["filters"] = TAPS, [8]
    content["train"] |= {"epochs": 3, "batch_size": 4, **train}
    return Params.model_validate(content)


@pytest.fixture
def arrays(rng):
    images = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    return Arrays(images, (images[..., 0] > 127).astype(np.uint8), [f"photo {n}" for n in range(12)])


def train(arrays, tmp_path, params=None, drawn=None):
    params = params or with_changes()
    network = loop.build_model(Backbone("mobilenet_v2", 0.35, None), params.model, 32, 2, params.seed)
    drawn = drawn if drawn is not None else []
    previews = arrays.images[:2], lambda epoch, masks: drawn.append((epoch, masks))
    return loop.train(
        network, (arrays, arrays), params.train, params.seed, 2, previews, tmp_path / "logs"
    )


def test_history_has_a_row_an_epoch_and_the_contracts_columns(arrays, tmp_path):
    rows = train(arrays, tmp_path).history
    assert [tuple(row) for row in rows] == [HISTORY] * 3
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(row["learning_rate"] == pytest.approx(0.001) for row in rows)
    assert all(0 <= row[column] <= 1 for row in rows for column in HISTORY if "iou" in column)


def test_training_learns(arrays, tmp_path):
    rows = train(arrays, tmp_path, with_changes(epochs=15, learning_rate=0.01)).history
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert rows[-1]["mean_iou"] > 0.8


def test_the_model_returned_scores_what_the_best_epoch_scored(arrays, tmp_path):
    run = train(arrays, tmp_path, with_changes(learning_rate=0.05, epochs=5))
    best = max(run.history, key=lambda row: row["val_mean_iou"])
    assert (run.best_epoch, run.best_mean_iou) == (best["epoch"], best["val_mean_iou"])
    again = run.model.evaluate(arrays.images, arrays.masks, batch_size=4, return_dict=True, verbose=0)
    assert again["mean_iou"] == pytest.approx(best["val_mean_iou"], abs=1e-6)


def test_the_weights_of_the_best_epoch_come_back_and_the_first_of_equals_wins():
    best = BestWeights()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    best.set_model(model)
    for epoch, score in enumerate([0.2, 0.5, 0.5, 0.4]):
        model.set_weights([np.full((1, 1), epoch + 1)])
        best.on_epoch_end(epoch, {"val_mean_iou": score})
    best.on_train_end()
    assert best.epoch == 2
    assert model.get_weights()[0].item() == 2


def test_previews_are_drawn_before_training_and_after_every_nth_epoch(arrays, tmp_path):
    drawn = []
    train(arrays, tmp_path, with_changes(epochs=5, previews={"samples": 2, "every": 2}), drawn)
    assert [epoch for epoch, _ in drawn] == [0, 2, 4]
    assert all(masks.shape == (2, 32, 32) and masks.max() < 2 for _, masks in drawn)


def test_preview_samples_do_not_depend_on_order_or_on_later_samples(arrays):
    backwards = Arrays(arrays.images[::-1], arrays.masks[::-1], arrays.names[::-1])
    assert loop.preview_samples(arrays, 3).names == loop.preview_samples(backwards, 3).names
    assert loop.preview_samples(arrays, 99).names == sorted(
        arrays.names, key=loop.preview_samples(arrays, 99).names.index
    )


def test_two_runs_save_the_same_bytes(arrays, tmp_path):
    for name in ("one", "two"):
        save_model(train(arrays, tmp_path).model, tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_the_saved_file_loads_without_segpipe_and_predicts_the_same(arrays, tmp_path):
    model = train(arrays, tmp_path).model
    save_model(model, tmp_path / "model.keras")
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
    assert loop.is_trainable(params, Backbone("mobilenet_v2", 1.0, weights)) == trained


def test_without_a_gpu_it_says_that_it_runs_on_the_cpu():
    if not tf.config.list_physical_devices("GPU"):
        assert loop.describe_device() == "no GPU found: running on the CPU"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true", "and with one, it takes what it needs"


def test_resolved_params_hold_what_made_the_model_and_no_path(tmp_path):
    resolved = loop.resolved(with_changes(), Backbone("mobilenet_v2", 0.35, tmp_path / "weights.h5"))
    assert resolved["model"]["encoder"]["trainable"] is False
    assert resolved["model"]["encoder"]["pretrained"] is True
    assert resolved["train"]["epochs"] == 3
    assert str(tmp_path) not in str(resolved)
