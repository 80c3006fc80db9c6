"""The commands on labels that get better."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segpipe.cli.predictors import open_predictor
from segpipe.common.modelfile import MODEL
from segpipe.common.quiet import quiet
from segpipe.common.words import few, listed
from segpipe.predict.labels import LabelFormat, require_free

if TYPE_CHECKING:
    from segpipe.label.corrections import Corrected
    from segpipe.label.judges import Judge


def suspects(
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Pictures on the page.")] = 50,
    folds: Annotated[
        bool, typer.Option("--folds", help="Training masks too, each judged by the model of its fold.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the page; replaced.")] = Path("results/suspects"),
) -> None:
    """List the masks that may be wrong: OUT.csv, and a page with the pictures."""
    from segpipe.common.classes import class_table
    from segpipe.common.devices import take_gpus
    from segpipe.common.files import write_text
    from segpipe.params.load import load_params

    params = load_params()
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.label import judges, page
        from segpipe.label.suspects import TABLE_BEGINS, find, table
        from segpipe.report.pages import require_own, require_own_table

    require_own(out, page.MARKDOWN, "suspects")
    require_own_table(every := out.with_name(f"{out.name}.csv"), TABLE_BEGINS, "suspects")
    own = class_table(params.data.classes, params.data.ignore)
    take_gpus()
    with tempfile.TemporaryDirectory() as scratch:
        with quiet():  # TensorFlow looks for GPUs
            chosen = [*judges.of_folds(Path(scratch))] if folds else [judges.of_workspace(MODEL, own)]
        ranked, empty = find(chosen)
        sentences = [_judged(chosen, len(ranked), folds)]
        if empty:
            sentences.append(f"left out, since their masks are ignored as a whole: {few(empty)}")
        page.write(ranked[:count], sentences, chosen, params.report, out)
    write_text(every, table(ranked).to_csv(index=False))
    for sentence in sentences:
        print(sentence)
    shown = f"the first {min(count, len(ranked))}: {(out / 'index.html').resolve()}"
    print(f"all: {every}; {shown}")


def _judged(judges: list["Judge"], count: int, folds: bool) -> str:
    if folds:
        return f"{count} masks judged by the models of {len(judges)} folds, none of its own training"
    splits = sorted({split for judge in judges for split in judge.splits.values()})
    return (
        f"{count} masks of {' and '.join(splits)} judged; the model learned those of training, so that "
        "it cannot judge them; after a cross-validation, segpipe suspects --folds can"
    )


def next_to_label(
    pool: Annotated[str, typer.Argument(help="Folder (or glob) of pictures without labels.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures to label; new.")],
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many pictures.")] = 50,
    model: Annotated[Path, typer.Option(help="A model that segpipe saved.")] = MODEL,
    by: Annotated[
        Literal["entropy", "disagreement"],
        typer.Option(help="What is uncertain: the probabilities, or two looks at a picture."),
    ] = "entropy",
    labels: Annotated[
        LabelFormat | None, typer.Option(help="Write the predictions for this annotators' tool, too.")
    ] = None,
) -> None:
    """Choose the pictures to label next: those that the model is unsure of, and unlike each other.

    Copies them to OUT; OUT.csv ranks the pool.
    """
    from segpipe.common.errors import UserError
    from segpipe.common.modelfile import read_card
    from segpipe.predict.inputs import find, left_out

    sources = find([pool], out)
    require_free(out)
    if (ranking := out.with_name(f"{out.name}.csv")).exists():
        raise UserError(
            f"{ranking} exists, and would be overwritten; choose another -o, or remove that file"
        )
    read_card(model)
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.label.next import to_label

    predictor = open_predictor(model)
    for message in to_label(predictor, model, sources, count, by, labels, out):
        print(message)
    if others := left_out([pool]):
        print(f"note: {others}")


def corrections(
    new: Annotated[Path, typer.Argument(metavar="NEW_LABELS", help="Folder with corrected labels.")],
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take this layout where several are seen.")
    ] = None,
) -> None:
    """Replace the masks of the same names in your data's folder, which DVC keeps; say what changed."""
    from segpipe.common.classes import class_table
    from segpipe.common.errors import UserError
    from segpipe.label.corrections import correct, layouts_of
    from segpipe.label.tracked import require_tracked  # takes a second, for DVC
    from segpipe.params.load import load_params

    data = load_params().data
    if data.source != "folder":
        raise UserError(
            f"data.source is {data.source}: only the masks of a folder can be corrected (data.source: "
            "folder)"
        )
    folder = Path(data.folder.path)
    added = require_tracked(folder)
    table = class_table(data.classes, data.ignore)
    candidates = layouts_of(new, layout)
    chosen, evidence = next(iter(candidates.items()))
    print(f"layout:  {chosen} ({evidence}){'; another: --layout NAME' if len(candidates) > 1 else ''}")
    done = correct(folder, data.folder.layout, new, chosen, table, data.bands)
    _print_corrected(done, folder)
    if done.changed:
        print(f"next: dvc add {added} && dvc repro")


def _print_corrected(done: "Corrected", folder: Path) -> None:
    from segpipe.cli import tables

    rows = tables.table("", "class", "pixels before", "gained", "lost", "after")
    for name in dict.fromkeys([*done.before.pixels, *done.after.pixels]):
        columns = done.before.pixels, done.gained, done.lost, done.after.pixels
        rows.add_row(name, *(f"{counts[name]:,}" for counts in columns))
    tables.show(rows)
    for note in done.notes:
        print(f"note: {note}")
    if done.emptied:
        print(listed(f"note: {len(done.emptied)} masks have one class left:", done.emptied, 5))
    if done.unmatched:
        heading = f"note: {len(done.unmatched)} pictures have no mask in {folder}, and are left out:"
        print(listed(heading, done.unmatched, 5))
    if done.damaged:
        heading = f"note: {len(done.damaged)} samples of {folder} cannot be used, and stay as they are:"
        print(listed(heading, done.damaged, 5))
    print(f"{done}; {done.corrected} had a correction, which changed {done.changed:,} pixels")
