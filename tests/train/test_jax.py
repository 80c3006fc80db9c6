"""Keras' JAX backend: the same pictures, training and scores, without TensorFlow and DVC."""

import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from helpers import decoder, end, environment, error_line, make_project, run, run_stage, runs_of, start

from segpipe.common.modelfile import read_card
from segpipe.common.records import open_records
from segpipe.evaluate.load import load_for_records
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.model.unet import unet
from segpipe.train.augment import DRAWS, augment
from segpipe.train.calibration import calibrate
from segpipe.train.losses import cross_entropy
from segpipe.train.params import AugmentParams
from segpipe.train.samples import load

pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")

STRONG = {
    "flip": True, "scale": [0.5, 2.0], "aspect": 1.3, "rotation": 30.0, "brightness": 0.3,
    "contrast": 0.3, "saturation": 0.5, "hue": 0.1,
}  # fmt: skip

AUGMENTED = """
import jax, numpy as np
from segpipe.train.engine import Batching
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays
from segpipe.train import on_jax

given = np.load("given.npz")
on_jax._of_pass = lambda count, *_: (np.arange(count), given["draws"])
arrays, params = Arrays(given["images"], given["masks"], ["x"] * 16), AugmentParams(**{strong})
(batch,) = on_jax.JaxEngine().train_batches(arrays, range(1), Batching(16, 0, params))
np.savez("changed.npz", *map(np.asarray, batch))
"""

DRAWN = """
import keras, numpy as np
from segpipe.train.losses import cross_entropy

images, found = np.load("images.npy"), {}
for name in {names}:
    network = keras.models.load_model(f"{name}.keras")
    found[name] = network.predict_on_batch(images)
    network.compile("sgd", loss=cross_entropy)
    found[f"{name} losses"] = [network.train_on_batch(images, images[..., 0] % 3) for _ in range(2)]
np.savez("drawn.npz", **found)
"""


@pytest.fixture
def bare(tmp_path):
    """Environment variables of a machine where TensorFlow and DVC cannot be imported."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("tensorflow", "dvc", "dvclive"):
        error = f"raise ModuleNotFoundError('{name} is not here', name='{name}')"
        (folder / f"{name}.py").write_text(error)
    return {"PYTHONPATH": str(folder), "KERAS_BACKEND": "jax"}


@pytest.mark.slow
def test_the_backend_that_params_ask_for_is_taken(tmp_path):
    project = make_project(tmp_path / "project", **{"train.backend": "jax"})
    for stage in ("fetch", "fetch_encoder", "preprocess", "train", "evaluate"):
        done = run_stage(stage, project, KERAS_BACKEND="tensorflow")
        assert done.returncode == 0, done.stdout + done.stderr
    assert read_card(project / "models/model.keras")["backend"] == "jax"


def test_equal_draws_change_pictures_as_on_tensorflow(tmp_path, rng, bare):
    given = {
        "images": rng.integers(0, 256, (16, 64, 96, 3), np.uint8),
        "masks": rng.integers(0, 5, (16, 64, 96), np.uint8),
        "draws": rng.random((16, DRAWS), np.float32),
    }
    np.savez(tmp_path / "given.npz", **given)
    done = run(sys.executable, "-c", AUGMENTED.replace("{strong}", repr(STRONG)), cwd=tmp_path, **bare)
    assert done.returncode == 0, done.stderr
    images, masks = np.load(tmp_path / "changed.npz").values()
    expected = augment(*map(tf.constant, given.values()), AugmentParams(**STRONG))
    assert images.dtype == masks.dtype == np.uint8
    assert np.abs(images.astype(int) - expected[0].numpy()).max() <= 1, "one grey level of rounding"
    assert (images == expected[0].numpy()).mean() > 0.999
    assert (masks == expected[1].numpy()).mean() > 0.999


@pytest.mark.slow
def test_every_decoder_draws_and_learns_as_on_tensorflow(tmp_path, rng, bare):
    """Averages and dilated convolutions treat padding in several ways."""
    images = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for name in DECODERS:
        outputs = [keras.Input((64, 96, 3))]
        for _ in range(4):
            outputs.append(keras.layers.Conv2D(8, 3, strides=2, padding="same")(outputs[-1]))
        encoder = keras.Model(outputs[0], outputs[1:], name="encoder")
        network = unet(encoder, ENCODERS["mobilenet_v2"].scaling, decoder(name, [8] * 3), 3)
        for variable in network.weights:
            if variable.path.endswith("kernel"):
                variable.assign(rng.normal(0, 0.2, variable.shape))
        network.save(tmp_path / f"{name}.keras")
        expected[name] = network.predict_on_batch(images)
        network.compile("sgd", loss=cross_entropy)
        losses = [network.train_on_batch(images, images[..., 0] % 3) for _ in range(2)]
        expected[f"{name} losses"] = losses
    done = run(sys.executable, "-c", DRAWN.replace("{names}", repr([*DECODERS])), cwd=tmp_path, **bare)
    assert done.returncode == 0, done.stderr
    drawn = np.load(tmp_path / "drawn.npz")
    for name, values in expected.items():
        np.testing.assert_allclose(drawn[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_model_trained_without_tensorflow_scores_the_same_with_it(tmp_path, bare):
    project = make_project(tmp_path / "project", **{"train.epochs": 2, "train.ema": 0.9})
    for stage in ("fetch", "fetch_encoder", "preprocess", "train", "evaluate"):
        done = run_stage(stage, project, **bare)
        assert done.returncode == 0, done.stdout + done.stderr
    history = pd.read_csv(project / "results/train/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    manifest = open_records(project / "data/records")
    model = load_for_records(project / "models/model.keras", manifest)
    validation = load(manifest, "val")
    again = calibrate(model, validation, validation.names, 4)
    found = json.loads((project / "results/train/summary.json").read_text())["calibration"]
    assert again.best * found["temperature"] == pytest.approx(found["best"], rel=1e-3)
    path = project / "results/evaluate/metrics.json"
    on_jax = json.loads(path.read_text())
    done = run_stage("evaluate", project)
    assert done.returncode == 0, done.stdout + done.stderr
    on_tensorflow = json.loads(path.read_text())
    assert on_tensorflow["loss"] == pytest.approx(on_jax["loss"], rel=1e-4)
    for size in ("network", "original"):
        for name in ("pixel_accuracy", "mean_iou"):
            assert on_tensorflow[size][name] == pytest.approx(on_jax[size][name], abs=1e-3)


@pytest.mark.slow
def test_what_was_killed_goes_on_as_if_it_had_not_been(tmp_path, bare):
    project = make_project(tmp_path / "project", **{"train.epochs": 30, "train.ema": 0.9})
    for stage in ("fetch", "fetch_encoder", "preprocess"):
        assert run_stage(stage, project).returncode == 0
    end(start(project, "python", "stages/train.py", **bare), signal.SIGKILL)
    assert "resuming run" in run_stage("train", project, **bare).stdout
    resumed = (project / "results/train/history.csv").read_text()
    assert "resuming run" not in run_stage("train", project, **bare).stdout
    assert (project / "results/train/history.csv").read_text() == resumed


def only_recipe(project, **train):
    """Leave a project one tiny recipe, and no row."""
    for path in (project / "experiments").glob("*.yaml"):
        path.unlink()
    recipe = {"train": {"batch_size": 4, **train}}
    (project / "experiments/default.yaml").write_text(f"# D\n{yaml.safe_dump(recipe)}")
    (project / "experiments/ablation.yaml").write_text("[]")
    (project / "experiments/results.csv").unlink()


def result_of(project, name):
    results = pd.read_csv(project / "experiments/results.csv", index_col="name")
    return results.loc[name].dropna().to_dict()


@pytest.mark.slow
def test_experiments_run_side_by_side_without_dvc(tmp_path, bare):
    project = make_project(tmp_path / "project")
    only_recipe(project, epochs=1)
    row = {
        "name": "hotter",
        "label": "hotter",
        "base": "default",
        "changes": {"train.learning_rate": 0.5},
    }
    bad = {"name": "too-big", "label": "too big", "base": "default", "changes": {"train.batch_size": 99}}
    (project / "experiments/ablation.yaml").write_text(
        yaml.safe_dump([{"part": "P", "rows": [row, bad]}])
    )
    own_data = {"SEGPIPE_PET_DIR": "", "SEGPIPE_ENCODER_WEIGHTS": ""}
    command = ("python", "experiments/run.py", "--seeds", "3", "--jobs", "2")
    message = error_line(run(*command, cwd=project, **own_data, **bare))
    assert "1 of 3 failed" in message
    assert "train.batch_size = 99 is larger than the training split" in message
    for name in ("default", "hotter"):
        result = result_of(project, name)
        assert result["images.test"] == 6
        assert result.keys() >= {"versions.jax", "versions.keras"}
        assert result["seed"] == 3
        assert "seconds" not in result, "two at once say nothing of either"
    again = error_line(run(*command, cwd=project, **own_data, **bare))
    assert "1 of 1 failed" in again, "what has a result is not run again"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_experiments_go_on_when_their_runner_was_killed(tmp_path, bare, how):
    project = make_project(tmp_path / "project")
    only_recipe(project, epochs=30)
    own_data = {"SEGPIPE_PET_DIR": "", "SEGPIPE_ENCODER_WEIGHTS": ""}
    command = (sys.executable, "experiments/run.py", "--seeds", "3")

    def unfinished():
        return [run for folder in project.glob(".experiments/train-*") for run in runs_of(folder)]

    def begun(epochs):
        process = subprocess.Popen(
            command, cwd=project, env=environment(**own_data, **bare), stdout=subprocess.PIPE, text=True
        )
        while not any(found.epoch >= epochs for found in unfinished()):
            assert process.poll() is None
            time.sleep(0.05)
        return process

    process = begun(2)
    process.send_signal(how)
    process.wait()
    if how == signal.SIGTERM:
        (left,) = unfinished()
        process = begun(left.epoch + 1)
        assert "resuming run" in (project / ".experiments/logs/default-3.log").read_text()
        said = process.communicate()[0]
    else:
        said = run(*command, cwd=project, **own_data, **bare).stdout
        assert "waiting for an experiment that runs in" in said, "its stages outlived it"
    assert "default-3: mean IoU 0." in said
    assert result_of(project, "default")["summary.epochs"] == 30
    assert not unfinished()
