"""The command that exports a model."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.table import Table

from segpipe.cli import tables
from segpipe.common.errors import UserError
from segpipe.common.modelfile import MODEL
from segpipe.common.quiet import quiet
from segpipe.common.words import percent, score
from segpipe.export import ExportFormat
from segpipe.report.words import signed


def export(
    to: Annotated[list[ExportFormat], typer.Option(help="A format; may be given again.")],
    model: Annotated[Path, typer.Option(help="A model that segpipe saved.")] = MODEL,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to; models/export/FORMAT by default.")
    ] = None,
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--no-whole",
            help="From a picture of any size to its mask, or the network alone; by default as "
            "export.whole says.",
        ),
    ] = None,
) -> None:
    """Take a model away: write it for other runtimes, and prove in each that it is as good.

    Exit code 1: an export loses more mean IoU than export.max_drop, or gives other masks than
    `segpipe predict`, and was not written.
    """
    if out and len(to) > 1:
        raise typer.BadParameter("--out names one export; give one --to with it")
    from segpipe.common.records import open_records
    from segpipe.params.load import load_params

    params, manifest = load_params().export, open_records(Path("data/records"))
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.export import run

    targets = {name: out or run.default_target(name) for name in (format_.value for format_ in to)}
    wholes = {name: name in params.whole if whole is None else whole for name in targets}
    for name, target in targets.items():
        run.FORMATS[name].check(target, wholes[name])
    print(f"scoring {model}", flush=True)
    trained = run.open_trained(model, manifest)
    rows, written, dropped = {"keras": trained.findings}, [], []
    for name, target in targets.items():
        print(f"exporting to {name}, and scoring that", flush=True)
        try:
            rows[name] = run.export_to(trained, name, params, target, wholes[name])
            written.append(f"wrote {target}")
        except run.Dropped as error:
            rows[name] = error.findings
            dropped.append(str(error))
    tables.show(_table(rows))
    print(*written, sep="\n")
    if dropped:
        raise UserError("\n       ".join(dropped))


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    """Return the findings on a model and its exports, the model first."""
    first = next(iter(rows.values()))
    table = tables.table(
        f"On {first['images']} test images. changed: pixels of another class; differ: logits, at most; "
        f"ms: one image on {first['threads']} threads",
        "", "mean IoU", "to keras", "changed", "differ", "size", "ms",
    )  # fmt: skip
    for name, findings in rows.items():
        compared = ["", "", ""]
        if "drop" in findings:
            difference = findings.get("largest_difference")
            compared = [
                signed(round(-findings["drop"], 4) + 0.0),  # + 0.0: no minus zero
                percent(findings["changed"]),
                "" if difference is None else f"{difference:.2g}",  # a whole predictor gives no logits
            ]
        table.add_row(
            name, score(findings["original"]["mean_iou"]), *compared,
            decimal(findings["bytes"]), f"{findings['latency_ms']:.1f}",
        )  # fmt: skip
    return table
