"""The comparison of going on from a model with training at once: what its ways are, and that it runs."""

import sys

import pandas as pd
import pytest
import yaml
from helpers import ROOT, make_project, run

sys.path.insert(0, str(ROOT / "experiments"))
import go_on

OWN_DATA = {"SEGPIPE_PET_DIR": "", "SEGPIPE_ENCODER_WEIGHTS": ""}


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A file of results in place of the committed one."""
    monkeypatch.setattr(go_on, "RESULTS", tmp_path / "go_on.csv")
    row = {"way": "all photographs, all steps", "images.train": 271, "original.mean_iou": 0.75,
           "original.pixel_accuracy": 0.9, "summary.val_mean_iou": 0.7}  # fmt: skip
    rows = [row | {"seed": 0}, row | {"seed": 1, "original.mean_iou": 0.77}]
    pd.DataFrame(rows).to_csv(go_on.RESULTS, index=False)
    return go_on.results()


def test_a_third_of_the_steps_and_half_of_the_photographs_are_counted_by_the_recipe(known):
    """`quick` has 10 epochs of 60 steps at a rate of 0.001; 271 photographs were trained on."""
    found = {way: go_on.settings(way, 0)["train"] for way in go_on.WAYS}
    assert [train["steps_per_epoch"] for train in found.values()] == [60, 20, 60, 20, 20]
    assert [train["samples"] for train in found.values()] == [0, 0, 135, 0, 0]
    assert [round(train["learning_rate"], 6) for train in found.values()] == [
        0.001, 0.001, 0.001, 0.001, 0.000333,
    ]  # fmt: skip
    assert {train["epochs"] for train in found.values()} == {10}


def test_the_table_has_mean_and_deviation_over_the_seeds_of_each_way_that_ran(known):
    """Of 0.75 and 0.77 the deviation is 0.014."""
    assert go_on.table(known).splitlines()[2:] == [
        "| all photographs, all steps | 271 | 0.760 ± 0.014 | 0.900 ± 0.000 | 0.700 ± 0.000 | 2 |"
    ]
    assert go_on.table(known.iloc[:0]) == "No results yet."


@pytest.mark.slow
def test_it_goes_on_from_the_model_of_half_and_runs_nothing_twice(tmp_path):
    project = make_project(tmp_path / "project")
    for path in (project / "experiments").glob("*.yaml"):
        path.unlink()
    recipe = {"train": {"epochs": 1, "steps_per_epoch": 3, "batch_size": 4}}
    (project / "experiments/quick.yaml").write_text(f"# Q\n{yaml.safe_dump(recipe)}")
    (project / "experiments/ablation.yaml").write_text("[]")
    for name in ("results", "go_on"):
        (project / f"experiments/{name}.csv").unlink()
    command = ("python", "experiments/go_on.py", "--seeds", "0")
    first = run(*command, cwd=project, **OWN_DATA)
    assert first.returncode == 0, first.stdout + first.stderr
    rows = pd.read_csv(project / "experiments/go_on.csv").set_index("way")
    assert list(rows.index) == list(go_on.WAYS)
    assert rows["images.train"].nunique() == 2
    assert rows.loc[go_on.HALF, "images.train"] == rows["images.train"].max() // 2
    logs = [path.read_text() for path in sorted((project / ".experiments/logs").glob("go-on-*.log"))]
    assert ["starting from data/init/" in log for log in logs] == [False, False, False, True, True]
    assert "| half, then all for a third of the steps |" in (project / "docs/quality.md").read_text()
    again = run(*command, cwd=project, **OWN_DATA)
    assert (again.returncode, again.stdout) == (0, "")
