"""The cost of the checkpoint at the end of every epoch, as a share of the epoch.

Epochs have 100 batches of 128 px; model and params are the recipe `quick`.
"""

import _bench

import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from _networks import learner, of_recipe

from segpipe.train.engine import Batching, current_engine
from segpipe.train.resume import Progress, Run, save
from segpipe.train.samples import Arrays

STEPS, EPOCHS = 100, 4


class Saves(keras.callbacks.Callback):
    """Saves after each epoch, and times epoch and checkpoint."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.seconds: _bench.Seconds = {"epoch": [], "checkpoint": []}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save."""
        middle = time.perf_counter()
        save(self.run, Progress(epoch=epoch + 1, best_weights=self.model.get_weights()), self.model)
        self.seconds["epoch"].append(middle - self.start)
        self.seconds["checkpoint"].append(time.perf_counter() - middle)


def main() -> None:
    """Train, save and publish the ratio."""
    params = of_recipe("quick")
    engine = current_engine()
    engine.prepare(params.train)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, *params.data.image_size, 3), np.uint8)
    arrays = Arrays(images, images[..., 0] % 3, [str(number) for number in range(300)])
    steps, batch_size = range(STEPS * EPOCHS), params.train.batch_size
    batches = engine.train_batches(
        arrays, steps, Batching(batch_size, params.seed, params.train.augment)
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        saves = Saves(Run(Path(folder)))
        learner(params).fit(
            batches, epochs=EPOCHS, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[saves]
        )
        size = saves.run.checkpoints[0].stat().st_size
    seconds = {name: times[1:] for name, times in saves.seconds.items()}  # the first epoch traces
    rows = {f"s, {name}": statistics.median(times) for name, times in seconds.items()}
    _bench.publish(
        "checkpoints",
        rows | {"MB, checkpoint": size / 1e6},
        {"checkpoint / epoch, time": _bench.ratio(seconds, "checkpoint", "epoch")},
    )


if __name__ == "__main__":
    main()
