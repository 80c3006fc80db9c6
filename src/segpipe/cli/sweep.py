"""The command that searches for better params."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli import tables

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def sweep(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Ranges of params, in YAML.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("-S", metavar="KEY=RANGE", help="A range or a value on top; may be repeated."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials, all in all.")] = None,
) -> None:
    """Search the params with the best validation mean IoU, with Optuna.

    Trains the recipe as committed with other params, one DVC experiment a trial. The same command
    resumes it.
    """
    from segpipe.common.errors import UserError
    from segpipe.review import git
    from segpipe.sweep.plan import read_plan

    git.require_commits()
    git.require_committed("sweep", [file] if file else [])
    plan = read_plan(file, trials, param or [])
    from segpipe.sweep.search import search  # takes seconds, for Optuna

    searched = search(plan)
    keys = [key.replace(".", ".\n") for key in plan.ranges]
    table = tables.table("Trials", "trial", "validation\nmean IoU", "epochs", *keys)
    table.add_column("pruned or failed", overflow="fold")
    for trial in searched:
        table.add_row(*_row(trial, [*plan.ranges]))
    tables.show(table)
    known = [trial for trial in searched if trial.state.name in ("COMPLETE", "PRUNED")]
    complete = (trial for trial in known if trial.state.name == "COMPLETE")
    if best := max(complete, key=_value, default=None):
        print(f"best: dvc exp apply {best.user_attrs['experiment']}")
    if len(known) < plan.trials:
        left = plan.trials - len(known)
        raise UserError(f"{left} of {plan.trials} trials failed; the same command tries as many again")


def _value(trial: "FrozenTrial") -> float:
    return trial.value or 0.0


def _row(trial: "FrozenTrial", keys: list[str]) -> list[str]:
    from segpipe.common.words import score

    mean_iou = score(trial.value, "–") if trial.state.name == "COMPLETE" else "–"
    values = (trial.params.get(key, "–") for key in keys)
    params = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
    epochs = str(max(trial.intermediate_values, default=0))
    return [str(trial.number), mean_iou, epochs, *params, trial.user_attrs.get("reason", "")]
