"""The training step on a CPU: images a second of `train`, against the tutorial's step.

Both take the same batch of 64 noise images of 128 px with random weights (neither changes what is
computed), the input left out. `tutorial` is the same network function as the yardstick; `default` is
what params.yaml holds, which also trains the encoder.
"""

import _bench

import numpy as np
import tutorial
from _networks import learner, of_recipe

from segpipe.training import on_tensorflow

ROUNDS = 7


def main() -> None:
    """Run the rounds, print the ratios."""
    on_tensorflow.prepare(of_recipe("default").train)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (tutorial.BATCH, tutorial.SIZE, tutorial.SIZE, 3), np.uint8)
    masks = rng.integers(0, tutorial.CLASSES, images.shape[:3], np.uint8)
    floats = images.astype(np.float32) / 255
    yardstick, same = tutorial.network(), learner(of_recipe("tutorial"))
    ours = learner(of_recipe("default"))
    seconds = _bench.in_turns(
        {
            "the tutorial": lambda: yardstick.train_on_batch(floats, masks),
            "tutorial": lambda: same.train_on_batch(images, masks),
            "default": lambda: ours.train_on_batch(images, masks),
        },
        ROUNDS,
    )
    rows = {
        f"images/s, {name}": tutorial.BATCH / float(np.median(times)) for name, times in seconds.items()
    }
    ratios = {
        f"{name} / the tutorial, images/s": _bench.ratio(seconds, "the tutorial", name)
        for name in ("tutorial", "default")
    }
    _bench.publish("step", rows, ratios)


if __name__ == "__main__":
    main()
