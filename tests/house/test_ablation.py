"""The ablation: experiments run once each, resume where they were stopped, and become tables."""

import json
import re
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from helpers import ROOT, commit, environment, error_line, git, make_project, run, set_params

from segpipe.common.nested import flat
from segpipe.params import recipes
from segpipe.train.resume import Run

sys.path.insert(0, str(ROOT / "experiments"))

import _results

RESULTS = "experiments/results.csv"
OWN_DATA = {"SEGPIPE_PET_DIR": "", "SEGPIPE_ENCODER_WEIGHTS": ""}
ABLATION = """
- part: One part
  rows:
  - {name: default, label: the default, base: default, changes: {}}
  - {name: hotter, label: hotter, base: default, changes: {train.learning_rate: 0.5}}
- part: Another
  rows:
  - {name: samples-8, label: 8 images, base: default, changes: {train.samples: 8}}
  - {name: too-big, label: too big, base: default, changes: {train.batch_size: 99}}
"""


@pytest.fixture
def project(tmp_path):
    """A tiny project with one recipe and four rows, the last of which cannot run."""
    project = make_project(tmp_path / "project")
    for path in (project / "experiments").glob("*.yaml"):
        path.unlink()
    recipe = {"train": {"epochs": 1, "learning_rate": 0.01, "batch_size": 4}}
    (project / "experiments/default.yaml").write_text(f"# D\n{yaml.safe_dump(recipe)}")
    (project / "experiments/ablation.yaml").write_text(ABLATION)
    (project / RESULTS).unlink()
    commit(project)
    return project


def experiments(project, *arguments):
    return run("python", "experiments/run.py", *arguments, cwd=project, **OWN_DATA)


def result_of(project, name):
    """A row of the results; its cells are text."""
    results = pd.read_csv(project / RESULTS, dtype=str, keep_default_na=False)
    (row,) = results[results["name"] + "-" + results["seed"] == name].to_dict("records")
    return row


def put_result(project, name, seed, mean_iou, images=100, **params):
    """A result of a row, with scores that follow from one number."""
    result = {
        "name": name, "seed": seed,
        **recipes.settings(name, project / "experiments"), **params,
        "images.train": images, "summary.val_mean_iou": 0.5,
        "original.pixel_accuracy": mean_iou + 0.2, "original.mean_iou": mean_iou,
        "original.iou.pet": mean_iou + 0.1, "original.iou.border": mean_iou - 0.1,
        "calibration_error": 0.05, "binary_iou": 0.7917, "seconds": 100 + 10 * seed,
    }  # fmt: skip
    path = project / RESULTS
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    pd.DataFrame([*rows, result]).to_csv(path, index=False)


def table_of(project, name):
    """The cells of a table by its first column."""
    page = (project / "docs/quality.md").read_text()
    content = page.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in content.strip().splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_tables_hold_mean_and_standard_deviation_over_seeds(project):
    for seed, mean_iou in enumerate((0.70, 0.71, 0.75)):  # mean 0.72, sample variance 0.0007
        put_result(project, "default", seed, mean_iou)
    put_result(project, "hotter", 0, 0.5)
    put_result(project, "hotter", 1, 0.9, **{"train.learning_rate": 0.3})
    result = run("python", "experiments/table.py", cwd=project)
    assert result.returncode == 0, result.stderr
    assert "left out: hotter-1, whose params" in result.stdout
    table = table_of(project, "ablation")
    columns = dict(zip(table[""], table["the default"], strict=True))
    assert columns == {
        "val mean IoU": "0.500 ± 0.000",
        "accuracy": "0.920 ± 0.026",
        "mean IoU": "0.720 ± 0.026",
        "IoU, pet": "0.820 ± 0.026",
        "IoU, border": "0.620 ± 0.026",
        "boundary F1, 2 px": "–",
        "5 px": "–",
        "calibration error": "0.050 ± 0.000",
        "binary IoU": "0.792 ± 0.000",
        "training, s": "110 ± 10",
    }
    assert table["hotter (n = 1)"][2] == "0.500"
    assert table["8 images (n = 0)"] == ["–"] * 10
    assert list(table) == [
        "", "---", "**One part**", "the default", "hotter (n = 1)",
        "**Another**", "8 images (n = 0)", "too big (n = 0)",
    ]  # fmt: skip
    assert table_of(project, "recipes")["`default`"] == table["the default"]


def test_binary_iou_takes_pet_and_border_as_one_class():
    """As one class they are right on 95 pixels, of 110 in the truth and 105 in the prediction."""
    pixels = {"pet": (50, 5, 5), "background": (4, 80, 6), "border": (10, 10, 30)}
    pairs = [(truth, *pair) for truth, row in pixels.items() for pair in zip(pixels, row, strict=True)]
    confusion = pd.DataFrame(pairs, columns=["truth", "prediction", "pixels"])
    assert _results.binary_iou(confusion) == 95 / (110 + 105 - 95)
    assert _results.binary_iou(confusion.replace("pet", "car")) is None


def test_the_curve_is_drawn_and_shown_and_the_rest_of_the_page_stays(project):
    page = project / "docs/quality.md"
    before = page.read_text()
    put_result(project, "default", 0, 0.7, images=17)
    put_result(project, "samples-8", 0, 0.6, images=8)
    for _ in range(2):
        assert run("python", "experiments/table.py", cwd=project).returncode == 0
        (shown,) = re.findall(r"\]\((\S+\.png)\)", page.read_text())
        assert (page.parent / shown).read_bytes().startswith(b"\x89PNG")
    assert outside_of_tables(page.read_text()) == outside_of_tables(before)


def outside_of_tables(text):
    return re.sub(r"(<!-- table: \w+ -->).*?<!-- end -->", r"\1", text, flags=re.DOTALL)


def test_a_page_without_a_marker_is_named_with_what_it_lacks(project):
    put_result(project, "default", 0, 0.7)
    (project / "docs/quality.md").write_text("# Quality\n")
    result = run("python", "experiments/table.py", cwd=project)
    assert result.returncode == 1
    assert "quality.md: no <!-- table: recipes --> with an <!-- end --> after it" in result.stderr


def test_every_committed_result_is_of_its_row_or_of_a_knob_that_was_deleted():
    rows = _results.everything()
    deleted = "boundary", "stronger", "supervision", "fpn-pooling", "fpn-large-kernel"
    assert len(rows) >= 137
    for row in rows:
        experiment = _results.Experiment(row["name"], int(row["seed"]))
        if not row["name"].endswith(deleted):
            assert _results.is_of(row, experiment, {}, but=("data.source", "data.folder.layout")), (
                experiment
            )


def test_a_result_is_of_other_params_when_the_committed_default_changes(project):
    """Also where the row does not name the param."""
    put_result(project, "default", 0, 0.7, **{"train.samples": 0})
    assert "left out" not in run("python", "experiments/table.py", cwd=project).stdout
    set_params(project, {"train.samples": 9})
    assert "left out" not in run("python", "experiments/table.py", cwd=project).stdout
    commit(project)
    assert "left out: default-0" in run("python", "experiments/table.py", cwd=project).stdout


def test_a_row_that_is_none_is_an_error_before_anything_runs(project):
    result = experiments(project, "hoter")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: no row or recipe 'hoter'; did you mean hotter?\n"
    result = experiments(project, "hotter", "--set", "train.epoch=3")
    assert error_line(result) == "error: --set train.epoch: no such param; did you mean train.epochs?\n"


@pytest.mark.slow
def test_every_experiment_runs_once_and_one_that_fails_stops_no_other(project):
    first = experiments(project, "--seeds", "0")
    assert first.returncode == 1
    assert "4 of 4 experiments have no result yet" in first.stdout
    assert re.findall(r"(?m)^\d of 4: ([\w-]+)", first.stdout) == [
        "default-0", "hotter-0", "samples-8-0", "too-big-0",
    ]  # fmt: skip
    assert first.stderr.startswith("error: 1 of 4 failed:\n       too-big-0: ")

    result = result_of(project, "samples-8-0")
    assert {key: result[key] for key in result if key.startswith(("train.", "data.", "seed"))} == {
        "train.epochs": "1", "train.learning_rate": "0.01", "train.batch_size": "4",
        "train.samples": "8", "seed": "0",
    }  # fmt: skip
    (folder,) = re.findall(r"Running stage 'evaluate' in (.*)", log_of(project, "samples-8-0"))
    metrics = json.loads((project / folder / "results/evaluate/metrics.json").read_text())
    assert int(result["images.test"]) == metrics.pop("images")
    assert {key: float(result[key]) for key in flat(metrics)} == flat(metrics)
    assert (result["source"], result["images.train"]) == ("synthetic", "8")
    assert float(result["summary.val_mean_iou"]) > 0
    assert float(result["seconds"]) > 0
    assert result["revision"] == git(project, "rev-parse HEAD").strip()
    assert {"versions.python", "versions.keras", "versions.tensorflow"} <= result.keys()
    assert result_of(project, "hotter-0")["loss"] != result_of(project, "default-0")["loss"]
    assert str(project) not in (project / RESULTS).read_text()

    again = experiments(project, "default", "hotter", "--seeds", "0")
    assert (again.returncode, again.stdout.split(";")[0]) == (0, "0 of 2 experiments have no result yet")

    # A finished training is not repeated, and its seconds are those that it took.
    before = result_of(project, "default-0")
    (project / RESULTS).unlink()
    assert experiments(project, "default", "--seeds", "0").returncode == 0
    assert "Running stage 'train'" not in log_of(project, "default-0")
    after = result_of(project, "default-0")
    assert {**after, "elapsed": 0} == {**before, "elapsed": 0}

    # Experiments that differ only in how they are scored share it.
    mirrored = experiments(project, "default", "--seeds", "0", "--set", "evaluate.tta.flip=true")
    assert "1 of 1 experiments have no result yet" in mirrored.stdout, mirrored.stderr
    assert "Running stage 'train'" not in log_of(project, "default-0")
    shared = result_of(project, "default-0")
    assert (shared["evaluate.tta.flip"], shared["fingerprint"]) == ("true", before["fingerprint"])
    assert shared["loss"] != before["loss"]


def log_of(project, experiment):
    return (project / f".experiments/logs/{experiment}.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_runner_that_was_killed_goes_on_when_it_is_started_again(project, how):
    command = ["python", "experiments/run.py", "default", "--seeds", "0", "--set", "train.epochs=30"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(**OWN_DATA), stdout=subprocess.DEVNULL
    )
    runs = ".experiments/train-*/.dvc/tmp/segpipe/runs/*[0-9a-f]"
    while not any(found.epoch >= 2 for found in map(Run, project.glob(runs))):
        assert process.poll() is None
    process.send_signal(how)
    process.wait()
    again = run(*command, cwd=project, **OWN_DATA)
    assert again.returncode == 0, again.stdout + again.stderr
    log = log_of(project, "default-0")
    if how == signal.SIGTERM:
        assert "resuming run" in log
    else:
        assert "waiting for an experiment that runs in" in again.stdout
        assert "Running stage 'train'" not in log, "what outlived its runner has trained it"
    assert result_of(project, "default-0")["summary.epochs"] == "30"
    assert float(result_of(project, "default-0")["seconds"]) > 0


@pytest.mark.slow
def test_views_are_scored_on_the_validation_split(finished_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"evaluate.tta.flip": False})
    done = run("python", "experiments/views.py", "1", "1,2", cwd=project)
    assert done.returncode == 0, done.stderr
    summary = json.loads((project / "results/train/summary.json").read_text())
    once, twice = done.stdout.splitlines()
    assert once == f"[1.0]: {summary['val_mean_iou']:.4f}", "as training saw it"
    assert twice.startswith("[1.0, 2.0]: 0.")
    refused = run("python", "experiments/views.py", "9", cwd=project)
    assert error_line(refused) == "error: a scale of 9; expected 0.25 to 4\n"
