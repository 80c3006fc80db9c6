"""The command on unfinished training runs."""

from typing import Annotated

import typer
from rich.filesize import decimal

from segpipe.cli import tables
from segpipe.common.words import duration


def runs(
    clear: Annotated[bool, typer.Option("--clear", help="Remove those that no process trains.")] = False,
) -> None:
    """List the unfinished training runs; training with the same params resumes them."""
    from segpipe.train import resume

    if clear:
        for run, trainer in resume.clear():
            outcome = f"left alone, trained by {trainer}" if trainer else "removed"
            print(f"{run.fingerprint}: {outcome}")
        return
    unfinished = resume.unfinished_runs()
    if not unfinished:
        print("no unfinished run")
        return
    table = tables.table(
        f"Unfinished runs in {resume.root()}", "run", "epoch", "age", "size", "trained by"
    )
    for run in unfinished:
        train = run.identity.get("params", {}).get("train", {})
        more = train.get("fine_tuning", {}).get("epochs", 0)
        epochs = train["epochs"] + more if "epochs" in train else "?"
        table.add_row(
            run.fingerprint, f"{run.epoch} of {epochs}", duration(run.age), decimal(run.size),
            run.trained_by or "nobody",
        )  # fmt: skip
    tables.show(table)
