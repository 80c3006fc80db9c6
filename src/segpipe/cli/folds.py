"""The command on cross-validation."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from segpipe.cli import tables
from segpipe.common.words import score

_COLUMNS = 5  # of numbers; with the names of scores, they fit into 80 characters


def folds(
    rev: Annotated[
        str, typer.Argument(metavar="[REV]", help="The commit that the experiments started from.")
    ] = "HEAD",
) -> None:
    """Show the scores over the folds of DVC's experiments: their mean and standard deviation.

    Experiments whose params are equal but for data.fold belong together.
    """
    from segpipe.review.folds import cross_validations  # takes a second, for DVC

    for validation in cross_validations(rev):
        differs = "".join(f", {key}={value}" for key, value in validation.differs.items())
        title = f"{len(validation.scores)} of {validation.folds} folds{differs}"
        print(title)
        tables.show(*_tables(validation))
        if missing := validation.missing:
            print(f"missing: fold{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}")
        for fold, name in validation.repeated.items():
            print(f"fold {fold} ran several times; {name} is the newest, and counts")
        for why in validation.left_out:
            print(why)


def _tables(validation: Any) -> Iterator[Any]:
    """Yield tables of the scores with a few columns each: means and deviations, then the folds."""
    columns = ["mean", "deviation", *(f"fold {fold}" for fold in sorted(validation.scores))]
    rows = [(row.name, (row.mean, row.deviation, *row.values)) for row in validation.rows()]
    for first in range(0, len(columns) if rows else 0, _COLUMNS):
        part = slice(first, first + _COLUMNS)
        table = tables.table("", "", *columns[part])
        for name, numbers in rows:
            table.add_row(name, *(score(number, "–") for number in numbers[part]))
        yield table
