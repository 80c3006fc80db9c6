"""Predicting on files: threads read and write while the network works, in constant memory."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.progress import track

from segpipe.common.files import replaces
from segpipe.common.parallel import in_order, usable_cores
from segpipe.fetch.sample import BadSampleError, Problem
from segpipe.predict import outputs
from segpipe.predict.images import Seen
from segpipe.predict.inputs import MASKS, OVERLAYS, PROBABILITIES, Source
from segpipe.predict.predictor import Prediction, Predictor

Read = TypeVar("Read")

SHARES, FAILED = "shares.csv", "failed.csv"
_SHOWN = 20


@dataclass(frozen=True)
class Options:
    """How to predict, and what to write beside masks, overlays and shares."""

    tta: bool = False
    scales: Sequence[float] = (1.0,)
    tile: bool = False
    probabilities: outputs.Format | None = None


@dataclass
class Outcome:
    """How many pictures were predicted, how many could not be read, and why the first of these."""

    predicted: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # on pictures that the model may not know


class Done(NamedTuple):
    """The height and width of a picture whose files are written, its pixels by class, and a remark."""

    original: tuple[int, ...]
    pixels: np.ndarray
    remark: str


Step = tuple[Source, Read | Problem]
"""A picture with the result of a step, or with the problem that keeps it from being read."""


class Work:
    """Predicts on pictures and writes what the options ask for.

    One thread reads a picture, the network predicts it in a batch, another thread writes. Only the
    network's input and output wait between them, however large the picture: the overlay reads it again.
    """

    def __init__(self, predictor: Predictor, out: Path, options: Options) -> None:
        self.predictor, self.out, self.options = predictor, out, options
        self.network = predictor.with_views(options.tta, options.scales)

    def results(self, sources: Iterable[Source]) -> Generator[Step[Done], None, None]:
        """Yield the outcome of each picture, in order; a few at a time are under way."""
        pool = ThreadPoolExecutor(usable_cores())
        ahead = 0 if self.options.tile else self.predictor.batch_size
        try:
            if self.options.tile:
                predicted = self.in_tiles(sources)
            else:
                shrunk = in_order(lambda one: pool.submit(self.shrink, one), sources, 2 * ahead)
                predicted = self.in_batches(shrunk)
            yield from in_order(lambda one: pool.submit(self.write, one), predicted, ahead)
        finally:
            pool.shutdown(cancel_futures=True)

    def shrink(self, source: Source) -> Step[Seen]:
        """Read a picture, resized to the network's input."""
        return source, _read(self.predictor.input.fitted, source.path)

    def in_batches(self, pictures: Iterable[Step[Seen]]) -> Iterator[Step[Prediction]]:
        """Predict on pictures as a whole."""
        stream = iter(pictures)
        while batch := list(islice(stream, self.predictor.batch_size)):
            images = [read.pixels for _, read in batch if not isinstance(read, Problem)]
            logits: Iterator[np.ndarray] = iter(self.network(np.stack(images)) if images else [])
            for source, read in batch:
                if isinstance(read, Problem):
                    yield source, read
                else:
                    yield source, self.predictor.whole(next(logits), read.original)

    def in_tiles(self, sources: Iterable[Source]) -> Iterator[Step[Prediction]]:
        """Predict on pictures in tiles, one picture at a time, since each may be huge."""
        keep = self._on_disk if self.options.probabilities else None
        for source in sources:
            seen = _read(self.predictor.input.whole, source.path)
            if isinstance(seen, Problem):
                yield source, seen
            else:
                prediction = self.predictor.tiled(seen.pixels, self.network, keep)
                del seen  # before another thread reads it again
                yield source, prediction

    def write(self, predicted: Step[Prediction]) -> Step[Done]:
        """Write all files of one picture."""
        source, prediction = predicted
        if isinstance(prediction, Problem):
            return source, prediction
        seen = _read(self.predictor.input.whole, source.path)
        if isinstance(seen, Problem):
            return source, seen
        mask, table = prediction.mask(), self.predictor.classes
        outputs.write_mask(self.out / MASKS / f"{source.name}.png", mask, table)
        outputs.write_overlay(self.out / OVERLAYS / f"{source.name}.jpg", seen.pixels, mask, table)
        if self.options.probabilities:
            path = self.out / PROBABILITIES / source.name
            outputs.WRITERS[self.options.probabilities](path, prediction.channels(), table.names)
        return source, Done(mask.shape, np.bincount(mask.ravel(), minlength=len(table)), seen.remark)

    def _on_disk(self, shape: tuple[int, ...], kind: type) -> np.ndarray:
        """Allocate an array in a file that is deleted with it."""
        with tempfile.TemporaryFile(dir=self.out) as file:
            return np.memmap(file, kind, "w+", shape=shape)


def predict_files(
    predictor: Predictor, sources: Sequence[Source], out: Path, options: Options
) -> Outcome:
    """Predict on pictures; write masks, overlays and a table of class shares to `out`.

    Pictures that cannot be read are listed in a second table. Raises a UserError where a scale is wrong
    or the model predicts NaN or infinity, and an OSError where something cannot be written.
    """
    names, work = predictor.classes.names, Work(predictor, out, options)
    columns = ["path", "height", "width", *(f"share_{name}" for name in names)]
    outcome = Outcome()
    with (
        _table(out / SHARES, columns) as shares,
        _table(out / FAILED, ["path", "reason"]) as failed,
        contextlib.closing(work.results(sources)) as results,
    ):
        for source, result in track(results, "Predicting", total=len(sources)):
            path = os.fspath(source.path)
            if isinstance(result, Done):
                outcome.predicted += 1
                parts = (result.pixels / result.pixels.sum()).round(6).tolist()
                shares([path, *result.original, *parts])
                if result.remark:
                    outcome.remarks.append(f"{path}: {result.remark}")
            else:
                outcome.failed += 1
                failed([path, result.found])
                if len(outcome.reasons) < _SHOWN:
                    outcome.reasons.append(f"{result.file}: {result.found}")
    if not outcome.failed:
        (out / FAILED).unlink()
    return outcome


def _read(read: Callable[..., Read], *given: Any) -> Read | Problem:
    try:
        return read(*given)
    except BadSampleError as error:
        return error.problem


@contextlib.contextmanager
def _table(path: Path, columns: list[str]) -> Iterator[Callable[[list[Any]], Any]]:
    """Write a CSV file, which appears once it is complete; yield the function that writes a row."""
    with (
        replaces(path) as partial,
        # Names that are no UTF-8 keep their bytes.
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow
