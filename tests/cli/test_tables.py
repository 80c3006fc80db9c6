"""Tables on a terminal of 80 columns, which pipes and logs have too."""

import re

import pytest

from segpipe.cli import folds, tables
from segpipe.review.folds import CrossValidation

NAMES = (
    "val_mean_iou", "original.mean_iou", "original.mean_dice", "original.pixel_accuracy",
    "original.iou.pet", "original.iou.background", "original.iou.border",
)  # fmt: skip
LONG = "iou.vehicle_passenger_car_parked_at_the_roadside_"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("count", [2, 5, 10])
def test_the_scores_of_any_number_of_folds_are_whole(count, capsys):
    scores = {fold: dict.fromkeys(NAMES, fold / 100) for fold in range(count)}
    tables.show(*folds._tables(CrossValidation(count, {}, scores, {}, {}, [])))
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert all(f"fold {fold}" in printed for fold in range(count))
    assert len(re.findall(r" 0\.\d{4} ", printed)) == len(NAMES) * (2 + count)


def test_long_names_are_told_apart(capsys):
    made = tables.table("", "", "original size", "network size")
    for side in ("left", "right"):
        made.add_row(LONG + side, "0.5000", "0.2500")
    tables.show(made)
    first = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert "".join(first) == f"{LONG}left{LONG}right"


def test_brackets_and_colons_in_a_table_are_text(capsys):
    made = tables.table("out/[final]", "[b]", "at :smile:")
    made.add_row("out/[final]/a.onnx", "[red]1")
    tables.show(made)
    printed = capsys.readouterr().out
    for text in ("out/[final]\n", "[b]", "at :smile:", "out/[final]/a.onnx", "[red]1"):
        assert text in re.sub(" +\n", "\n", printed)
