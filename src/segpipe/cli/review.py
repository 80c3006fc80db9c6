"""Commands of the pull-request loop."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from segpipe.cli import tables


def check(
    base: Annotated[str, typer.Option(help="The revision to compare with.")] = "origin/main",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer whether this may be merged: is everything up to date, what changed, do the gates hold.

    Exit code 0: yes. 1: a gate fails or a stage is stale. 2: cannot tell.
    """
    if markdown and as_json:
        raise typer.BadParameter("--markdown or --json, not both")
    from segpipe.review.check import EXIT_CODES, check_against  # takes a second, for DVC
    from segpipe.review.comment import curves_and_pictures

    answer = check_against(base)
    if as_json:
        print(json.dumps(answer.to_json(), indent=2, ensure_ascii=False))
    elif markdown:
        pictures = curves_and_pictures(base) if answer.findings and answer.findings.base else ""
        print(answer.to_markdown() + pictures, end="")
    else:
        Console().print(Markdown(answer.to_markdown()))
    raise typer.Exit(EXIT_CODES[answer.verdict])


def compare(
    before: Annotated[str, typer.Argument(metavar="REV", help="The earlier revision or experiment.")],
    after: Annotated[
        str | None, typer.Argument(metavar="[REV2]", help="The later one; the working tree by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page; replaced.")] = Path("logs/compare"),
) -> None:
    """Write a page on what changed between two revisions: scores, curves, classes, pictures."""
    from segpipe.review import compare as comparison  # takes a second, for DVC

    for missing in comparison.compare(before, after, out):
        print(f"not compared: {missing}")
    print(f"comparison: {(out / 'index.html').resolve()}")


def noise(seeds: Annotated[int, typer.Option(min=2, help="How many seeds to train with.")] = 3) -> None:
    """Measure how much seeds move the scores, and write it to baseline.json.

    Trains the recipe as committed, one experiment a seed, in DVC's queue. The same command resumes it.
    """
    from segpipe.review.noise import measure  # takes a second, for DVC

    deviation = measure(seeds)
    table = tables.table(f"Standard deviation of {seeds} seeds", "", "deviation")
    for name, value in deviation.items():
        table.add_row(name, f"{value:.4f}")
    tables.show(table)
    print("baseline.json: has the spread of seeds; commit it")
