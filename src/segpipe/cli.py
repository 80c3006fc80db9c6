"""The console command `segpipe`. Nothing here imports TensorFlow."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import segpipe
from segpipe.errors import UserError
from segpipe.files import read_json

app = typer.Typer(no_args_is_help=True, add_completion=False, help=segpipe.__doc__)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"segpipe {segpipe.__version__}")
        raise typer.Exit


@app.callback()
def main(
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
    try:
        content = read_json(results / "evaluate" / "metrics.json", "evaluate")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    original, network = content["original"], content["network"]
    table = Table(title=f"Scores on {content['images']} test images")
    for heading in ("", "original size", "network size"):
        table.add_column(heading, justify="right" if heading else "left")
    for score in ("pixel_accuracy", "mean_iou", "mean_dice"):
        table.add_row(score, _number(original[score]), _number(network[score]))
    for name in original["iou"]:
        table.add_row(f"iou.{name}", _number(original["iou"][name]), _number(network["iou"][name]))
    Console().print(table)
    print(f"report: {(results / 'report' / 'index.html').resolve()}")


def _number(score: float | None) -> str:
    return "absent" if score is None else f"{score:.4f}"
