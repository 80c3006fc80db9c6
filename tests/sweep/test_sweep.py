"""`segpipe sweep`: trials as experiments of DVC, kept in Optuna's journal."""

import json
from math import log10

import pytest
from helpers import commit, error_line, git, make_toy_project, run

from segpipe.review.revision import Revision

pytest.importorskip("optuna", reason="Optuna is not installed (the extra sweep)")

STAGE = """
import json, math, pathlib, sys, yaml

train = yaml.safe_load(open("params.yaml"))["train"]
with open({log!r}, "a") as log:
    print(train["learning_rate"], file=log)
if (pathlib.Path({log!r}).parent / "fail").exists():
    sys.exit("error: the disk is full")
if train["ema"] > 0.5:
    sys.exit("error: the loss is nan in epoch 1, step 2; no epoch was finished before; lower it")
score = 1 - abs(math.log10(train["learning_rate"]) + 2) / 4  # best at 0.01
pathlib.Path("results/train").mkdir(parents=True, exist_ok=True)
pathlib.Path("results/train/summary.json").write_text(json.dumps({{"val_mean_iou": score}}))
pathlib.Path("results/train/history.csv").write_text(f"epoch,val_mean_iou\\n1,0.1\\n2,{{score}}\\n")
"""

PIPELINE = """
stages:
  train:
    cmd: python stage.py
    params: [train]
    metrics:
    - results/train/summary.json: {cache: false}
    plots:
    - results/train/history.csv: {cache: false}
"""

RATE = "train.learning_rate=tag(log, interval(0.0001, 0.1))"


@pytest.fixture
def project(tmp_path):
    """A project whose one stage takes no time: the score is made of the learning rate."""
    stage = STAGE.format(log=str(tmp_path / "ran"))
    path = make_toy_project(tmp_path / "project", stage, PIPELINE, **{"seed": 0, "train.ema": 0.5})
    (path / ".gitignore").write_text("/logs/\n")
    commit(path)
    return path


def ran(project):
    """The learning rates that ran, in order."""
    return [float(line) for line in (project.parent / "ran").read_text().split()]


def names(project):
    """The experiments of the repository."""
    listed = git(project, "for-each-ref --format=%(refname) refs/exps").split()
    return sorted(ref.rpartition("/")[2] for ref in listed if "/exec/" not in ref)


def test_each_trial_is_an_experiment_and_the_same_command_runs_none_again(project, monkeypatch):
    done = run("segpipe", "sweep", "-S", RATE, "--trials", "2", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    found = names(project)
    assert len(found) == len({*ran(project)}) == 2
    monkeypatch.chdir(project)
    scores = {}
    for name, rate in zip(found, ran(project), strict=True):
        revision = Revision(name)
        assert revision.params()["train.learning_rate"] == rate
        scores[name] = revision.scores()["val_mean_iou"]
    best = max(scores, key=scores.get)
    assert done.stdout.endswith(f"best: dvc exp apply {best}\n")
    assert git(project, "status --porcelain") == "", "the working tree is as it was"
    assert not [*(project / ".dvc/tmp/segpipe/sweeps").iterdir()], "the clones are gone"
    again = run("segpipe", "sweep", "-S", RATE, "--trials", "2", cwd=project)
    assert "2 of 2 trials are known, 0 go on" in again.stdout
    assert again.stdout.endswith(f"best: dvc exp apply {best}\n")
    assert len(ran(project)) == 2
    (project / "note").touch()
    message = error_line(run("segpipe", "sweep", "-S", RATE, cwd=project))
    assert message.startswith("error: sweep trains the recipe as committed, and these files are not: no")


@pytest.mark.slow
def test_a_trial_that_fails_first_ends_the_sweep_and_the_same_command_tries_again(project):
    (project.parent / "fail").touch()
    message = error_line(run("segpipe", "sweep", "-S", RATE, "--trials", "1", cwd=project))
    assert "-0 failed: the disk is full (all of it: logs/sweeps/sweep-" in message
    assert message.count("\n") == 1
    assert names(project) == []
    (project.parent / "fail").unlink()
    done = run("segpipe", "sweep", "-S", RATE, "--trials", "1", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [name[-2:] for name in names(project)] == ["-1"]
    assert "the disk is full" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_half_written_record_of_the_journal_is_cut_off_and_the_trials_before_it_stay(project):
    command = ("segpipe", "sweep", "-S", RATE, "--trials", "1")
    assert run(*command, cwd=project).returncode == 0
    with (project / "logs/sweeps/sweep.journal").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"x')  # the disk was full
    for _ in range(3):  # the next records come after it
        again = run(*command, cwd=project)
        assert again.returncode == 0, again.stderr
        assert "1 of 1 trials are known, 0 go on" in again.stdout


@pytest.mark.slow
def test_a_trial_that_diverges_is_pruned_with_its_reason(project):
    on_top = ("-S", RATE, "-S", "train.ema=choice(0.9)", "--trials", "1")
    done = run("segpipe", "sweep", *on_top, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-0: pruned: the loss is nan in epoch 1, step 2\n" in done.stdout
    assert names(project) == []


@pytest.mark.slow
def test_a_choice_that_is_the_commits_own_value_counts_too(project):
    assert run("dvc", "repro", cwd=project).returncode == 0
    commit(project)
    rate = 0.001
    done = run(
        "segpipe", "sweep", "-S", f"train.learning_rate=choice({rate})", "--trials", "1", cwd=project
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validation mean IoU 0.7500" in done.stdout


@pytest.mark.slow
def test_the_search_comes_closer_than_chance_alone(project):
    """Of 16 proposals the last 6 lie closer to the best, 0.01, than the first 10, which are random."""
    done = run("segpipe", "sweep", "-S", RATE, "--trials", "16", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    journal = (project / "logs/sweeps/sweep.journal").read_text()
    assert all(json.loads(line) for line in journal.splitlines())
    distances = [abs(log10(rate) + 2) for rate in ran(project)]
    assert sum(distances[10:]) / 6 < sum(distances[:10]) / 10
