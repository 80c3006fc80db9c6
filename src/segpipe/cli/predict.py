"""The command that predicts on pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segpipe.cli.predictors import open_predictor
from segpipe.common.errors import UserError
from segpipe.common.modelfile import MODEL, read_card
from segpipe.common.quiet import quiet
from segpipe.common.words import extent
from segpipe.predict.labels import LabelFormat, require_free

if TYPE_CHECKING:
    from segpipe.predict.folder import Outcome
    from segpipe.predict.foreign import ForeignCheck
    from segpipe.predict.predictor import Predictor

_SHOWN = 20


def predict(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Pictures, folders, globs.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for what is written.")],
    model: Annotated[Path, typer.Option(help="A model that segpipe saved.")] = MODEL,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average with the mirrored picture; twice the work.")
    ] = False,
    scales: Annotated[
        str,
        typer.Option(metavar="A,B", help="Average over these sizes, as factors of the network's input."),
    ] = "1",
    tile: Annotated[bool, typer.Option("--tile", help="Large pictures unscaled, in tiles.")] = False,
    probabilities: Annotated[
        Literal["npz", "png"] | None, typer.Option(help="Write probabilities too, in 16 bits.")
    ] = None,
    labels: Annotated[
        LabelFormat | None,
        typer.Option(help="Write OUT/labels for this annotators' tool, with the pictures."),
    ] = None,
) -> None:
    """Predict on pictures: masks, coloured overlays, a table of class shares.

    Exit code 1: some pictures could not be read (they are listed, the rest is done).
    """
    from segpipe.predict.inputs import LABELS, find, left_out, on_split_folders, require_own_output

    factors = _factors(scales)
    sources = find(inputs, out)
    require_own_output(out)
    if labels:
        require_free(out / LABELS)  # before TensorFlow takes seconds
    read_card(model)
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.predict import folder, outputs

    predictor = open_predictor(model)
    options = folder.Options(tta, factors, tile, probabilities, labels)
    outcome = folder.predict_files(predictor, sources, out, options)
    print(
        f"{outcome.predicted} pictures in {out}; values of masks: {outputs.numbers(predictor.classes)}"
    )
    if labels:
        print(f"labels for {labels}: {out / LABELS}")
        if remark := on_split_folders(source.name for source in sources):
            print(f"note: {remark}")
    for remark in _remarks(predictor, outcome, tile, left_out(inputs)):
        print(f"note: {remark}")
    if outcome.failed:
        heading = (
            f"{outcome.failed} of {len(sources)} pictures could not be read, all listed in "
            f"{out / folder.FAILED}; the others are done:"
        )
        more = outcome.failed - len(outcome.reasons)
        raise UserError(
            "\n  ".join([heading, *outcome.reasons, *([f"... and {more} more"] if more else [])])
        )


def _remarks(predictor: "Predictor", outcome: "Outcome", tile: bool, left_out: str) -> Iterator[str]:
    """Yield remarks on the pictures, and on how the model saw them."""
    if tile and not predictor.input.tiles:
        yield (
            f"the model was trained on whole pictures, resized to {extent(predictor.size)}: in tiles it "
            "sees objects larger than it knows; data.resize: tiles trains it for them"
        )
    yield from outcome.remarks[:_SHOWN]
    yield from _on_marks(predictor.foreign_check, outcome)
    if left_out:
        yield left_out
    if len(outcome.remarks) > _SHOWN:
        yield f"... and {len(outcome.remarks) - _SHOWN} more pictures that the model may not know"


def _on_marks(check: "ForeignCheck | None", outcome: "Outcome") -> list[str]:
    """Return which pictures are foreign to the model, and how many were not checked."""
    from segpipe.predict.foreign import NO_PROFILE, summary

    if check is None:
        return [f"no picture is marked as foreign: {NO_PROFILE}"]
    said = [summary(outcome.marks, check.profile.rate)]
    if left := outcome.predicted - len(outcome.marks):
        said.append(f"{left} rasters were read by window, and not compared with the training pictures")
    return [*filter(None, said)]


def _factors(scales: str) -> list[float]:
    try:
        return [float(scale) for scale in scales.split(",")]
    except ValueError:
        raise UserError(f"--scales {scales}: expected numbers with commas, such as 1,1.25") from None
