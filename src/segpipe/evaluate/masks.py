"""Predict in batches, and turn a network's logits into the classes of a picture's own pixels."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.parallel import in_order
from segpipe.common.records import Resize
from segpipe.preprocess.resize import content_box

Predict = Callable[[np.ndarray], np.ndarray]
"""From uint8 images [n, height, width, bands] to float32 logits [n, height, width, classes]."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches(
    compute: Callable[[list[Item]], Result], items: Iterable[Item], batch_size: int
) -> Iterator[tuple[list[Item], Result]]:
    """Yield batches of items, each with what `compute` returns for it.

    A thread computes the next batch while the caller works on this one.
    """
    stream = iter(items)
    batches = iter(lambda: list(islice(stream, batch_size)), [])

    def computed(batch: list[Item]) -> tuple[list[Item], Result]:
        return batch, compute(batch)

    with ThreadPoolExecutor(1) as pool:
        yield from in_order(lambda batch: pool.submit(computed, batch), batches, 1)


def require_finite(logits: np.ndarray) -> np.ndarray:
    """Return logits; raise UserError where they hold NaN or infinity."""
    if not np.isfinite(logits).all():
        raise UserError("the model predicts NaN or infinity; lower train.learning_rate")
    return logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities over the last axis, in the logits' float type."""
    by_class = np.ascontiguousarray(np.moveaxis(logits, -1, 0))  # NumPy is slow over a short last axis
    shifted = by_class - by_class.max(0)
    return np.moveaxis(shifted - np.log(np.exp(shifted).sum(0)), 0, -1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over the last axis, in the logits' float type."""
    return np.exp(log_softmax(logits))


def mask_at_size(probabilities: np.ndarray, original: tuple[int, int], how: Resize) -> np.ndarray:
    """Return the most probable class of each pixel of the original picture; a tie goes to the first.

    `probabilities` are float32 [height, width, classes] at network size; the result is uint8 of the size
    `original`, height and width. `how` is how the picture was resized to the network's input.
    """
    # The lead over the first class saves scaling that one.
    lead = probabilities[..., 1:] - probabilities[..., :1]
    most = np.zeros(original, np.float32)
    mask = np.zeros(original, np.uint8)
    for index, channel in enumerate(channels_at_size(lead, original, how), 1):
        np.copyto(mask, np.uint8(index), where=channel > most)
        np.maximum(most, channel, out=most)
    return mask


def channels_at_size(
    probabilities: np.ndarray, original: tuple[int, int], how: Resize
) -> Iterator[np.ndarray]:
    """Yield probabilities at the picture's own size: float32 [height, width], class after class.

    The part of the network's input that shows the picture is scaled bilinearly, antialiased if that
    shrinks it. Classes come one at a time, since all of a large picture may not fit into memory.
    """
    box = content_box(original, (probabilities.shape[0], probabilities.shape[1]), how)
    for channel in np.moveaxis(probabilities[box.within], -1, 0):
        scaled = Image.fromarray(channel).resize(original[::-1], Image.Resampling.BILINEAR)
        yield np.asarray(scaled)
