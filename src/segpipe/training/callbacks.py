"""What happens around the epochs of a training run."""

from collections.abc import Callable
from pathlib import Path

import dvclive
import keras
import numpy as np

HISTORY = (
    "epoch", "loss", "accuracy", "mean_iou", "val_loss", "val_accuracy", "val_mean_iou",
    "learning_rate",
)  # fmt: skip

Preview = Callable[[int, np.ndarray], None]
"""Draws predicted masks, uint8 [n, S, S], of an epoch (0: before training)."""


class History(keras.callbacks.Callback):
    """Keeps one row an epoch in `rows`, with the columns of `HISTORY`; epochs count from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the row."""
        learning_rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        learning_rate = float(str(learning_rate))  # 0.001, not the float32's 0.0010000000474974513
        row = {"epoch": epoch + 1, "learning_rate": learning_rate, **(logs or {})}
        self.rows.append({column: row[column] for column in HISTORY})


class BestWeights(keras.callbacks.Callback):
    """Remembers the weights of the best validation mean IoU and puts them back at the end.

    The first of equals wins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.best = -1.0
        self.epoch = 0
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare and copy."""
        score = (logs or {})["val_mean_iou"]
        if score > self.best:
            self.best, self.epoch, self.weights = score, epoch + 1, self.model.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Restore."""
        self.model.set_weights(self.weights)


class Previews(keras.callbacks.Callback):
    """Has the predictions for the same few images drawn, before training and every n-th epoch."""

    def __init__(self, images: np.ndarray, every: int, draw: Preview) -> None:
        super().__init__()
        self.images, self.every, self.draw = images, every, draw

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Draw what the untrained decoder makes of them."""
        self._draw(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draw, if it is an epoch's turn."""
        if (epoch + 1) % self.every == 0:
            self._draw(epoch + 1)

    def _draw(self, epoch: int) -> None:
        logits = self.model.predict_on_batch(self.images)
        self.draw(epoch, logits.argmax(-1).astype(np.uint8))


class LiveLog(keras.callbacks.Callback):
    """Writes DVCLive's log and page while training goes on; no out of the stage."""

    def __init__(self, live: dvclive.Live) -> None:
        super().__init__()
        self.live = live

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Log the epoch."""
        for name, value in (logs or {}).items():
            self.live.log_metric(name, value)
        self.live.next_step()


def open_live_log(folder: Path) -> dvclive.Live:
    """A live log that leaves the pipeline alone: DVCLive would edit dvc.yaml and save an experiment."""
    return dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report="html")
