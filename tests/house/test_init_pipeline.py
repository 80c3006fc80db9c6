"""A project that starts from a model: DVC watches the file, and the results tell what it was."""

import re
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
import yaml
from helpers import commit, end, error_line, run, run_stage, set_params, start

from segpipe.common.files import sha256
from segpipe.common.modelfile import read_card
from segpipe.train.saving import save_model

REST = ["train", "evaluate", "report"]


@pytest.fixture(scope="module")
def going_on(finished_project, tmp_path_factory):
    """The finished project, its model named in the params to start from; do not change it, copy it."""
    project = tmp_path_factory.mktemp("going_on") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    shutil.copy(project / "models/model.keras", project / "data/init/before.keras")
    set_params(project, {"model.init": "before.keras", "train.learning_rate": 0.001})
    return project


@pytest.fixture
def project(going_on, tmp_path):
    shutil.copytree(going_on, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def repro(project, *arguments):
    """Run `dvc repro`; return the stages that ran, and what it printed."""
    result = run("dvc", "repro", *arguments, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"Running stage '([\w@-]+)'", result.stdout), result.stdout


def change(path):
    """Give a model's file another bias."""
    card, model = read_card(path), keras.models.load_model(path)
    logits = model.get_layer("logits")
    logits.set_weights([logits.kernel, logits.bias + 1])
    save_model(model, path, card)


@pytest.mark.slow
def test_the_models_content_decides_whether_train_runs_again_and_nothing_before_it(project):
    """The encoder has 20 layers with weights, the decoder 2, the head 1.

    With `none` back in place DVC knows the results of before.
    """
    before = project / "data/init/before.keras"
    ran, printed = repro(project)
    assert ran == REST
    assert "starting from data/init/before.keras: " in printed
    assert "classes taken: pet, background, border; new: none; dropped: none\n" in printed
    assert repro(project)[0] == []
    digests = [sha256(before)]
    change(before)
    assert repro(project)[0] == REST
    digests.append(sha256(before))
    shown = yaml.safe_load(run("segpipe", "info", cwd=project).stdout)
    assert shown["init"] == {
        "sha256": digests[1],
        "layers": {"taken": 23, "of": 23, "not": []},
        "classes": {"taken": ["pet", "background", "border"], "new": [], "dropped": []},
    }
    assert digests[0] != digests[1]
    resolved = yaml.safe_load((project / "results/train/params.yaml").read_text())
    assert resolved["model"]["init"] == digests[1]
    assert str(project).encode() not in (project / "models/model.keras").read_bytes()
    set_params(project, {"model.init": "none", "train.learning_rate": 0.01})
    assert repro(project)[0] == []


@pytest.mark.slow
def test_a_missing_model_is_named_by_the_stage_and_by_dvc(project):
    (project / "data/init/before.keras").unlink()
    model = (project / "models/model.keras").read_bytes()
    assert error_line(run_stage("train", project)) == (
        "error: model.init: there is no file data/init/before.keras; copy a model there, or set "
        "model.init to none\n"
    )
    assert (project / "models/model.keras").read_bytes() == model
    result = run("dvc", "repro", cwd=project)
    assert result.returncode != 0
    assert "data/init/before.keras" in result.stderr


def test_git_takes_no_model_into_the_repository_until_dvc_has_it(project):
    (project / "data/init/pets").mkdir()
    shutil.copy(project / "data/init/before.keras", project / "data/init/pets/before.keras")
    commit(project)
    listed = run("git", "ls-files", "data/init", cwd=project).stdout
    assert listed == "data/init/none\n"


@pytest.mark.slow
def test_a_model_that_dvc_tracks_is_there_in_experiments_in_a_copy(project):
    assert run("dvc", "add", "data/init/before.keras", cwd=project).returncode == 0
    set_params(project, {"model.init": "none"})
    commit(project)
    change_only = ("dvc", "exp", "run", "--temp", "-n", "again", "-S", "model.init=before.keras")
    result = run(*change_only, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "starting from data/init/before.keras" in result.stdout
    assert "Running stage 'fetch" not in result.stdout


@pytest.mark.slow
def test_training_from_a_model_that_was_killed_goes_on_to_the_same_bytes(going_on, tmp_path):
    for name in ("whole", "killed"):
        shutil.copytree(going_on, tmp_path / name, symlinks=True)
        set_params(tmp_path / name, {"train.epochs": 12, "train.freeze": "encoder"})
    assert run_stage("train", tmp_path / "whole").returncode == 0
    end(start(tmp_path / "killed", sys.executable, "stages/train.py"), signal.SIGKILL)
    assert "resuming run" in run_stage("train", tmp_path / "killed").stdout
    for path in ("models/model.keras", "results/train/history.csv"):
        assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


@pytest.mark.slow
def test_on_jax_the_same_layers_are_taken_and_stay_frozen(project):
    pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    set_params(project, {"train.freeze": "all_but_head"})
    result = run_stage("train", project, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr
    assert "starting from data/init/before.keras: 23 of 23 layers taken\n" in result.stdout
    before, after = (
        keras.models.load_model(project / path)
        for path in ("data/init/before.keras", "models/model.keras")
    )
    pairs = list(zip(before.weights, after.weights, strict=True))
    changed = [one.path for one, other in pairs if not np.array_equal(one, other)]
    assert len(changed) == 2 and all(path.startswith("logits/") for path in changed)
