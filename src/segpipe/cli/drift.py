"""The command that compares pictures in use with those of training."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.predictors import open_predictor
from segpipe.common.errors import CannotTell, UserError, raise_lost_interrupt
from segpipe.common.modelfile import MODEL, read_card
from segpipe.common.quiet import quiet
from segpipe.common.words import few

if TYPE_CHECKING:
    from segpipe.drift.compare import Shift


def drift(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures in use, at any depth.")],
    model: Annotated[Path, typer.Option(help="A model that segpipe saved.")] = MODEL,
    out: Annotated[Path, typer.Option(help="Folder for the page; replaced.")] = Path("logs/drift"),
) -> None:
    """Answer whether pictures are like those that a model was trained on: OUT.csv, and a page.

    Exit code 0: they are. 1: they differ; it says in which traits, and by how much. 2: cannot tell.
    """
    with _or_cannot_tell():
        shifted = _compared(folder, model, out)
    raise typer.Exit(int(shifted))


@contextmanager
def _or_cannot_tell() -> Iterator[None]:
    """Turn errors into CannotTell (exit code 2), since exit code 1 is an answer."""
    try:
        yield
    except UserError as error:
        raise CannotTell(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CannotTell(f"{where}{error.strerror or error}; mend that and run it again") from None
    except Exception as error:
        raise_lost_interrupt()
        traceback.print_exc()
        raise CannotTell(
            "an error of segpipe's own (see above); report it with this traceback"
        ) from error


def _compared(folder: Path, model: Path, out: Path) -> bool:
    """Compare, write the page and print; return whether the pictures differ."""
    from segpipe.common.profile import Profile
    from segpipe.predict.inputs import left_out, pictures
    from segpipe.report.pages import require_own, require_own_table, write_page

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with the pictures in use")
    sources = [*pictures([str(folder)], out)]
    known = Profile.of_card(read_card(model))
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.drift import page
        from segpipe.drift.compare import compare
        from segpipe.drift.measured import measure
        from segpipe.predict.foreign import NO_PROFILE

    if known is None:
        raise UserError(f"{model}: {NO_PROFILE}")
    require_own(out, page.MARKDOWN, "drift")
    require_own_table(table := out.with_name(f"{out.name}.csv"), page.TABLE_BEGINS, "drift")
    out.parent.mkdir(parents=True, exist_ok=True)  # fails at once where it may not be written
    predictor = open_predictor(model)
    assert predictor.foreign_check  # since the card has a profile
    looked, problems = measure(predictor, predictor.foreign_check, sources)
    if not looked:
        raise UserError(f"{folder}: no picture can be read; the first: {problems[0]}")
    shifts = compare(known, [one.traits for one in looked], [one.mark for one in looked])
    unread = f"{len(problems)} pictures could not be read: {few(problems, between='; ')}"
    remarks = [left_out([str(folder)]), unread if problems else ""]
    sentences = _sentences(shifts, len(looked), remarks)
    write_page(
        "Drift", page.sections(sentences, shifts, looked, known, predictor.input), out, page.MARKDOWN
    )
    page.write_table(looked, table)
    for sentence in sentences:
        print(sentence)
    print(f"all: {table}; page: {(out / 'index.html').resolve()}")
    return any(shift.is_shifted for shift in shifts)


def _sentences(shifts: "list[Shift]", pictures: int, remarks: list[str]) -> list[str]:
    from segpipe.drift.page import moved

    shifted = [shift for shift in shifts if shift.is_shifted]
    if not shifted:
        verdict = f"alike: no trait of {pictures} pictures shifted by more than chance"
    else:
        verdict = f"different: {len(shifted)} of {len(shifts)} traits of {pictures} pictures shifted"
    return [verdict, *map(moved, shifted), *(f"note: {remark}" for remark in remarks if remark)]
