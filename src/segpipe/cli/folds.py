"""The command on cross-validation."""

from typing import Annotated, Any

import typer
from rich.console import Console

from segpipe.cli import tables
from segpipe.report.words import score


def folds(
    rev: Annotated[
        str, typer.Argument(metavar="[REV]", help="The commit that the experiments started from.")
    ] = "HEAD",
) -> None:
    """Show the scores over the folds of DVC's experiments: their mean and standard deviation.

    Experiments whose params are equal but for data.fold belong together.
    """
    from segpipe.review.folds import cross_validations  # takes a second, for DVC

    for found in cross_validations(rev):
        Console().print(_table(found))
        if found.missing:
            print(f"missing: fold {', '.join(map(str, found.missing))}")
        for fold, name in found.repeated.items():
            print(f"fold {fold} ran several times; {name} is the newest, and counts")


def _table(found: Any) -> Any:
    """Return a table of the scores, a column a fold."""
    differs = "".join(f", {key}={value}" for key, value in found.differs.items())
    present = sorted(found.scores)
    headings = ["mean", "deviation", *(f"fold {fold}" for fold in present)]
    table = tables.table(f"{len(present)} of {found.folds} folds{differs}", "", *headings)
    for row in found.rows():
        table.add_row(
            row.name, *(score(number, "–") for number in (row.mean, row.deviation, *row.values))
        )
    return table
