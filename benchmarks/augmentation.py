"""What it costs that augmentation and order are stateless: images a second of the input pipeline alone.

The rival is the same pipeline with TensorFlow's stateful shuffle and random numbers. Both run in turn in
one process, mirroring 300 images of 128 px; the ratio is the median of the ratios pair by pair. Last
comes how fast the pipeline is with every change that `train.augment` knows: a training that takes more
images a second would wait for it.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.config import AugmentParams
from segpipe.data.arrays import Arrays
from segpipe.data.augment import DRAWS, augment
from segpipe.data.pipeline import train_batches

COUNT, SIZE, BATCH, EPOCHS, PAIRS, PASSES = 300, 128, 64, 15, 41, 5
MIRRORED = AugmentParams(
    flip=True, scale=[1.0, 1.0], aspect=1.0, rotation=0.0, brightness=0.0, contrast=0.0, saturation=0.0,
    hue=0.0, blur=0.0, grey=0.0,
)  # fmt: skip
EVERYTHING = AugmentParams(
    flip=True, scale=[0.5, 2.0], aspect=1.3, rotation=15.0, brightness=0.3, contrast=0.3, saturation=0.3,
    hue=0.05, blur=1.0, grey=0.1,
)  # fmt: skip


def stateful_batches(arrays: Arrays) -> tf.data.Dataset:
    """`train_batches` with random numbers that depend on how long the process has lived."""
    images, masks = tf.constant(arrays.images), tf.constant(arrays.masks)

    def of_epoch(_: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.shuffle(tf.range(COUNT))

        def batch(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            draws = tf.random.uniform([BATCH, DRAWS])
            return augment(tf.gather(images, chosen), tf.gather(masks, chosen), draws, MIRRORED)

        chosen = tf.data.Dataset.from_tensor_slices(order).batch(BATCH, drop_remainder=True)
        return chosen.map(batch, num_parallel_calls=tf.data.AUTOTUNE)

    return tf.data.Dataset.range(EPOCHS).flat_map(of_epoch).prefetch(tf.data.AUTOTUNE)


def seconds(batches: tf.data.Dataset) -> float:
    """The time of one pass."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def main() -> None:
    """Run the pairs, print the ratio."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    arrays = Arrays(images, images[..., 0] % 3, [str(number) for number in range(COUNT)])
    stateless = train_batches(arrays, BATCH, range(EPOCHS), 0, MIRRORED)
    stateful = stateful_batches(arrays)
    seconds(stateless), seconds(stateful)
    pairs = []
    for number in range(PAIRS):  # each goes first in every other pair
        both = [stateless, stateful][:: -1 if number % 2 else 1]
        times = [seconds(batches) for batches in both]
        pairs.append(times[:: -1 if number % 2 else 1])
    drawn = EPOCHS * (COUNT // BATCH) * BATCH
    for name, times in zip(("stateless", "stateful"), zip(*pairs, strict=True), strict=True):
        print(f"{name:10} {drawn / statistics.median(times):10,.0f} images/s")
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"stateless / stateful time {ratio:.3f}    bound 1.05")
    changed = train_batches(arrays, BATCH, range(EPOCHS), 0, EVERYTHING)
    times = [seconds(changed) for _ in range(PASSES)]
    print(f"everything {drawn / statistics.median(times):10,.0f} images/s")


if __name__ == "__main__":
    main()
