"""Predicting on files: threads read and write while the network works, in constant memory."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.progress import Progress

from segpipe.common.files import replaces
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.profile import Mark
from segpipe.fetch.pictures import no_valid_pixel
from segpipe.fetch.sample import BadSampleError, Problem
from segpipe.predict import outputs, raster
from segpipe.predict.images import Seen
from segpipe.predict.inputs import LABELS, MASKS, OVERLAYS, PROBABILITIES, Source
from segpipe.predict.labels import LabelFormat, labels_in, require_free
from segpipe.predict.labels.tool import Entry, Tool
from segpipe.predict.predictor import Prediction, Predictor

Result = TypeVar("Result")
Row = Callable[[list[Any]], Any]  # writes a row of a table

SHARES, FAILED = "shares.csv", "failed.csv"
MARKED = ("distance", "foreign_by")  # the last columns of the table of shares
_SHOWN = 20


@dataclass(frozen=True)
class Options:
    """How to predict, and what to write beside masks, overlays and shares."""

    tta: bool = False
    scales: Sequence[float] = (1.0,)
    tile: bool = False
    probabilities: outputs.ProbabilityFormat | None = None
    labels: LabelFormat | None = None

    @property
    def whole_masks(self) -> bool:
        """Whether something is written that needs the whole picture at once, not row by row."""
        return bool(self.probabilities or self.labels)


@dataclass
class Outcome:
    """How many pictures were predicted, how many could not be read, and why the first of these."""

    predicted: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # on pictures that the model may not know
    marks: list[tuple[str, Mark]] = field(default_factory=list)  # by path


class Done(NamedTuple):
    """A picture whose files are written."""

    original: tuple[int, ...]  # height and width
    pixels: np.ndarray  # valid ones by class, int64 [classes]
    remark: str
    mark: Mark | None = None  # None without a profile, and for a raster that was read by window
    labels: Entry | None = None


Step = tuple[Source, Result | Problem]
"""A picture with the result of a step, or with the problem for which it is left out."""


class FilePredictor:
    """Predicts on pictures and writes what the options ask for.

    One thread reads a picture, the network predicts it in a batch, another thread writes. Only the
    network's input and output wait between them, however large the picture: the overlay reads it again.

    `tool` writes the labels, if any. `progress` gets the share of a picture that is done, where it is
    read by window.
    """

    def __init__(
        self,
        predictor: Predictor,
        out: Path,
        options: Options,
        tool: Tool | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        self.predictor, self.out, self.options, self.tool = predictor, out, options, tool
        self.network = predictor.with_views(options.tta, options.scales)
        self.one_view = not options.tta and tuple(options.scales) == (1.0,)
        self.tile = options.tile or predictor.input.tiles is not None
        self.progress = progress

    def results(self, sources: Iterable[Source]) -> Generator[Step[Done], None, None]:
        """Yield the outcome of each picture, in order; a few at a time are under way."""
        pool = ThreadPoolExecutor(usable_cores())
        ahead = 0 if self.tile else self.predictor.batch_size
        try:
            if self.tile:
                predicted = self.in_tiles(sources)
            else:
                shrunk = in_order(lambda source: pool.submit(self.shrink, source), sources, 2 * ahead)
                predicted = self.in_batches(shrunk)
            written = in_order(lambda step: pool.submit(self.write, step), predicted, ahead)
            yield from map(self.add_labels, written)
        finally:
            pool.shutdown(cancel_futures=True)

    def shrink(self, source: Source) -> Step[Seen]:
        """Read a picture, resized to the network's input."""
        return _attempt(source, self.predictor.input.fitted, source.path)

    def in_batches(self, pictures: Iterable[Step[Seen]]) -> Iterator[Step[Prediction]]:
        """Predict on pictures as a whole."""
        stream = iter(pictures)
        while batch := list(islice(stream, self.predictor.batch_size)):
            images = [seen.pixels for _, seen in batch if not isinstance(seen, Problem)]
            predictions = iter(self.with_traits(np.stack(images)) if images else [])
            for source, seen in batch:
                if isinstance(seen, Problem):
                    yield source, seen
                else:
                    logits, traits = next(predictions)
                    prediction = self.predictor.from_logits(logits, seen.original)
                    yield source, prediction._replace(network_traits=traits)

    def with_traits(self, images: np.ndarray) -> Iterable[tuple[np.ndarray, Mapping[str, float]]]:
        """Return the logits, float32 [*size, classes], and the traits of each picture.

        `images` are uint8 [n, *size, bands]. There are no traits where the model has no profile.
        """
        logits, check = self.network(images), self.predictor.foreign_check
        if check is None:
            return zip(logits, [{}] * len(images), strict=True)
        plain = self.predictor.with_views(False, (1.0,))
        traits = check.network_traits([*images], (lambda images: logits) if self.one_view else plain)
        return zip(logits, traits, strict=True)

    def in_tiles(self, sources: Iterable[Source]) -> Iterator[Step[Prediction | Done]]:
        """Predict on pictures in tiles, one picture at a time, since each may be huge."""
        keep = self._on_disk if self.options.probabilities else None
        for source in sources:
            if not self.options.whole_masks and self._is_by_window(source):
                yield _attempt(source, self.by_window, source)
                continue
            _, seen = _attempt(source, self.predictor.seen, source.path)
            if isinstance(seen, Problem):
                yield source, seen
            else:
                prediction = self.predictor.in_tiles(seen, self.network, keep)
                traits = self.predictor.network_traits(seen.pixels)
                del seen  # before another thread reads it again
                yield source, prediction._replace(network_traits=traits)

    def by_window(self, source: Source) -> Done:
        """Predict on a georeferenced raster, row of tiles by row of tiles, and write as it goes."""
        table = self.predictor.classes
        pixels = np.zeros(len(table), np.int64)
        with raster.opened(source.path, self.predictor.input) as picture:
            size, overlay = picture.size, raster.Overlay(picture)
            with raster.geotiff_writer(self._mask(source, ".tif"), picture, table) as write:
                for rows, probabilities in self.predictor.in_rows(
                    picture.tile, size, size, self.network
                ):
                    mask = probabilities.argmax(-1).astype(np.uint8)
                    seen, invalid = picture.read(rows.start, 0, (len(mask), size[1]))
                    write(rows.start, mask, invalid)
                    overlay.add(rows.start, seen, mask)
                    pixels += outputs.valid_pixels_by_class(mask, invalid, table)
                    self.progress(rows.stop / size[0])
                if not pixels.any():
                    raise no_valid_pixel(str(source.path))
            remark = picture.remark()
        outputs.write_overlay(self._overlay(source), overlay.pixels, overlay.mask, table)
        return Done(size, pixels, remark, None)

    def write(self, predicted: Step[Prediction | Done]) -> Step[Done]:
        """Write all files of one picture, unless they are written."""
        source, prediction = predicted
        if isinstance(prediction, Problem | Done):
            return source, prediction
        return _attempt(source, self._write_files, source, prediction)

    def _write_files(self, source: Source, prediction: Prediction) -> Done:
        """Write all files of one picture. Raises BadSampleError where it cannot be read again."""
        seen = self.predictor.input.at_own_size(source.path)
        mask, table = prediction.mask(), self.predictor.classes
        remarks = [seen.remark]
        if raster.AVAILABLE and raster.georeferenced_size(source.path):
            with raster.opened(source.path, self.predictor.input) as picture:
                pixels = raster.write_mask(self._mask(source, ".tif"), mask, picture, table)
        else:
            outputs.write_mask(self._mask(source, ".png"), mask, table)
            pixels = outputs.valid_pixels_by_class(mask, seen.invalid, table)
            remarks.append(raster.not_placed(source.path))
        outputs.write_overlay(self._overlay(source), seen.pixels, mask, table)
        if self.options.probabilities:
            path = self.out / PROBABILITIES / source.name
            outputs.WRITERS[self.options.probabilities](path, prediction.channels(), table.names)
        check = self.predictor.foreign_check
        mark = check.mark(seen.pixels, prediction.network_traits) if check else None
        # Last, so that a copy of the picture has its labels.
        entry = self.tool.of(source.path, source.name, mask) if self.tool else None
        remarks.append(entry.remark if entry else "")
        return Done(mask.shape, pixels, "; ".join(filter(None, remarks)), mark, entry)

    def add_labels(self, step: Step[Done]) -> Step[Done]:
        """Add the labels of a picture to the folder of labels; called from one thread, in order."""
        source, done = step
        if not self.tool or isinstance(done, Problem) or not done.labels:
            return step
        _, problem = _attempt(source, self.tool.enter, done.labels)
        return (source, problem) if isinstance(problem, Problem) else step

    def _is_by_window(self, source: Source) -> bool:
        tiles = self.predictor.input.tiles
        if not raster.AVAILABLE or (tiles and tiles.scale != 1):
            return False
        size = raster.georeferenced_size(source.path)
        return size is not None and (
            size[0] > self.predictor.size[0] or size[1] > self.predictor.size[1]
        )

    def _mask(self, source: Source, suffix: str) -> Path:
        return self.out / MASKS / f"{source.name}{suffix}"

    def _overlay(self, source: Source) -> Path:
        return self.out / OVERLAYS / f"{source.name}.jpg"

    def _on_disk(self, shape: tuple[int, ...], kind: type) -> np.ndarray:
        """Allocate an array in a temporary file, which is deleted with it."""
        with tempfile.TemporaryFile(dir=self.out) as file:
            return np.memmap(file, kind, "w+", shape=shape)


def predict_files(
    predictor: Predictor, sources: Sequence[Source], out: Path, options: Options
) -> Outcome:
    """Predict on pictures; write masks, overlays and a table of class shares to `out`.

    With `options.labels`, write a folder of labels too. Pictures that cannot be read are listed in a
    second table.

    Raises:
        UserError: a scale is wrong, the model predicts NaN or infinity, or the folder of labels holds
            something.
        OSError: something cannot be written.
    """
    outcome = Outcome()

    def show_progress(share: float) -> None:
        bar.update(task, completed=outcome.predicted + outcome.failed + share)

    names = predictor.classes.names
    columns = ["path", "height", "width", *(f"share_{name}" for name in names), *MARKED]
    predictor.with_views(options.tta, options.scales)  # refuses wrong scales before anything is written
    with Progress() as bar:
        task = bar.add_task("Predicting", total=len(sources))
        with (
            _labels(out, options, predictor) as tool,
            _table(out / SHARES, columns) as shares,
            _table(out / FAILED, ["path", "reason"]) as failed,
        ):
            work = FilePredictor(predictor, out, options, tool, show_progress)
            with contextlib.closing(work.results(sources)) as results:
                for source, result in results:
                    _enter(source, result, outcome, shares, failed)
                    show_progress(0)
    if not outcome.failed:
        (out / FAILED).unlink()
    return outcome


def _labels(
    out: Path, options: Options, predictor: Predictor
) -> contextlib.AbstractContextManager[Tool | None]:
    if not options.labels:
        return contextlib.nullcontext()
    require_free(out / LABELS)
    return labels_in(out / LABELS, options.labels, predictor.classes)


def _enter(source: Source, result: Done | Problem, outcome: Outcome, shares: Row, failed: Row) -> None:
    """Enter a picture or its problem into the tables and the outcome."""
    path = os.fspath(source.path)
    if isinstance(result, Done):
        outcome.predicted += 1
        of_classes = (result.pixels / max(result.pixels.sum(), 1)).round(6).tolist()
        shares([path, *result.original, *of_classes, *_marked(result.mark)])
        if result.mark:
            outcome.marks.append((path, result.mark))
        if result.remark:
            outcome.remarks.append(f"{path}: {result.remark}")
    else:
        outcome.failed += 1
        failed([path, result.found])
        if len(outcome.reasons) < _SHOWN:
            outcome.reasons.append(f"{result.file}: {result.found}")


def _marked(mark: Mark | None) -> list[Any]:
    """Return the entries of the columns `MARKED`: how far a picture lies, and by which trait."""
    return [round(mark.score, 4), mark.trait if mark.foreign else ""] if mark else ["", ""]


def _attempt(source: Source, step: Callable[..., Result], *arguments: Any) -> Step[Result]:
    """Return the result of a step with a picture, or the problem that the step has with it."""
    try:
        with outputs.blamed_on(source.path):
            return source, step(*arguments)
    except BadSampleError as error:
        return source, error.problem


@contextlib.contextmanager
def _table(path: Path, columns: list[str]) -> Iterator[Row]:
    """Write a CSV file, which appears once it is complete; yield the function that writes a row."""
    with (
        replaces(path) as partial,
        # Names that are no UTF-8 keep their bytes.
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow
