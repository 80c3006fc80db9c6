"""The console command `segpipe`. Commands import heavy libraries only when they run."""

from typing import Annotated

import typer

import segpipe
from segpipe.cli import (
    data,
    drift,
    export,
    folds,
    hub,
    label,
    model,
    plan,
    predict,
    recipes,
    results,
    review,
    runs,
    serve,
)
from segpipe.cli import sweep as sweeps
from segpipe.common.errors import exits_cleanly

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=segpipe.__doc__
)


@exits_cleanly
def main() -> None:
    """Run the command line; an error that the user can fix ends in one line."""
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


for command in (
    data.init_data, plan.plan, data.data, results.scores, review.check, review.compare, review.noise,
    results.baseline, model.info, model.model, predict.predict, export.export, serve.serve, hub.push_hub,
    runs.runs, recipes.recipe, folds.folds, sweeps.sweep, label.suspects, label.corrections, drift.drift,
):  # fmt: skip
    app.command()(command)

app.command("next")(label.next_to_label)
