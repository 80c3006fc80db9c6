"""Predicting on files: reading and writing in threads while the network works, in constant memory."""

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
from segpipe.fetch.sample import BadSampleError, Problem, unreadable
from segpipe.predict import outputs
from segpipe.predict.images import read_fitted, read_rgb
from segpipe.predict.inputs import MASKS, OVERLAYS, PROBABILITIES, Source
from segpipe.predict.predictor import Predictor, Tiled, Whole

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


class Shrunk(NamedTuple):
    """A picture as the network sees it, uint8 [height, width, 3], and its own height and width."""

    source: Source
    image: np.ndarray
    original: tuple[int, int]


class Predicted(NamedTuple):
    """What the network says of a picture."""

    source: Source
    result: Whole | Tiled


class Done(NamedTuple):
    """A picture that is written, and its pixels by class."""

    source: Source
    original: tuple[int, ...]
    pixels: np.ndarray


class Failed(NamedTuple):
    """A picture that cannot be read, and why."""

    source: Source
    problem: Problem


class Work:
    """Predicts on pictures and writes what the options ask for.

    A thread reads a picture, the network sees it in a batch, another thread writes. What waits
    between them is as small as the network's input and output, however large the pictures are: for its
    overlay a picture is read again.
    """

    def __init__(self, predictor: Predictor, out: Path, options: Options) -> None:
        self.predictor, self.out, self.options = predictor, out, options
        self.look = predictor.looking(options.tta, options.scales)

    def results(self, sources: Iterable[Source]) -> Generator[Done | Failed, None, None]:
        """Yield what became of each picture, in order; a few at a time are under way."""
        pool = ThreadPoolExecutor(usable_cores())
        try:
            if self.options.tile:
                yield from in_order(lambda one: pool.submit(self.write, one), self.in_tiles(sources), 0)
            else:
                batch = self.predictor.batch_size
                shrunk = in_order(lambda one: pool.submit(self.shrink, one), sources, 2 * batch)
                yield from in_order(
                    lambda one: pool.submit(self.write, one), self.in_batches(shrunk), batch
                )
        finally:
            pool.shutdown(cancel_futures=True)

    def shrink(self, source: Source) -> Shrunk | Failed:
        """Read a picture and make it fit."""
        size, how = self.predictor.size, self.predictor.resize
        read = _read(source, lambda path: read_fitted(path, size, how))
        if isinstance(read, Failed):
            return read
        return Shrunk(source, *read)

    def in_batches(self, pictures: Iterable[Shrunk | Failed]) -> Iterator[Predicted | Failed]:
        """Predict on pictures as a whole."""
        stream = iter(pictures)
        while some := list(islice(stream, self.predictor.batch_size)):
            images = [one.image for one in some if isinstance(one, Shrunk)]
            logits: Iterator[np.ndarray] = iter(self.look(np.stack(images)) if images else [])
            for one in some:
                if isinstance(one, Shrunk):
                    yield Predicted(one.source, self.predictor.whole(next(logits), one.original))
                else:
                    yield one

    def in_tiles(self, sources: Iterable[Source]) -> Iterator[Predicted | Failed]:
        """Predict on pictures in tiles, one after another: each may be huge."""
        keep = self._on_disk if self.options.probabilities else None
        for source in sources:
            picture = _read(source, read_rgb)
            if isinstance(picture, Failed):
                yield picture
            else:
                result = self.predictor.tiled(picture, self.look, keep)
                del picture  # before another thread reads it again
                yield Predicted(source, result)

    def write(self, predicted: Predicted | Failed) -> Done | Failed:
        """Write all that is asked for of one picture."""
        if isinstance(predicted, Failed):
            return predicted
        source, result = predicted
        picture = _read(source, read_rgb)
        if isinstance(picture, Failed):
            return picture
        mask, table = result.mask(), self.predictor.classes
        outputs.write_mask(self.out / MASKS / f"{source.name}.png", outputs.mask_picture(mask, table))
        coloured = outputs.overlay(picture, mask, table)
        outputs.write_overlay(self.out / OVERLAYS / f"{source.name}.jpg", coloured)
        if self.options.probabilities:
            path = self.out / PROBABILITIES / source.name
            outputs.WRITERS[self.options.probabilities](path, result.channels(), table.names)
        return Done(source, mask.shape, np.bincount(mask.ravel(), minlength=len(table)))

    def _on_disk(self, shape: tuple[int, ...], kind: type) -> np.ndarray:
        """An array that needs no memory, in a file that is gone with it."""
        with tempfile.TemporaryFile(dir=self.out) as file:
            return np.memmap(file, kind, "w+", shape=shape)


def predict_files(
    predictor: Predictor, sources: Sequence[Source], out: Path, options: Options
) -> Outcome:
    """Predict on pictures; write masks, overlays and a table of class shares to `out`.

    What cannot be read is left out and listed in a second table; the rest is done.

    Raises:
        UserError: a scale cannot be looked at, or the model gives something else than numbers.
        OSError: something cannot be written.
    """
    names, work = predictor.classes.names, Work(predictor, out, options)
    outcome = Outcome()
    with (
        _table(
            out / SHARES, ["path", "height", "width", *(f"share_{name}" for name in names)]
        ) as shares,
        _table(out / FAILED, ["path", "reason"]) as failed,
        contextlib.closing(work.results(sources)) as results,
    ):
        for result in track(results, "Predicting", total=len(sources)):
            path = os.fspath(result.source.path)
            if isinstance(result, Done):
                outcome.predicted += 1
                shares(
                    [path, *result.original, *(result.pixels / result.pixels.sum()).round(6).tolist()]
                )
            else:
                outcome.failed += 1
                failed([path, result.problem.found])
                if len(outcome.reasons) < _SHOWN:
                    outcome.reasons.append(f"{result.problem.file}: {result.problem.found}")
    if not outcome.failed:
        (out / FAILED).unlink()
    return outcome


def _read(source: Source, read: Callable[[Path], Read]) -> Read | Failed:
    file = str(source.path)
    try:
        return read(source.path)
    except BadSampleError as error:
        return Failed(source, error.problem)
    except OSError as error:
        return Failed(source, unreadable(file, error))


@contextlib.contextmanager
def _table(path: Path, columns: list[str]) -> Iterator[Callable[[list[Any]], Any]]:
    """A CSV file that is there once it is complete; yields what writes a row."""
    with (
        replaces(path) as partial,
        # Names that are no UTF-8 keep their bytes.
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow
