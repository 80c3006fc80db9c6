"""`segpipe plan`: what it writes, its errors, and that a planned run takes the time it was given."""

import json
import re
import shutil

import pytest
from helpers import ROOT, error_line, make_project, run, run_stage

from segpipe.params.file import changed_params
from segpipe.params.load import load_params
from segpipe.plan.planner import Plan, Row
from segpipe.plan.schedule import Schedule

ROWS = [
    Row("data.resize", "stretch", "tiles", ""),
    Row("data.image_size", 128, [128, 256], ""),
    Row("data.tiles.scale", 1.0, 0.35, ""),
    Row("train.batch_size", 8, 4, ""),
    Row("train.epochs", 20, 7, ""),
    Row("train.steps_per_epoch", 180, 33, ""),
    Row("model.encoder.name", "mobilenet_v2", "mobilenet_v2", ""),
]


def test_what_is_written_keeps_all_comments_and_can_be_loaded(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    before = re.findall("#.*", path.read_text())
    plan = Plan(ROWS, [], Schedule(7, 33, 1, 1, 1), 1, "")
    path.write_text(changed_params(path, plan.changes()))
    assert re.findall("#.*", path.read_text()) == before
    params = load_params(path)
    assert (params.data.resize, params.data.image_size) == ("tiles", (128, 256))
    assert params.data.tiles.scale == 0.35 and params.data.tiles.margin == 0.25
    assert (params.train.batch_size, params.train.epochs, params.train.steps_per_epoch) == (4, 7, 33)
    path.write_text(changed_params(path, {"data": {"image_size": 128}}))
    assert re.findall("#.*", path.read_text()) == before
    assert load_params(path).data.image_size == (128, 128)


def test_without_pictures_the_error_is_one_line_and_comes_before_tensorflow(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    result = run("segpipe", "plan", cwd=tmp_path)
    assert error_line(result) == (
        "error: data/raw: no pictures yet; `dvc repro fetch` writes them, then plan again\n"
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Tiny params with 60 drawings; fetched."""
    path = make_project(tmp_path_factory.mktemp("planned") / "project", **{"data.synthetic.train": 60})
    assert run_stage("fetch", path).returncode == 0
    return path


@pytest.mark.slow
def test_a_planned_run_takes_about_the_time_that_it_was_given(project):
    before = (project / "params.yaml").read_bytes()
    shown = run("segpipe", "plan", "--minutes", "1", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert (project / "params.yaml").read_bytes() == before
    for stage in ("fetch", "preprocess", "train", "evaluate"):
        assert re.search(rf"memory of {stage}: \d\.\d GB \(", shown.stdout)
    assert "to put this into params.yaml: segpipe plan --minutes 1 --write" in shown.stdout
    written = run("segpipe", "plan", "--minutes", "1", "--write", cwd=project)
    assert "written to params.yaml; next: `dvc repro`" in written.stdout
    for stage in ("preprocess", "fetch_encoder", "train"):
        result = run_stage(stage, project)
        assert result.returncode == 0, result.stderr
    seconds = json.loads((project / "logs/train.json").read_text())["seconds"]
    assert 25 < seconds < 100, "broad, as tests run beside each other"


@pytest.mark.slow
def test_too_few_minutes_and_a_second_phase_are_refused_in_one_line(project):
    assert "--minutes 0.1 is too short here" in error_line(
        run("segpipe", "plan", "--minutes", "0.1", cwd=project)
    )
    before = (project / "params.yaml").read_text()
    path = project / "params.yaml"
    path.write_text(changed_params(path, {"train": {"fine_tuning": {"epochs": 2}}}))
    line = error_line(run("segpipe", "plan", cwd=project))
    assert line == "error: a plan has one phase of training; set train.fine_tuning.epochs to 0\n"
    (project / "params.yaml").write_text(before)
