"""The command `next`: chooses pictures of a pool, and copies them for the annotators."""

import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track

from segpipe.common.errors import UserError
from segpipe.common.files import write_text
from segpipe.common.raw import RAW
from segpipe.common.words import few
from segpipe.fetch.sample import BadSampleError, Problem, bad_name
from segpipe.label.choice import rank
from segpipe.label.raw import already_labelled
from segpipe.label.uncertainty import Kind
from segpipe.params.load import load_params
from segpipe.predict.inputs import Source, on_split_folders
from segpipe.predict.labels import LabelFormat, labels_in
from segpipe.predict.labels.tool import Tool
from segpipe.predict.outputs import blamed_on
from segpipe.predict.predictor import Predictor


def to_label(
    predictor: Predictor,
    model: Path,
    pool: Sequence[Source],
    count: int,
    kind: Kind,
    labels: LabelFormat | None,
    out: Path,
) -> list[str]:
    """Choose up to `count` pictures, copy them to `out`, write `out`.csv; return messages for people.

    Pictures of data/raw are left out. With `labels`, the predictions are written too. Raises UserError
    where no picture is left or can be read, or where labels would not be of the classes of params.yaml.
    """
    if labels:
        _require_own_classes(predictor, model)
    known = already_labelled(pool, predictor.input.bands)
    left = [source for source in pool if source not in (known or ())]
    if not left:
        raise UserError(f"{RAW} has all of these {len(pool)} pictures, with their labels")
    messages = [*_on_labelled(known)]
    named = [source for source in left if not bad_name("", source.name)]
    problems = [*filter(None, (bad_name(str(source.path), source.name) for source in left))]
    if not named:
        raise UserError(f"none of {len(left)} pictures can be copied, as {problems[0]}")
    ranked = rank(predictor, named, count, kind)
    unwritten, of_tool = _write(ranked.sources, predictor, labels, out)
    table = out.with_name(f"{out.name}.csv")
    try:
        write_text(table, ranked.table.to_csv(index=False))
    except BaseException:  # Ctrl-C too: the same command would refuse the folder
        shutil.rmtree(out)
        raise
    if len(ranked.sources) < count:
        messages.append(
            f"note: {count} are wanted, and only {len(ranked.sources)} are left: all are taken"
        )
    if problems := [*problems, *ranked.problems, *unwritten]:
        messages.append(_note(f"{len(problems)} pictures cannot be read, and are left out", problems))
    if remarks := ranked.remarks:
        messages.append(_note(f"{len(remarks)} pictures that the model may not know", remarks))
    if of_tool:
        heading = f"{len(of_tool)} pictures whose labels a tool may read in another way"
        messages.append(_note(heading, of_tool))
    if remark := on_split_folders(source.name for source in ranked.sources):
        messages.append(f"note: {remark}")
    written = len(ranked.sources) - len(unwritten)
    messages.append(f"{written} of {len(left)} pictures to label: {out}; all, ranked: {table}")
    return messages


def _on_labelled(known: set[Source] | None) -> Iterator[str]:
    """Yield the note on pictures that are labelled already, if there is one."""
    if known is None:
        yield f"note: there is no {RAW} here, so pictures that are labelled already are not recognised"
    if known:
        names = sorted(source.name for source in known)
        yield _note(f"{len(known)} pictures are left out, since {RAW} has them", names)


def _note(heading: str, items: Sequence[object]) -> str:
    return f"note: {heading}: {few(items, between='; ')}"


def _require_own_classes(predictor: Predictor, model: Path) -> None:
    """Raise UserError where labels of a model would be no classes of params.yaml."""
    names = [c.name for c in load_params().data.classes]
    if names != predictor.classes.names:
        raise UserError(
            f"{model} knows the classes {', '.join(predictor.classes.names)}, and params.yaml has "
            f"{', '.join(names)}: give a model of these, or leave out --labels"
        )


def _write(
    sources: Sequence[Source], predictor: Predictor, labels: LabelFormat | None, out: Path
) -> tuple[list[Problem], list[str]]:
    """Copy pictures to a folder, with their predictions as labels.

    Return what cannot be written, and remarks on labels that a tool may read in another way.
    """
    problems, remarks = [], []
    with labels_in(out, labels, predictor.classes) as writer:
        for source in track(sources, "Writing"):
            try:
                with blamed_on(source.path):
                    remark = _add(source, predictor, writer, bool(labels))
            except BadSampleError as error:
                problems.append(error.problem)
            else:
                remarks += [f"{source.path}: {remark}"] if remark else []
    return problems, remarks


def _add(source: Source, predictor: Predictor, writer: Tool, labels: bool) -> str:
    """Copy a picture, with its prediction as labels; return the remark on these."""
    if not labels:
        writer.copy(source.path, source.name)
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `rank` has the remarks
        mask = predictor.predict(source.path)
    entry = writer.of(source.path, source.name, mask)
    writer.enter(entry)
    return entry.remark
