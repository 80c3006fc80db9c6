"""The scores to beat: read, checked, compared in words."""

import json
import shutil

import pytest
from helpers import ROOT, error_line, run, run_stage

from segpipe.common.errors import UserError
from segpipe.report.baseline import (
    SeedSpread,
    compared,
    make_baseline,
    read_baseline,
    seeds_in,
    verdict,
    write_seeds,
)


def scores_of(mean_iou, low, high, images=10, **iou):
    original = {"mean_iou": mean_iou, "iou": iou, "interval": {"mean_iou": {"low": low, "high": high}}}
    return {"images": images, "original": original, "loss": 0.5}


@pytest.mark.parametrize(
    ("before", "where", "so"),
    [
        (0.65, "inside", "the difference may be chance"),
        (0.5, "below", "chance alone hardly explains it; this model is better"),
        (0.9, "above", "chance alone hardly explains it; this model is worse"),
    ],
)
def test_the_verdict_says_whether_the_difference_may_be_chance(before, where, so):
    sentence = verdict({"original.mean_iou": before, "images": 10}, scores_of(0.7, 0.6, 0.8))
    assert sentence == (
        f"The baseline's mean IoU, {before:.4f}, lies {where} the 95 % interval of this model's, "
        f"0.6000 to 0.8000: {so}."
    )


def test_equal_and_missing_scores_are_no_difference():
    scores = scores_of(0.7, 0.6, 0.8)
    assert "the baseline's own" in verdict({"original.mean_iou": 0.7, "images": 10}, scores)
    assert "missing on one side" in verdict({"original.mean_iou": None, "images": 10}, scores)


def test_where_the_interval_has_no_width_the_verdict_is_that_nobody_can_tell():
    """The bootstrap of a single image draws that image every time."""
    sentence = verdict({"original.mean_iou": 0.6999, "images": 1}, scores_of(0.7, 0.7, 0.7, images=1))
    assert sentence.startswith("The baseline's mean IoU is 0.6999, this model's 0.7000. Nobody can tell")
    assert "better" not in sentence


@pytest.mark.parametrize(("images", "said"), [({"images": 9}, "on 9 test images"), ({}, "an unknown")])
def test_another_number_of_test_images_is_another_test(images, said):
    sentence = verdict({"original.mean_iou": 0.7, **images}, scores_of(0.7, 0.6, 0.8))
    assert said in sentence and "not the same test" in sentence


def test_changes_name_what_either_side_lacks():
    before = {"original.mean_iou": 0.5, "original.iou.cat": 0.25, "loss": 1.0}
    scores = scores_of(0.75, 0.7, 0.8, dog=0.5)
    scores["original"]["boundary_f1"] = {"2px": 0.5, "5px": 0.75}
    found = {c.name: c for c in compared(before, scores, 30)}
    outlines = found["boundary F1 within 5 px"]
    assert (outlines.before, outlines.after) == (None, 0.75)
    assert found["mean IoU"].difference == 0.25
    assert found["loss (lower is better)"].difference == -0.5
    cat, dog = found["IoU of cat"], found["IoU of dog"]
    assert (cat.before, cat.after, dog.before, dog.after) == (0.25, None, None, 0.5)
    assert cat.difference is dog.difference is None


def test_of_many_classes_the_lowest_are_compared():
    scores = scores_of(0.5, 0.4, 0.6, **{f"c{n}": n / 100 for n in range(99, -1, -1)})
    labels = [c.name for c in compared({"original.mean_iou": 0.5}, scores, 2)]
    assert [label for label in labels if label.startswith("IoU")] == ["IoU of c0", "IoU of c1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        ('{"original": {}}', "no original.mean_iou"),
        ('{"original": {"mean_iou": "high"}}', "original.mean_iou is 'high', not a number"),
        ('{"original": {"mean_iou": NaN}}', "original.mean_iou is nan, not a number"),
        ("\xff", "not JSON"),
        (None, "no such file"),
    ],
)
def test_a_broken_baseline_is_an_error_of_one_line(tmp_path, content, said):
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=said) as raised:
        read_baseline(path)
    assert str(path) in str(raised.value) and "`segpipe baseline`" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_committed_baseline_is_there_or_says_that_none_is():
    scores = read_baseline(ROOT / "baseline.json")
    assert scores == {} or "original.mean_iou" in scores


def test_the_command_makes_these_scores_the_ones_to_beat(finished_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    result = run("segpipe", "baseline", cwd=project)
    metrics = project / "results/evaluate/metrics.json"
    assert (project / "baseline.json").read_bytes() == metrics.read_bytes()
    mean_iou = json.loads(metrics.read_text())["original"]["mean_iou"]
    assert f"{mean_iou:.4f}" in result.stdout
    assert run_stage("report", project).returncode == 0
    assert f"the baseline's own, {mean_iou:.4f}" in (project / "results/report/report.md").read_text()
    (project / "baseline.json").write_text("[")
    assert error_line(run_stage("report", project)).startswith("error: baseline.json: not JSON")


SEEDS = {"number": 3, "recipe": "abc", "deviation": {"original.mean_iou": 0.002}}


def test_the_spread_of_seeds_is_no_score_to_beat_and_stays_when_these_change(tmp_path):
    path, scores = tmp_path / "baseline.json", tmp_path / "metrics.json"
    path.write_text("{}")
    write_seeds(path, *SEEDS.values())
    assert read_baseline(path) == {}
    scores.write_text('{"original": {"mean_iou": 0.5}}')
    assert make_baseline(scores, path) == 0.5
    assert read_baseline(path) == {"original.mean_iou": 0.5}
    assert seeds_in(path.read_text(), "here") == SeedSpread(3, "abc", {"original.mean_iou": 0.002})
    path.write_text("{")
    assert make_baseline(scores, path) == 0.5
    assert seeds_in(path.read_text(), "here") is None


def test_without_scores_there_is_nothing_to_make_a_baseline_of(tmp_path):
    result = run("segpipe", "baseline", cwd=tmp_path)
    assert error_line(result).startswith("error: results/evaluate/metrics.json: no such file")
