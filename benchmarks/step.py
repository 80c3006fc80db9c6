"""The training step on a CPU: images a second of `train`, against the tutorial's step.

Both take the same batch of 64 noise images of 128 px with random weights, which change no speed; the
input pipeline is left out. The recipe `tutorial` computes the same function as the tutorial; `quick`
also trains the encoder. Each runs in a process of its own, because segpipe configures TensorFlow
differently.
"""

import _bench

from collections.abc import Callable

import numpy as np
import tutorial
from _networks import learner, of_recipe

from segpipe.train.engine import current_engine

ROUNDS = 9


def main() -> None:
    """Run the rounds and publish the ratios."""
    runs = {
        "the tutorial": _bench.OwnProcess(of_tutorial),
        **{name: _bench.OwnProcess(of_segpipe, name) for name in ("tutorial", "quick")},
    }
    seconds = _bench.in_turns(runs, ROUNDS)
    rows = {
        f"images/s, {name}": tutorial.BATCH / float(np.median(times)) for name, times in seconds.items()
    }
    ratios = {
        f"{name} / the tutorial, images/s": _bench.ratio(seconds, "the tutorial", name)
        for name in ("tutorial", "quick")
    }
    _bench.publish("step", rows, ratios)


def of_tutorial() -> Callable[[], object]:
    """Return a step of the tutorial."""
    images, masks = batch()
    floats, model = images.astype(np.float32) / 255, tutorial.network()
    return lambda: model.train_on_batch(floats, masks)


def of_segpipe(name: str) -> Callable[[], object]:
    """Return a step of a recipe."""
    params = of_recipe(name)
    current_engine().prepare(params.train)
    images, masks = batch()
    model = learner(params)
    return lambda: model.train_on_batch(images, masks)


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of noise: images and masks."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (tutorial.BATCH, tutorial.SIZE, tutorial.SIZE, 3), np.uint8)
    return images, rng.integers(0, tutorial.CLASSES, images.shape[:3], np.uint8)


if __name__ == "__main__":
    main()
