"""The input of training without the model: images a second, against the training step's.

300 images of 128 px in batches of `quick`: with its augmentation, with every change of
`train.augment`, mirrored only, and cropped out of pieces with the margin of `data.tiles`. The input is
stateless, so that a run resumes bit for bit. Its cost is the ratio to the same input with TensorFlow's
stateful shuffle and random numbers.
"""

import _bench

import functools
import statistics

import numpy as np
import tensorflow as tf
from _networks import learner, of_recipe

from segpipe.common.records import Tiles
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays, steps_per_pass

COUNT, PASSES, ROUNDS = 300, 6, 9
ENGINE = TensorFlowEngine()
MIRRORED = of_recipe("tutorial").train.augment
EVERYTHING = AugmentParams(
    flip=True, scale=[0.5, 2.0], aspect=1.3, rotation=15.0, brightness=0.3, contrast=0.3, saturation=0.3,
    hue=0.05,
)  # fmt: skip


def stateful_batches(samples: Arrays, batch_size: int) -> tf.data.Dataset:
    """Yield batches as `train_batches` does, with TensorFlow's stateful random numbers."""
    read = ENGINE.reader(samples)

    def of_pass(_: tf.Tensor) -> tf.data.Dataset:
        order = tf.data.Dataset.from_tensor_slices(tf.random.shuffle(tf.range(COUNT)))
        return order.batch(batch_size, drop_remainder=True)

    def mirrored(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(*read(chosen), tf.random.uniform([batch_size, DRAWS]), MIRRORED)

    batches = tf.data.Dataset.range(PASSES).flat_map(of_pass)
    return batches.map(mirrored, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def drain(batches: tf.data.Dataset) -> None:
    """Take all batches."""
    for _ in batches:
        pass


def main() -> None:
    """Run the rounds and publish the ratios."""
    params = of_recipe("quick")
    ENGINE.prepare(params.train)
    size, batch_size = params.data.image_size, params.train.batch_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, *size, 3), np.uint8)
    arrays = Arrays(images, images[..., 0] % 3, [str(number) for number in range(COUNT)])
    piece = Tiles(1.0, params.data.tiles.margin).piece(size)
    large = rng.integers(0, 256, (COUNT, *piece, 3), np.uint8)
    pieces = Arrays(large, large[..., 0] % 3, arrays.names)
    steps = range(PASSES * steps_per_pass(arrays, batch_size))
    pipelines = {
        name: ENGINE.train_batches(arrays, steps, Batching(batch_size, 0, changes))
        for name, changes in {
            "mirrored": MIRRORED, "as quick": params.train.augment, "every change": EVERYTHING,
        }.items()
    }  # fmt: skip
    pipelines["crops of pieces"] = ENGINE.train_batches(
        pieces, steps, Batching(batch_size, 0, params.train.augment, size)
    )
    pipelines["mirrored, stateful"] = stateful_batches(arrays, batch_size)
    runs = {name: functools.partial(drain, batches) for name, batches in pipelines.items()}
    model, batch = learner(params), next(iter(pipelines["as quick"]))

    def train() -> None:
        for _ in range(PASSES):
            model.train_on_batch(*batch)

    seconds = _bench.in_turns({**runs, "the training step": train}, ROUNDS)
    drawn = {name: len(steps) * batch_size for name in runs}
    drawn["the training step"] = PASSES * batch_size
    step, cropped = (
        _bench.ratio(seconds, "the training step", name) * len(steps) / PASSES
        for name in ("as quick", "crops of pieces")
    )
    _bench.publish(
        "input",
        {f"images/s, {name}": drawn[name] / statistics.median(seconds[name]) for name in seconds},
        {
            "as quick / the training step, images/s": step,
            "crops of pieces / the training step, images/s": cropped,
            "stateless / stateful, mirrored, time": _bench.ratio(
                seconds, "mirrored", "mirrored, stateful"
            ),
        },
    )


if __name__ == "__main__":
    main()
