"""Measures a real training step and a real validation on this machine, for some seconds."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import keras
import numpy as np
import rich.progress

from segpipe.common.records import Manifest
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble, freeze
from segpipe.plan import cost
from segpipe.plan.pieces import Pieces
from segpipe.train import callbacks, resume
from segpipe.train.engine import Engine
from segpipe.train.loop import TrainingSetup, compile_phase
from segpipe.train.optimizer import phases
from segpipe.train.params import TrainParams
from segpipe.train.previews import drawer
from segpipe.train.samples import Arrays, preview_samples

_STEPS, _SECONDS = 48, 15.0  # to measure, at most; the first of them are slow
_FIRST = 3  # the steps and batches that trace, fill queues and warm up


@dataclass(frozen=True)
class Timing:
    """Seconds."""

    build: float  # of the network, before the first epoch
    start: float  # tracing and the first preview, beyond the usual time of their steps and batches
    step: float
    sample: float  # of validation
    epoch: float  # at an epoch's end: a checkpoint and the previews


class _Clock(keras.callbacks.Callback):
    """Notes when steps and batches of validation end, and stops when it has seen enough."""

    def __init__(self, advance: Callable[[], None]) -> None:
        super().__init__()
        self.steps, self.batches, self.advance = [time.monotonic()], list[float](), advance

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the loss, as training does: the step has ended then."""
        float((logs or {})["loss"])
        self.steps.append(time.monotonic())
        self.advance()
        enough = len(self.steps) > 2 * _FIRST and self.steps[-1] - self.steps[_FIRST] > _SECONDS
        self.model.stop_training = self.model.stop_training or enough

    def on_test_begin(self, logs: Any = None) -> None:
        """Start the clock of validation."""
        self.batches = [time.monotonic()]

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the loss."""
        float((logs or {})["loss"])
        self.batches.append(time.monotonic())


def measure(
    backbone: Backbone,
    model: ModelParams,
    params: TrainParams,
    manifest: Manifest,
    pieces: Pieces,
    engine: Engine,
) -> tuple[Timing, cost.Memory]:
    """Build the network and train it a little; return what that takes, and the network's memory.

    `manifest` says what the samples are; it needs no files.
    """
    begin = time.monotonic()
    update = {
        "class_weights": "none", "sampling": "uniform",
        "steps_per_epoch": _STEPS * params.steps_per_execution,
    }  # fmt: skip
    params = params.model_copy(update=update)
    execution = params.batch_size * params.steps_per_execution  # samples that the clock sees as one
    training, validation = pieces.training, _repeated(pieces.validation, 4 * _FIRST * execution)
    inner = backbone.architecture(manifest.size, manifest.channels)
    network = assemble(backbone, inner, model, len(manifest.classes), manifest.channels)
    freeze(network, params.freeze)
    memory, learner = cost.memory(network), engine.fused(network)
    shown = preview_samples(validation, params.previews.samples)
    with tempfile.TemporaryDirectory() as folder:
        run = resume.Run(Path(folder))
        draw = drawer(shown, manifest.classes, Path(folder, "kept"), Path(folder, "previews"))
        setup = TrainingSetup(
            identity={}, manifest=manifest, params=params, seed=0, training=training,
            validation=validation, engine=engine, run=run, previewed=shown.images, preview=draw,
            logs=Path(folder),
        )  # fmt: skip
        encoder = network.get_layer("encoder")
        compile_phase(learner, encoder, setup, phases(params, encoder.trainable)[0])
        built = time.monotonic() - begin
        clock = _fit(learner, setup)
        previews = callbacks.Previews(shown.images, len(shown.images), 1, draw)
        first, preview, checkpoint = _extras(learner, previews, run)
    step, batch = _typical(clock.steps), _typical(clock.batches)
    drawn = preview / params.previews.every if params.previews.every else 0.0
    start = _tracing(clock, step, batch) + first * bool(drawn)
    by_step = step / params.steps_per_execution
    return Timing(built, start, by_step, batch / execution, drawn + checkpoint), memory


def _fit(learner: keras.Model, setup: TrainingSetup) -> _Clock:
    """Train for some steps and validate, as `loop.train` does."""
    params, engine = setup.params, setup.engine
    batches = engine.train_batches(setup.training, range(setup.steps), setup.batching)
    with rich.progress.Progress() as bar:
        task = bar.add_task("Measuring steps", total=_STEPS)
        clock = _Clock(lambda: bar.advance(task))
        learner.fit(
            batches, steps_per_epoch=setup.steps, shuffle=False, verbose=0,
            validation_data=engine.validation_batches(setup.validation, params.batch_size),
            callbacks=[clock, *([callbacks.AveragedWeights()] if params.ema else [])],
        )  # fmt: skip
        bar.update(task, completed=_STEPS)
    return clock


def _tracing(clock: _Clock, step: float, batch: float) -> float:
    """Return the seconds of the first steps and of the first validated batch beyond their usual time."""
    steps = clock.steps[_FIRST] - clock.steps[0] - _FIRST * step
    validation = clock.batches[1] - clock.batches[0] - batch
    return max(steps, 0) + max(validation, 0)


def _extras(
    learner: keras.Model, previews: callbacks.Previews, run: resume.Run
) -> tuple[float, float, float]:
    """Return the seconds of the first preview, of a later one and of a checkpoint."""
    previews.set_model(learner)
    first, later = (_seconds(lambda: previews.on_epoch_begin(0)) for _ in range(2))
    progress = resume.Progress(best_weights=learner.get_weights())
    return first, later, _seconds(lambda: resume.save(run, progress, learner))


def _repeated(samples: Arrays, count: int) -> Arrays:
    """Return `count` samples, repeating those that there are."""
    return samples.only([number % len(samples.names) for number in range(count)])


def _typical(ends: list[float]) -> float:
    """Return the mean time between two ends; the first ones do not count where there are more.

    The median would be too low on a busy machine: a few steps take long, in a run as well.
    """
    seconds = np.diff(ends).tolist()
    return fmean(seconds[_FIRST:] or seconds[-1:])


def _seconds(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin
