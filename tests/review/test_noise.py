"""`segpipe noise`: the spread of seeds, measured in DVC's queue."""

import json
import statistics

import pytest
from helpers import commit, error_line, git, interrupt_once, make_toy_project, run

from segpipe.review.paired import recipe_hash
from segpipe.review.revision import Revision

STAGE = """
import json, pathlib, sys, yaml

params = yaml.safe_load(open("params.yaml"))
with open({log!r}, "a") as log:
    print(params["seed"], file=log)
if (pathlib.Path({log!r}).parent / f"fail-{{params['seed']}}").exists():
    sys.exit("it fails")
score = [0.1, 0.5, 0.3, 0.6][params["seed"]] * params["train"]["epochs"]
iou = {{"cat": score, "dog": None, "cow": score if params["seed"] else None}}
test = {{"images": 6, "original": {{"mean_iou": score, "iou": iou, "interval": {{"low": 0.1}}}}}}
pathlib.Path("results/train").mkdir(parents=True, exist_ok=True)
pathlib.Path("results/evaluate").mkdir(exist_ok=True)
pathlib.Path("results/train/summary.json").write_text(json.dumps({{"val_mean_iou": score / 2}}))
pathlib.Path("results/evaluate/metrics.json").write_text(json.dumps(test))
"""

PIPELINE = """
stages:
  train:
    cmd: python stage.py
    params: [seed, train.epochs]
    metrics:
    - results/train/summary.json: {cache: false}
    - results/evaluate/metrics.json: {cache: false}
"""


@pytest.fixture
def project(tmp_path):
    """A project whose one stage takes no time: scores are made of the seed. It notes each run."""
    stage = STAGE.format(log=str(tmp_path / "ran"))
    path = make_toy_project(tmp_path / "project", stage, PIPELINE, **{"train.epochs": 1, "seed": 0})
    (path / "baseline.json").write_text('{"original": {"mean_iou": 0.25}}')
    commit(path)
    return path


def ran(project):
    """The seeds that ran, in order."""
    return [int(line) for line in (project.parent / "ran").read_text().split()]


def written(project):
    return json.loads((project / "baseline.json").read_text())


def test_it_writes_the_deviation_of_each_score_and_keeps_the_scores_to_beat(project, monkeypatch):
    assert run("dvc", "repro", cwd=project).returncode == 0
    commit(project)
    done = run("segpipe", "noise", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran(project) == [0, 1, 2], "the commit has the scores of its own seed"
    monkeypatch.chdir(project)
    deviation = pytest.approx(statistics.stdev([0.1, 0.5, 0.3]))
    assert written(project) == {
        "original": {"mean_iou": 0.25},
        "seeds": {
            "number": 3,
            "recipe": recipe_hash(Revision("HEAD").params()),
            "deviation": {"original.mean_iou": deviation, "original.iou.cat": deviation},
        },
    }
    assert "1 of 3 seeds have scores" in done.stdout
    assert git(project, "status --porcelain").split() == ["M", "baseline.json"]


@pytest.mark.slow
def test_what_failed_is_said_and_the_same_command_trains_the_rest_alone(project):
    (project.parent / "fail-1").touch()
    message = error_line(failed := run("segpipe", "noise", cwd=project))
    assert (
        message.startswith("error: no scores of seed 1 yet: `dvc queue status`")
        and failed.returncode == 1
    )
    assert "seeds" not in written(project)
    (project.parent / "fail-1").unlink()
    done = run("segpipe", "noise", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(ran(project)) == [0, 1, 1, 2]
    assert written(project)["seeds"]["number"] == 3
    git(project, "checkout -q baseline.json")
    assert run("segpipe", "noise", "--seeds", "4", cwd=project).returncode == 0
    assert sorted(ran(project)) == [0, 1, 1, 2, 3], "three have scores already"


@pytest.mark.slow
def test_a_seed_that_was_trained_alone_has_no_scores_yet_and_trains_again(project):
    """Its experiment has the scores of the commit, whose seed is another."""
    alone = "  alone:\n    cmd: touch model\n    params: [seed]\n    outs: [model]\n"
    deps = PIPELINE.replace("    params", "    deps: [model]\n    params")
    (project / "dvc.yaml").write_text(deps + alone)
    assert run("dvc", "repro", cwd=project).returncode == 0
    commit(project)
    assert run("dvc", "exp", "run", "-n", "part", "-S", "seed=1", "alone", cwd=project).returncode == 0
    git(project, "checkout -q .")
    done = run("segpipe", "noise", "--seeds", "2", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "part is left out: its stage train ran with other params" in done.stdout
    assert "1 of 2 seeds have scores" in done.stdout
    assert ran(project) == [0, 1]
    mean_iou = written(project)["seeds"]["deviation"]["original.mean_iou"]
    assert mean_iou == pytest.approx(statistics.stdev([0.1, 0.5]))


@pytest.mark.slow
def test_an_experiment_of_edited_code_is_named_and_its_seed_trains_again(project):
    """It started from HEAD with the same params, and has a score of 0.9 where the seed has 0.5."""
    stage, pipeline = project / "stage.py", project / "dvc.yaml"
    pipeline.write_text(PIPELINE.replace("    params", "    deps: [stage.py]\n    params"))
    assert run("dvc", "repro", cwd=project).returncode == 0
    commit(project)
    stage.write_text(stage.read_text().replace("0.5", "0.9"))
    assert run("dvc", "exp", "run", "-n", "edited", "-S", "seed=1", cwd=project).returncode == 0
    git(project, "checkout -q .")
    done = run("segpipe", "noise", "--seeds", "2", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "1 experiments are left out, since they ran with other code or data than HEAD: edited\n"
        "1 of 2 seeds have scores"
    ) in done.stdout
    assert ran(project) == [0, 1, 1]
    mean_iou = written(project)["seeds"]["deviation"]["original.mean_iou"]
    assert mean_iou == pytest.approx(statistics.stdev([0.1, 0.5]))


def test_a_dirty_tree_is_refused_in_one_line(project):
    for number in range(7):
        (project / f"note {number}").touch()
    message = error_line(run("segpipe", "noise", cwd=project))
    assert message == (
        "error: noise trains the recipe as committed, and these files are not: note 0, note 1, note 2, "
        "note 3, note 4 and 2 more; commit them, or set them aside (git stash -u)\n"
    )
    assert not (project.parent / "ran").exists()


def test_a_damaged_baseline_and_a_single_seed_are_refused_before_anything_runs(project):
    assert run("segpipe", "noise", "--seeds", "1", cwd=project).returncode == 2
    (project / "baseline.json").write_text("{")
    commit(project)
    message = error_line(run("segpipe", "noise", cwd=project))
    assert message.startswith("error: baseline.json: not JSON") and message.count("\n") == 1
    assert not (project.parent / "ran").exists()


def test_a_revision_reads_words_as_the_pipeline_does(monkeypatch):
    """Others take `off` for a boolean."""
    monkeypatch.setattr(Revision, "text", lambda self, path: "train: {class_weights: {off: 2.0}}")
    assert Revision().params() == {"train.class_weights.off": 2.0}


@pytest.mark.slow
def test_ctrl_c_leaves_the_experiments_running_and_the_same_command_follows_them(project):
    """Each seed waits for a file that the test writes once Ctrl-C was pressed."""
    go_on = project.parent / "go-on"
    waits = f"import time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.05)\nscore ="
    stage = project / "stage.py"
    stage.write_text(stage.read_text().replace("score =", waits, 1))
    commit(project)
    stopped = interrupt_once(project.parent / "ran", project, "segpipe", "noise", "--seeds", "2")
    assert error_line(stopped).startswith("error: no scores of seed 0, 1 yet: `dvc queue status` shows")
    assert "Ctrl-C leaves them running" in stopped.stdout
    assert "seeds" not in written(project)
    go_on.touch()
    done = run("segpipe", "noise", "--seeds", "2", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(ran(project)) == [0, 1], "none trains twice"
    assert written(project)["seeds"]["number"] == 2
