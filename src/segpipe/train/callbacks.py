"""Keras callbacks of a training run."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import rich.progress

from segpipe.common.errors import DIVERGED, UserError
from segpipe.common.words import duration
from segpipe.train.params import TrainParams
from segpipe.train.previews import Preview
from segpipe.train.resume import Progress, Row

if TYPE_CHECKING:
    import dvclive

HISTORY = (
    "epoch", "loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou",
    "learning_rate",
)  # fmt: skip

Logs = dict[str, float] | None


class Diverged(UserError):
    """The loss became NaN or infinite; the message says when."""


class FiniteLoss(keras.callbacks.Callback):
    """Raises `Diverged` after the first step, or execution of steps, whose loss is not finite."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Remember the epoch."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Check the mean over the epoch so far, which one bad step spoils."""
        self._check((logs or {})["loss"], f"in epoch {self.epoch}, step {batch + 1}")

    def on_test_end(self, logs: Logs = None) -> None:
        """Check the validation."""
        self._check((logs or {})["loss"], f"in the validation after epoch {self.epoch}")

    def _check(self, loss: float, when: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"{DIVERGED}{loss} {when}")


def stops_with_dvc() -> keras.callbacks.Callback:
    """Return a callback that ends a run whose DVC was killed: nobody is left to record its results.

    By itself, a stage may outlive its shell.
    """
    parent = os.getppid()

    def check(*_: object) -> None:
        if "DVC_STAGE" in os.environ and os.getppid() != parent:
            raise UserError("the DVC that ran this stage is gone; run the same command again to resume")

    return keras.callbacks.LambdaCallback(on_epoch_begin=check, on_train_end=check)


class Recorder(keras.callbacks.Callback):
    """Keeps `progress` up to date: an epoch's row, its time, and the weights with the best validation.

    The first of equals is the best.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start a clock that does not follow changes of the system's time."""
        self.epoch, self.start = epoch + 1, time.monotonic()

    def on_test_end(self, logs: Logs = None) -> None:
        """Copy the weights if they are the best so far."""
        score = (logs or {})["mean_iou"]
        if score > self.progress.best_mean_iou:
            self.progress.best_epoch, self.progress.best_mean_iou = self.epoch, score
            self.progress.best_weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add the row."""
        learning_rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        learning_rate = float(str(learning_rate))  # 0.001, and not float32's 0.0010000000474974513
        row = {"epoch": epoch + 1, "learning_rate": learning_rate, **(logs or {})}
        self.progress.history.append({column: row[column] for column in HISTORY})
        self.progress.epoch = epoch + 1
        self.progress.seconds += time.monotonic() - self.start


class AveragedWeights(keras.callbacks.Callback):
    """Validates the moving average of the weights; training continues with the weights themselves.

    Keras' own `SwapEMAWeights` swaps by adding and subtracting, which rounds.
    """

    def on_test_begin(self, logs: Logs = None) -> None:
        """Put the averages in."""
        self.trained = [keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        for variable in self.model.trainable_variables:  # JAX's validation would donate the averages
            variable.assign(keras.ops.copy(variable.value))

    def on_test_end(self, logs: Logs = None) -> None:
        """Put the weights back."""
        for variable, value in zip(self.model.trainable_variables, self.trained, strict=True):
            variable.assign(value)

    def on_train_end(self, logs: Logs = None) -> None:
        """Put them back again: Keras ends `fit` with the averages in, but another phase may follow."""
        self.on_test_end()


class Previews(keras.callbacks.Callback):
    """Draws the predictions for the same few images, before training and after every n-th epoch."""

    def __init__(self, images: np.ndarray, batch_size: int, every: int, draw: Preview) -> None:
        super().__init__()
        self.images, self.batch_size = images, batch_size
        self.every, self.draw = every, draw

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Draw the predictions of the untrained decoder, and remember the epoch."""
        self.epoch = epoch + 1
        if epoch == 0:
            self._draw(0)

    def on_test_end(self, logs: Logs = None) -> None:
        """Draw after every n-th epoch, with the weights that were validated."""
        if self.epoch % self.every == 0:
            self._draw(self.epoch)

    def _draw(self, epoch: int) -> None:
        batches = (
            self.images[begin : begin + self.batch_size]
            for begin in range(0, len(self.images), self.batch_size)
        )
        logits = map(self.model.predict_on_batch, batches)
        self.draw(epoch, np.concatenate([batch.argmax(-1).astype(np.uint8) for batch in logits]))


class ProgressDisplay(keras.callbacks.Callback):
    """Shows the progress: a bar on a terminal, else one line an epoch. A context manager."""

    def __init__(self, progress: Progress, params: TrainParams, steps: int) -> None:
        super().__init__()
        self.progress, self.epochs, self.steps = progress, params.total_epochs, steps
        self.batch_size = params.batch_size
        self.bar = rich.progress.Progress(
            rich.progress.TextColumn("epoch {task.fields[epoch]}"),
            rich.progress.BarColumn(bar_width=None),
            rich.progress.TextColumn("{task.fields[scores]}"),
            rich.progress.TimeRemainingColumn(),
            disable=not sys.stdout.isatty(), refresh_per_second=2,
        )  # fmt: skip

    def __enter__(self) -> "ProgressDisplay":
        """Show the bar on a terminal."""
        self.bar.start()
        self.task = self.bar.add_task(
            "", total=self.epochs * self.steps, completed=self.progress.epoch * self.steps,
            epoch=f"{self.progress.epoch}/{self.epochs}", scores="",
        )  # fmt: skip
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the bar."""
        self.bar.stop()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the epoch's clock."""
        self.start, self.done = time.monotonic(), epoch * self.steps
        self.bar.update(self.task, epoch=f"{epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Advance by a step."""
        self.rate = (batch + 1) * self.batch_size / (time.monotonic() - self.start)
        self.bar.update(self.task, completed=self.done + batch + 1, scores=self._scores(logs))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Print the epoch's line."""
        if self.bar.disable:
            left = duration((self.epochs - epoch - 1) * (time.monotonic() - self.start))
            print(f"epoch {epoch + 1}/{self.epochs}: {self._scores(logs)}, {left} left", flush=True)

    def _scores(self, logs: Logs) -> str:
        validated = ""
        if self.progress.history:
            last = self.progress.history[-1]["val_mean_iou"]
            best = f"best {self.progress.best_mean_iou:.4f} in epoch {self.progress.best_epoch}"
            validated = f"validation mean IoU {last:.4f} ({best}), "
        return f"loss {(logs or {})['loss']:.4f}, {validated}{self.rate:.0f} images/s"


@contextlib.contextmanager
def live_log(folder: Path, progress: Progress) -> Iterator[list[keras.callbacks.Callback]]:
    """Yield the callback that writes the log; none without DVCLive, as on a bare training machine."""
    try:
        import dvclive
    except ModuleNotFoundError as error:
        if error.name != "dvclive":
            raise
        log = contextlib.nullcontext()
    else:  # by default DVCLive would edit dvc.yaml and save an experiment
        log = dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report="html")
    with log as live:
        yield [] if live is None else [LiveLog(live, progress)]


class LiveLog(keras.callbacks.Callback):
    """Writes DVCLive's log and page during training; they are no out of the stage."""

    def __init__(self, live: "dvclive.Live", progress: Progress) -> None:
        super().__init__()
        self.live, self.progress = live, progress

    def on_train_begin(self, logs: Logs = None) -> None:
        """Log the history anew: an earlier process may have logged an epoch that has no checkpoint."""
        for step, row in enumerate(self.progress.history):
            self.live.step = step
            self._log(row)
        if self.progress.history:
            self.live.next_step()  # writes the page, once

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch."""
        self._log(self.progress.history[-1])
        self.live.next_step()

    def _log(self, row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                self.live.log_metric(name, value)
