"""`segpipe compare`: two revisions beside each other, on a page and in Markdown."""

import json
import shutil

import numpy as np
import pytest
from helpers import PETS, git, plain_params, run, set_params

from segpipe.common.classes import IGNORE
from segpipe.common.codec import encode_png
from segpipe.common.records import Manifest
from segpipe.common.tfrecord import write_shards
from segpipe.preprocess.record_maker import resize_sample
from segpipe.report import grids
from segpipe.report.changes import Change
from segpipe.review import compare, figures


@pytest.fixture
def compared(changed_project, tmp_path):
    """The page of both revisions, in the project that has all data."""
    folder = tmp_path / "page"
    result = run("segpipe", "compare", "main", "change", "--out", str(folder), cwd=changed_project)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"comparison: {folder / 'index.html'}\n", "nothing is missing"
    return folder


def test_the_page_shows_scores_curves_classes_and_pictures_offline(compared, visit):
    visited = visit(compared / "index.html")
    assert visited.page.evaluate("[...document.images].filter(i => i.naturalWidth > 0).length") == 3
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert visited.complaints == []
    assert all(visited.page.evaluate("[...document.images].map(i => i.alt)"))


def test_scores_are_those_of_both_revisions_with_their_difference(compared, changed_project):
    path = "results/evaluate/metrics.json"
    before, after = (
        json.loads(git(changed_project, f"show {rev}:{path}"))["original"]["mean_iou"]
        for rev in ("main", "change")
    )
    row = f"| original.mean\\_iou | {before:.4f} | {after:.4f} | \\{after - before:+.4f} |"
    assert row.replace("\\-", "-") in (compared / "compare.md").read_text()


def test_without_data_it_says_what_is_missing_and_shows_the_rest(pull_request, tmp_path):
    result = run("segpipe", "compare", "origin/main", "--out", str(tmp_path / "page"), cwd=pull_request)
    assert result.returncode == 0, result.stderr
    markdown = (tmp_path / "page/compare.md").read_text()
    for side, label in (("before", "origin/main"), ("after", "the working tree")):
        line = f"predictions {side}: neither DVC's cache nor a remote has those of {label} ("
        assert f"not compared: {line}" in result.stdout
        assert line.replace("(", "\\(") in markdown
    assert (tmp_path / "page/figures/curves.png").is_file()
    assert (tmp_path / "page/figures/samples.png").is_file(), "the pictures that Git holds"


@pytest.mark.slow
def test_an_experiment_is_a_revision(changed_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(changed_project, project, symlinks=True)
    result = run("dvc", "exp", "run", "-S", "report.samples=3", "-n", "three", cwd=project)
    assert result.returncode == 0, result.stderr
    compared = run("segpipe", "compare", "main", "three", cwd=project)
    assert compared.returncode == 0, compared.stderr
    assert "| report.samples | 2 | 3 |" in (project / "logs/compare/compare.md").read_text()


@pytest.mark.slow
def test_predictions_of_another_size_are_compared_at_the_later_ones(tmp_path, changed_project):
    project = tmp_path / "project"
    shutil.copytree(changed_project, project, symlinks=True)
    set_params(project, {"data.image_size": 64})
    assert run("dvc", "repro", cwd=project).returncode == 0
    result = run("segpipe", "compare", "change", cwd=project)
    assert result.returncode == 0, result.stderr
    assert "| data.image\\_size | 32 | 64 |" in (project / "logs/compare/compare.md").read_text()
    assert "Share of these images" in (project / "logs/compare/compare.md").read_text()


def predicted_right(folder, resize):
    """Records of a picture with a pet on its left, and predictions that are its truth."""
    mask = np.ones((64, 32), np.uint8)
    mask[:, :8] = 0
    raw = {"name": b"a", "image": encode_png(np.dstack([mask] * 3)), "mask": encode_png(mask)}
    record = resize_sample(raw, (32, 32), resize, with_original=True)
    seen = np.frombuffer(record["mask"], np.uint8).reshape(32, 32)
    prediction = {"name": b"a", "mask": encode_png(np.where(seen == IGNORE, 2, seen).astype(np.uint8))}
    shards = write_shards(folder, "test", [record], 1)
    (folder / "predictions").mkdir()
    write_shards(folder / "predictions", "test", [prediction], 1)
    manifest = Manifest(folder, "a test", (32, 32), resize, PETS, {"test": {"shards": shards}}, [])
    return manifest, folder / "predictions"


@pytest.mark.parametrize("resizes", [("stretch", "pad"), ("pad", "stretch")])
def test_the_same_part_of_a_picture_is_compared_where_one_side_was_padded(tmp_path, resizes):
    sides = []
    for resize in resizes:
        (tmp_path / resize).mkdir()
        sides.append(predicted_right(tmp_path / resize, resize))
    pictures = [compare._read(*side, {"a": (64, 32)}, plain_params().report) for side in sides]
    _, shares = compare._judged(*pictures, PETS, "")
    assert shares.rows == [["a", "0.0 %", "0.0 %"]]


def test_an_unknown_revision_ends_in_one_line(pull_request):
    result = run("segpipe", "compare", "origin/nowhere", cwd=pull_request)
    assert result.returncode == 2
    assert result.stderr == (
        "error: origin/nowhere: no such revision here; if it exists there: "
        "git fetch --depth 1 origin +nowhere:refs/remotes/origin/nowhere\n"
    )
    assert not (pull_request / "logs/compare").exists(), "nothing half-written"


@pytest.mark.slow
def test_other_pictures_under_the_same_names_are_not_compared(changed_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(changed_project, project, symlinks=True)
    set_params(project, {"data.synthetic.seed": 9})
    assert run("dvc", "repro", cwd=project).returncode == 0
    assert run("segpipe", "compare", "change", cwd=project).returncode == 0
    markdown = (project / "logs/compare/compare.md").read_text()
    assert "No test image is in both: the data differs." in markdown


@pytest.mark.parametrize("out", ["stages", "."])
def test_a_folder_that_is_no_comparison_is_not_replaced(pull_request, out):
    result = run("segpipe", "compare", "origin/main", "--out", out, cwd=pull_request)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {out} holds something other than a comparison; give another --out, which is replaced\n"
    )
    assert (pull_request / "stages/train.py").is_file()


def test_a_history_of_before_a_column_existed_is_missing_and_all_else_is_shown(pull_request):
    git(pull_request, "switch -q -c old origin/main")
    path = pull_request / "results/train/history.csv"
    path.write_text(path.read_text().replace("val_accuracy", "val_acc"))
    git(pull_request, "commit -qam older")
    git(pull_request, "switch -q change")
    result = run("segpipe", "compare", "old", cwd=pull_request)
    assert result.returncode == 0, result.stderr
    assert "not compared: curves before: old has no curves in results/train/history.csv" in result.stdout
    comment = run("segpipe", "check", "--base", "old", "--markdown", cwd=pull_request)
    assert comment.returncode == 1, "the gates of the tiny project do not hold"
    assert "One side has no curves" in comment.stdout


def test_a_pixel_is_judged_by_which_model_is_right():
    truth = np.array([[0, 0, 0, 0, IGNORE]], np.uint8)
    before = np.array([[0, 1, 0, 1, 0]], np.uint8)
    after = np.array([[0, 0, 1, 2, 0]], np.uint8)
    expected = [grids.RIGHT, figures.BETTER, figures.WORSE, figures.STILL_WRONG, (255, 255, 255)]
    judged = figures.judged(truth, before, after)
    assert judged.tolist() == [[list(colour) for colour in expected]]
    assert figures.shares(judged) == (0.2, 0.2)


def test_an_absent_class_has_no_bar():
    scores = [Change("pet", None, 0.5), Change("border", "missing", 0.25)]
    axes = figures.class_bars(scores, {"pet": "pet", "border": "border"}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0, 0.5, 0, 0.25]
    assert [text.get_text() for text in axes.texts] == ["absent", "0.500", "absent", "0.250"]
