"""`segpipe folds`: the mean and deviation over the experiments that differ in their fold alone."""

import shutil

import pytest
from dvc.api import exp_save
from helpers import commit, error_line, git, make_toy_project, run, set_params

STAGE = """
import json, pathlib, yaml

params = yaml.safe_load(open("params.yaml"))
score = [0.1, 0.5, 0.3, 0.6][params["data"]["fold"]] * params["train"]["epochs"]
test = {"original": {"mean_iou": score, "iou": {"cat": score, "dog": None}}, "images": 6}
pathlib.Path("results/train").mkdir(parents=True, exist_ok=True)
pathlib.Path("results/evaluate").mkdir(exist_ok=True)
pathlib.Path("results/train/summary.json").write_text(json.dumps({"val_mean_iou": score / 2}))
pathlib.Path("results/evaluate/metrics.json").write_text(json.dumps(test))
"""

PIPELINE = """
stages:
  train:
    cmd: python stage.py
    params: [data.folds, data.fold, train.epochs]
    metrics:
    - results/train/summary.json: {cache: false}
    - results/evaluate/metrics.json: {cache: false}
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A project whose one stage takes no time: scores are made of the params."""
    made = tmp_path_factory.mktemp("folds")
    path = make_toy_project(made, STAGE, PIPELINE, **{"train.epochs": 1})
    commit(path)
    return path


def save(project, name, **params):
    """Save an experiment with the scores of its params, as `dvc exp run` would."""
    set_params(project, params)
    assert run("dvc", "repro", "--force", cwd=project).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        exp_save(name, force=True, include_untracked=["results", "dvc.lock"])


@pytest.fixture(scope="module")
def project(empty, tmp_path_factory):
    """Folds 0, 1 and 3 of 4 with one epoch, fold 0 with two, and an experiment without folds."""
    path = tmp_path_factory.mktemp("saved") / "project"
    shutil.copytree(empty, path, symlinks=True)
    for fold in (0, 1, 3):
        save(path, f"fold-{fold}", **{"data.folds": 4, "data.fold": fold})
    save(path, "longer", **{"data.fold": 0, "train.epochs": 2})
    save(path, "plain", **{"data.folds": 1, "train.epochs": 9})
    git(path, "checkout -q params.yaml")
    return path


def rows(text, title):
    """The cells of a table by the first one."""
    table = text[text.index(title) :].split("└")[0]
    cells = ([cell.strip() for cell in line.strip("│┃").split("│")] for line in table.splitlines())
    return {first: others for first, *others in cells if others}


def test_scores_have_their_mean_and_the_deviation_of_a_sample(project):
    result = run("segpipe", "folds", cwd=project)
    assert result.returncode == 0, result.stderr
    found = rows(result.stdout, "3 of 4 folds, train.epochs=1")
    assert found["original.mean_iou"] == ["0.4000", "0.2646", "0.1000", "0.5000", "0.6000"]
    assert found["val_mean_iou"][:2] == ["0.2000", "0.1323"]
    assert found["original.iou.cat"] == found["original.mean_iou"]
    assert "original.iou.dog" not in found, "no picture has it"
    assert "missing: fold 2\n" in result.stdout


def test_runs_with_other_params_are_a_table_of_their_own(project):
    text = run("segpipe", "folds", cwd=project).stdout
    assert rows(text, "1 of 4 folds, train.epochs=2")["original.mean_iou"] == ["0.2000", "–", "0.2000"]
    assert "missing: folds 1, 2, 3\n" in text
    assert "0.9000" not in text, "it has no folds"


def test_the_newest_of_several_runs_of_a_fold_counts(project, tmp_path):
    """A later run of the same params may have other code."""
    later = tmp_path / "later"
    shutil.copytree(project, later, symlinks=True)
    (later / "stage.py").write_text(STAGE.replace("0.6", "0.7"))
    save(later, "again", **{"data.folds": 4, "data.fold": 3})
    text = run("segpipe", "folds", "HEAD", cwd=later).stdout
    assert rows(text, "3 of 4 folds")["original.mean_iou"][-1] == "0.7000"
    assert "fold 3 ran several times; again is the newest, and counts\n" in text


def test_without_folds_it_says_how_to_queue_them(project, tmp_path):
    git(tmp_path, f"clone -q {project} clone")
    line = error_line(run("segpipe", "folds", cwd=tmp_path / "clone"))
    assert line.startswith("error: no experiment that started from HEAD has data.folds above 1; queue")
    line = error_line(run("segpipe", "folds", "nowhere", cwd=project))
    assert line.startswith("error: nowhere: no such revision here")


@pytest.mark.slow
def test_dvc_queues_a_run_for_each_fold(empty, tmp_path):
    project = tmp_path / "queued"
    shutil.copytree(empty, project, symlinks=True)
    for arguments in (["--queue", "-S", "data.folds=2", "-S", "data.fold=0,1"], ["--run-all"]):
        result = run("dvc", "exp", "run", *arguments, cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr
    text = run("segpipe", "folds", cwd=project).stdout
    assert rows(text, "2 of 2 folds")["original.mean_iou"] == ["0.3000", "0.2828", "0.1000", "0.5000"]
    assert "missing" not in text


IN_TWO = """
stages:
  train:
    cmd: mkdir -p models && cp params.yaml models/model
    params: [data.folds, data.fold, train.epochs]
    outs: [models/model]
  evaluate:
    cmd: python stage.py
    deps: [models/model]
    params: [data.folds]
    metrics:
    - results/train/summary.json: {cache: false}
    - results/evaluate/metrics.json: {cache: false}
  report:
    cmd: echo page > page.html
    deps: [results/evaluate/metrics.json]
    outs: [page.html]
"""


@pytest.mark.slow
def test_an_experiment_that_ran_in_part_does_not_count_and_is_named(tmp_path):
    """Fold 1 was trained alone, so its scores are the commit's; fold 2 lacks the report alone."""
    project = make_toy_project(tmp_path, STAGE, IN_TWO, **{"data.folds": 3, "train.epochs": 1})
    assert run("dvc", "repro", cwd=project).returncode == 0
    commit(project)
    for fold, stage in ((1, "train"), (2, "evaluate")):
        done = run("dvc", "exp", "run", "-n", stage, "-S", f"data.fold={fold}", stage, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
        git(project, "checkout -q .")
    text = run("segpipe", "folds", cwd=project).stdout
    assert rows(text, "1 of 3 folds")["original.mean_iou"] == ["0.3000", "–", "0.3000"]
    assert "missing: folds 0, 1\ntrain is left out: its stage evaluate ran with other params" in text
