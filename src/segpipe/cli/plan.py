"""The command that plans a run."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from segpipe.plan.planner import Plan

_RAW = Path("data/raw")


def plan(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long training may take.")] = 30.0,
    write: Annotated[bool, typer.Option("--write", help="Put it into params.yaml.")] = False,
) -> None:
    """Propose params for your data, this machine and some minutes of training.

    Looks at pictures that `dvc repro fetch` wrote, and trains for some seconds to measure a step.
    """
    from segpipe.common.files import write_text
    from segpipe.common.quiet import quiet
    from segpipe.params.file import changed_params
    from segpipe.params.load import PARAMS_FILE, load_params
    from segpipe.plan.sampled import sample_pictures
    from segpipe.preprocess.splitting import SplitRule

    params = load_params()
    data = params.data
    rule = SplitRule.of_params(data, data.on_near_duplicate)
    sampled = sample_pictures(_RAW, rule, [row.name for row in data.classes])
    if backend := params.train.backend_to_set(os.environ):  # before Keras is imported
        os.environ["KERAS_BACKEND"] = backend
    begin = time.monotonic()
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.plan import planner

        importing = time.monotonic() - begin
    proposed = planner.plan(sampled, params, minutes, importing)
    text = changed_params(PARAMS_FILE, proposed.changes())  # checks it
    _print(proposed)
    if write:
        write_text(PARAMS_FILE, text)
        print(f"\nwritten to {PARAMS_FILE}; next: `dvc repro`")
    else:
        print(f"\nto put this into {PARAMS_FILE}: segpipe plan --minutes {minutes:g} --write")


def _print(plan: "Plan") -> None:
    from segpipe.common.words import duration

    print(plan.device)
    table = Table("param", "now", "proposed", Column("why", overflow="fold"))
    for row in plan.rows:
        now, proposed = escape(str(row.now)), escape(str(row.proposed))
        changed = row.proposed != row.now
        table.add_row(row.key, now, f"[b]{proposed}" if changed else proposed, escape(row.reason))
    Console().print(table)
    for need in plan.needs:
        print(f"memory of {need.stage}: {need.bytes / 1e9:.1f} GB ({need.reason})")
    schedule = plan.schedule
    parts = (
        f"{duration(schedule.start)} to trace, {duration(schedule.training)} of steps, "
        f"{duration(schedule.validating)} of {schedule.epochs} validations"
    )
    before = f"and {duration(plan.before)} before it, to start"
    print(f"time of training: {duration(schedule.seconds)} ({parts}), {before}")
