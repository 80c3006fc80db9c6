"""The console command `segpipe`. Nothing here imports TensorFlow."""

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.filesize import decimal
from rich.markdown import Markdown
from rich.table import Table

import segpipe
from segpipe import unfinished
from segpipe.errors import exits_cleanly
from segpipe.files import read_json
from segpipe.modelfile import read_card
from segpipe.words import duration, score

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=segpipe.__doc__
)


@exits_cleanly
def main() -> None:
    """Run the command line; what the user can mend ends in one line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"segpipe {segpipe.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Segmentation as a reproducible DVC pipeline. Stages run with `dvc repro`."""


@app.command()
def scores(
    results: Annotated[Path, typer.Argument(help="Folder with evaluate/ and report/.")] = Path(
        "results"
    ),
) -> None:
    """Show the scores on the test split, and where the report is."""
    content = read_json(results / "evaluate" / "metrics.json", "evaluate")
    original, network = content["original"], content["network"]
    table = _table(f"Scores on {content['images']} test images", "", "original size", "network size")
    for name in ("pixel_accuracy", "mean_iou", "mean_dice"):
        table.add_row(name, score(original[name]), score(network[name]))
    for name in original["iou"]:
        table.add_row(f"iou.{name}", score(original["iou"][name]), score(network["iou"][name]))
    Console().print(table)
    print(f"report: {(results / 'report' / 'index.html').resolve()}")


@app.command()
def check(
    base: Annotated[str, typer.Option(help="The revision to compare with.")] = "origin/main",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer whether this may be merged: is all up to date, what changed, do the gates hold.

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
        looks = curves_and_pictures(base) if answer.findings and answer.findings.base else ""
        print(answer.to_markdown() + looks, end="")
    else:
        Console().print(Markdown(answer.to_markdown()))
    raise typer.Exit(EXIT_CODES[answer.verdict])


@app.command()
def baseline() -> None:
    """Make the scores of now the ones that the report compares with (`baseline.json`)."""
    from segpipe.report.baseline import make_baseline  # takes half a second, for pandas

    path = Path("baseline.json")
    mean_iou = make_baseline(Path("results/evaluate/metrics.json"), path)
    print(f"{path}: the mean IoU to beat is {score(mean_iou)}; commit it")


@app.command()
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


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="A model that segpipe saved.")] = Path(
        "models/model.keras"
    ),
) -> None:
    """Show what made a model: scores, classes, params, data, libraries (as YAML)."""
    print(yaml.safe_dump(read_card(model), sort_keys=False, allow_unicode=True), end="")


@app.command()
def runs(
    clear: Annotated[bool, typer.Option("--clear", help="Remove those that no process trains.")] = False,
) -> None:
    """List the unfinished training runs, which the same params go on with."""
    if clear:
        for run, trainer in unfinished.clear():
            print(
                f"{run.fingerprint}: " + (f"left alone, trained by {trainer}" if trainer else "removed")
            )
        return
    found = unfinished.unfinished()
    if not found:
        print("no unfinished run")
        return
    table = _table(
        f"Unfinished runs in {unfinished.root()}", "run", "epoch", "age", "size", "trained by"
    )
    for run in found:
        epochs = run.identity.get("params", {}).get("train", {}).get("epochs", "?")
        table.add_row(
            run.fingerprint, f"{run.epoch} of {epochs}", duration(run.age), decimal(run.size),
            run.trained_by or "nobody",
        )  # fmt: skip
    Console().print(table)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
