"""What a checkpoint at the end of every epoch costs, as a share of the epoch.

300 images of 128 px, the model and the params that params.yaml holds.
"""

import _bench

import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import learner, of_recipe

from segpipe.data.arrays import Arrays, steps_per_pass
from segpipe.data.pipeline import train_batches
from segpipe.training import on_tensorflow
from segpipe.training.progress import Progress, save
from segpipe.unfinished import Unfinished

COUNT, ROUNDS = 300, 5


def main() -> None:
    """Train, save, print the ratio."""
    params = of_recipe("default")
    on_tensorflow.prepare(params.train)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, *params.data.size, 3), np.uint8)
    arrays = Arrays(images, images[..., 0] % 3, [str(number) for number in range(COUNT)])
    steps = steps_per_pass(arrays, params.train.batch_size)
    batches = train_batches(
        arrays, params.train.batch_size, range(steps), params.seed, params.train.augment
    )
    model = learner(params)
    progress = Progress(best_weights=model.get_weights())
    with tempfile.TemporaryDirectory(dir=".") as folder:
        run = Unfinished(Path(folder))

        def checkpoint() -> None:
            progress.epoch += 1
            save(run, progress, model)

        seconds = _bench.in_turns(
            {"epoch": lambda: model.fit(batches, verbose=0), "checkpoint": checkpoint}, ROUNDS
        )
        size = run.checkpoints[0].stat().st_size
    rows = {f"s, {name}": statistics.median(times) for name, times in seconds.items()}
    _bench.publish(
        "checkpoints",
        rows | {"MB, checkpoint": size / 1e6},
        {"checkpoint / epoch, time": _bench.ratio(seconds, "checkpoint", "epoch")},
    )


if __name__ == "__main__":
    main()
