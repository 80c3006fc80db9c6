"""Commands on the results."""

from pathlib import Path
from typing import Annotated

import typer

from segpipe.cli import tables
from segpipe.common.files import read_json
from segpipe.common.words import score


def scores(
    results: Annotated[Path, typer.Argument(help="Holds evaluate/ and report/.")] = Path("results"),
) -> None:
    """Show the scores on the test split, and where the report is."""
    from segpipe.evaluate.metrics import MEANS  # takes a moment, for NumPy

    content = read_json(results / "evaluate/metrics.json", "evaluate")
    original, network = content["original"], content["network"]
    table = tables.table(
        f"Scores on {content['images']} test images", "", "original size", "network size"
    )
    for name in MEANS:
        table.add_row(name, score(original[name]), score(network[name]))
    for tolerance, f1 in original["boundary_f1"].items():
        table.add_row(f"boundary_f1.{tolerance}", score(f1), "–")
    for name in original["iou"]:
        table.add_row(f"iou.{name}", score(original["iou"][name]), score(network["iou"][name]))
    tables.show(table)
    print(f"report: {(results / 'report/index.html').resolve()}")


def baseline() -> None:
    """Make the present scores the ones that the report compares with (`baseline.json`)."""
    from segpipe.report.baseline import make_baseline  # takes half a second, for pandas

    path = Path("baseline.json")
    mean_iou = make_baseline(Path("results/evaluate/metrics.json"), path)
    print(f"{path}: the mean IoU to beat is {score(mean_iou)}; commit it")
