"""The ablation: experiments run once each, go on where they were stopped, and become tables."""

import json
import re
import shutil
import signal
import subprocess

import pytest
import yaml
from helpers import commit, environment, error_line, make_project, run, set_params

from segpipe.params import recipes
from segpipe.train.resume import Run

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


CONFUSION = [
    {"truth": truth, "prediction": prediction, "pixels": pixels}
    for truth, row in {"pet": (50, 5, 5), "background": (4, 80, 6), "border": (10, 10, 30)}.items()
    for prediction, pixels in zip(("pet", "background", "border"), row, strict=True)
]
"""As one class, pet and border are right on 95 pixels, of 110 in the truth and 105 in the prediction."""


@pytest.fixture
def project(tmp_path):
    """A tiny project with one recipe and four rows, the last of which cannot run."""
    project = make_project(tmp_path / "project")
    for path in (project / "experiments").glob("*.yaml"):
        path.unlink()
    recipe = {"train": {"epochs": 1, "learning_rate": 0.01, "batch_size": 4}}
    (project / "experiments/default.yaml").write_text(f"# D\n{yaml.safe_dump(recipe)}")
    (project / "experiments/ablation.yaml").write_text(ABLATION)
    commit(project)
    return project


def experiments(project, *arguments):
    return run("python", "experiments/run.py", *arguments, cwd=project, **OWN_DATA)


def result_of(project, name):
    return json.loads((project / f"experiments/results/{name}.json").read_text())


def put_result(project, name, seed, mean_iou, images=100, **params):
    """A result of a row, with scores that follow from one number."""
    settings = recipes.settings(name, project / "experiments") | {"seed": seed} | params
    original = {
        "pixel_accuracy": mean_iou + 0.2,
        "mean_iou": mean_iou,
        "iou": {"pet": mean_iou + 0.1, "border": mean_iou - 0.1},
    }
    result = {
        "name": name, "seed": seed, "params": settings, "images": {"train": images},
        "metrics": {"original": original, "calibration_error": 0.05},
        "confusion": CONFUSION,
        "summary": {"val_mean_iou": 0.5}, "training": {"seconds": 100 + 10 * seed},
    }  # fmt: skip
    path = project / f"experiments/results/{name}-{seed}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result))


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
        "binary IoU": "0.792 ± 0.000",  # 95 / (110 + 105 - 95)
        "training, s": "110 ± 10",
    }
    assert table["hotter (n = 1)"][2] == "0.500"
    assert table["8 images (n = 0)"] == ["–"] * 10
    assert list(table) == [
        "", "---", "**One part**", "the default", "hotter (n = 1)",
        "**Another**", "8 images (n = 0)", "too big (n = 0)",
    ]  # fmt: skip
    assert table_of(project, "recipes")["`default`"] == table["the default"]


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


def test_a_row_that_is_none_is_an_error_before_anything_runs(project):
    result = experiments(project, "hoter")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: no row or recipe 'hoter'; did you mean hotter?\n"


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
    assert result["params"] == {
        "train.epochs": 1, "train.learning_rate": 0.01, "train.batch_size": 4,
        "train.samples": 8, "seed": 0,
    }  # fmt: skip
    clone = project / ".experiments/clone"
    assert result["metrics"] == json.loads((clone / "results/evaluate/metrics.json").read_text())
    assert (result["source"], result["images"]["train"]) == ("synthetic", 8)
    assert result["summary"]["val_mean_iou"] > 0
    assert result["training"]["seconds"] > 0
    assert {"python", "keras", "tensorflow"} <= result["versions"].keys()
    assert result_of(project, "hotter-0")["metrics"] != result_of(project, "default-0")["metrics"]
    assert str(project) not in json.dumps(result)

    again = experiments(project, "default", "hotter", "--seeds", "0")
    assert (again.returncode, again.stdout.split(";")[0]) == (
        0,
        "0 of 2 experiments have no result yet",
    )

    # What DVC has is not trained again, and its seconds are those of the training.
    path = project / "experiments/results/default-0.json"
    before = json.loads(path.read_text())
    path.unlink()
    assert experiments(project, "default", "--seeds", "0").returncode == 0
    assert "Running stage" not in (project / ".experiments/logs/default-0.log").read_text()
    after = json.loads(path.read_text())
    assert {**after, "elapsed": 0} == {**before, "elapsed": 0}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_runner_that_was_killed_goes_on_when_it_is_started_again(project, how):
    command = ["python", "experiments/run.py", "default", "--seeds", "0", "--set", "train.epochs=30"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(**OWN_DATA), stdout=subprocess.DEVNULL
    )
    runs = project / ".experiments/clone/.dvc/tmp/segpipe/runs"
    while not any(found.epoch >= 2 for found in map(Run, runs.glob("*[0-9a-f]"))):
        assert process.poll() is None
    process.send_signal(how)
    process.wait()
    again = run(*command, cwd=project, **OWN_DATA)
    assert again.returncode == 0, again.stdout + again.stderr
    log = (project / ".experiments/logs/default-0.log").read_text()
    if how == signal.SIGTERM:
        assert "resuming run" in log
    else:
        assert "waiting for an experiment that runs in" in again.stdout
        assert "Running stage 'train'" not in log, "what outlived its runner has trained it"
    assert result_of(project, "default-0")["summary"]["epochs"] == 30
    assert result_of(project, "default-0")["training"]["seconds"] > 0


def test_looks_are_scored_on_the_validation_split(finished_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"evaluate.tta.flip": False})
    done = run("python", "experiments/looks.py", "1", "1,2", cwd=project)
    assert done.returncode == 0, done.stderr
    summary = json.loads((project / "results/train/summary.json").read_text())
    once, twice = done.stdout.splitlines()
    assert once == f"[1.0]: {summary['val_mean_iou']:.4f}", "as training saw it"
    assert twice.startswith("[1.0, 2.0]: 0.")
    refused = run("python", "experiments/looks.py", "9", cwd=project)
    assert error_line(refused) == "error: a scale of 9; expected 0.25 to 4\n"
