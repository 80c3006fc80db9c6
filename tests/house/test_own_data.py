"""From a user's folder to a report: every layout through the true entry points."""

import json

import numpy as np
import pytest
import yaml
from helpers import error_line, make_project, run, run_stage, set_params
from own_exports import EXPORTS
from own_folders import FOLDERS
from PIL import Image


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder",
    [
        "CamVid", "Carvana", "VOC", "COCO", "Labelme", "binary", "16 bits", "folders in parts",
        *EXPORTS,
    ],
)  # fmt: skip
def test_a_folder_is_trained_and_reported_with_the_params_that_init_data_writes(folder, tmp_path, rng):
    project = make_project(tmp_path / "project", **{"train.batch_size": 2})
    (project / "my data").mkdir()
    {**FOLDERS, **EXPORTS}[folder][1](project / "my data", rng)
    written = run("segpipe", "init-data", "my data", "--write", cwd=project)
    assert written.returncode == 0, written.stderr
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    names = [c["name"] for c in yaml.safe_load((project / "params.yaml").read_text())["data"]["classes"]]
    scores = json.loads((project / "results/evaluate/metrics.json").read_text())
    assert [*scores["original"]["iou"]] == names
    report = (project / "results/report/report.md").read_text().replace("\\", "")
    assert all(name in report for name in names)
    told = run("segpipe", "data", cwd=project)
    assert all(name in told.stdout for name in names)


@pytest.fixture
def told(tmp_path, pairs):
    """A project with records of the pairs, in which class 9 is seen in the test split alone."""
    names = sorted(path.stem for path in (pairs / "masks").iterdir())
    (pairs / "test.txt").write_text("\n".join(names[:3]))
    (pairs / "train.txt").write_text("\n".join(names[3:]))
    Image.new("L", (40, 30), 9).save(pairs / f"masks/{names[0]}.png")
    (pairs / f"images/{names[-1]}.jpg").write_bytes(b"")
    rows = [("pet", 1), ("background", 2), ("unseen", 9)]
    project = make_project(
        tmp_path / "project",
        **{
            "data.source": "folder", "data.folder.path": str(pairs), "data.on_bad": "skip",
            "data.ignore": [3], "data.validation_share": 0.4, "train.class_weights": "balanced",
            "data.classes": [{"name": n, "value": v, "colour": f"#{v:06d}"} for n, v in rows],
        },
    )  # fmt: skip
    for stage in ("fetch", "preprocess"):
        result = run_stage(stage, project)
        assert result.returncode == 0, result.stderr
    return project, result.stdout


def test_data_tells_what_the_records_hold(told):
    project, printed = told
    shown = run("segpipe", "data", cwd=project)
    assert shown.returncode == 0, shown.stderr
    train = json.loads((project / "data/records/manifest.json").read_text())["splits"]["train"]
    said = "class unseen has no pixel in the training split: nothing will learn it"
    assert said in printed, "preprocess says it too"
    row = f"{100 * train['class_shares']['pet']:.4g}"
    for fact in (
        said, "32 x 32 px, stretch", "train.class_weights = balanced", row,
        "1 samples were left out:", "photo 11.jpg: an empty file",
    ):  # fmt: skip
        assert fact in shown.stdout, fact


def test_data_before_there_are_records_names_the_command(tmp_path):
    project = make_project(tmp_path / "project")
    result = run("segpipe", "data", cwd=project)
    assert "data/records/manifest.json: no such file; `dvc repro` writes it" in error_line(result)


def test_a_folder_of_images_without_masks_is_one_line(tmp_path, pairs):
    project = make_project(tmp_path / "project")
    for path in (pairs / "masks").iterdir():
        path.unlink()
    message = error_line(run("segpipe", "init-data", str(pairs), cwd=project))
    assert "12 images (in images), and no masks that go with them; put masks of equal" in message
    set_params(project, {"data.source": "folder", "data.folder.path": str(pairs)})
    assert "12 images (in images), and no masks that go with them" in error_line(
        run_stage("fetch", project)
    )


def test_a_colour_mask_and_a_table_of_numbers_is_one_line_that_knows_the_way(tmp_path, pairs):
    project = make_project(
        tmp_path / "project", **{"data.source": "folder", "data.folder.path": str(pairs)}
    )
    for path in (pairs / "masks").iterdir():
        Image.fromarray(np.full((30, 40, 3), (200, 0, 0), np.uint8)).save(path)
    message = error_line(run_stage("fetch", project))
    assert "a colour picture (mode RGB); expected one channel of class values" in message
    assert "#rrggbb" in message
