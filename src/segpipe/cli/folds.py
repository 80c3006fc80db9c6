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
        differs = "".join(f", {key}={value}" for key, value in found.differs.items())
        title = f"{len(found.scores)} of {found.folds} folds{differs}"
        Console().print(_table(title, found) if found.scores else title)
        if missing := found.missing:
            print(f"missing: fold{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}")
        for fold, name in found.repeated.items():
            print(f"fold {fold} ran several times; {name} is the newest, and counts")
        for why in found.left_out:
            print(why)


def _table(title: str, found: Any) -> Any:
    """Return a table of the scores, a column a fold."""
    made = tables.table(title, "", "mean", "deviation", *(f"fold {n}" for n in sorted(found.scores)))
    for row in found.rows():
        numbers = (row.mean, row.deviation, *row.values)
        made.add_row(row.name, *(score(number, "–") for number in numbers))
    return made
