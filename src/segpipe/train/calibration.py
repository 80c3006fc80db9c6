"""Temperature scaling: one number that makes a network as sure as it is right."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
from rich.progress import track
from scipy import optimize

from segpipe.common.classes import IGNORE
from segpipe.train.samples import Samples

LOWEST, HIGHEST = 0.25, 4.0
MOST_LOGITS = 1 << 23
"""Of more, some pixels are drawn: all of them would hardly change the temperature, and take memory."""


@dataclass(frozen=True)
class Calibration:
    """A temperature, and the validation pixels' mean cross-entropy without and with it, in nats."""

    temperature: float
    val_nll_before: float | None  # None: no pixel counts
    val_nll: float | None


class Behind(NamedTuple):
    """How far logits lie behind the largest of their pixel, at least 0: float32."""

    all: np.ndarray  # of each class, [classes, pixels]
    truth: np.ndarray  # of the true class, [pixels]


def calibrate(network: keras.Model, samples: Samples, batch_size: int) -> Calibration:
    """Fit a temperature, print it, and return it: logits divided by it have the lowest cross-entropy.

    It stays from `LOWEST` to `HIGHEST`, since a network that is right everywhere would have 0. Ignored
    pixels do not count; where no other is left it is 1. Of more than `MOST_LOGITS` logits, about as many
    are taken, of pixels drawn from all samples, the same ones every time.

    Source: https://arxiv.org/abs/1706.04599, section 4.2

    Args:
        network: uint8 images [n, H, W, bands] to float32 logits [n, H, W, classes].
        samples: the validation split.
        batch_size: images a forward pass.
    """
    behind, counted = _predicted(network, samples, batch_size)
    if not behind.truth.size:
        print("temperature 1: no validation pixel counts, so there is nothing to fit it on")
        return Calibration(1.0, None, None)
    temperature = best_temperature(behind)
    found = Calibration(temperature, cross_entropy(behind, 1.0), cross_entropy(behind, temperature))
    bound = {LOWEST: " (the lowest allowed)", HIGHEST: " (the highest allowed)"}
    drawn = f", {behind.truth.size:,} of them drawn" if behind.truth.size < counted else ""
    print(
        f"temperature {temperature:g}{bound.get(temperature, '')}: it takes the cross-entropy of "
        f"{counted:,} validation pixels{drawn} from {found.val_nll_before:.4f} to {found.val_nll:.4f}"
    )
    return found


def best_temperature(behind: Behind) -> float:
    """Return the temperature with the lowest cross-entropy, to four decimals.

    Cross-entropy is convex in 1 / temperature, so that its slope has one root at most.
    """
    if _slope(behind, LOWEST) <= 0:
        return LOWEST
    if _slope(behind, HIGHEST) >= 0:
        return HIGHEST
    logarithm = optimize.brentq(
        lambda log: _slope(behind, math.exp(log)), math.log(LOWEST), math.log(HIGHEST), xtol=1e-6
    )
    return round(math.exp(logarithm), 4)


def cross_entropy(behind: Behind, temperature: float) -> float:
    """Return the mean cross-entropy of the pixels at a temperature, in nats."""
    rest = np.log(np.exp(-behind.all / temperature).sum(0))
    return float(np.mean(behind.truth / temperature + rest, dtype=np.float64))


def _slope(behind: Behind, temperature: float) -> float:
    """Return the cross-entropy's derivative by 1 / temperature."""
    odds = np.exp(-behind.all / temperature)
    expected = (odds * behind.all).sum(0) / odds.sum(0)
    return float(np.mean(behind.truth - expected, dtype=np.float64))


def _predicted(network: keras.Model, samples: Samples, batch_size: int) -> tuple[Behind, int]:
    """Return what is known of the pixels, and how many count."""
    last, pixels = len(samples.names) - 1, len(samples.names) * math.prod(samples.size)
    share = MOST_LOGITS / (pixels * network.output_shape[-1])
    draws = np.random.default_rng(0)
    parts, counted = [], 0
    for begin in track(range(0, last + 1, batch_size), "Calibrating"):
        numbers = np.arange(begin, begin + batch_size)  # beyond the last: one shape is compiled once
        images, masks = samples.take(np.minimum(numbers, last))
        masks[numbers > last] = IGNORE
        logits = network.predict_on_batch(images)
        taken = masks != IGNORE
        counted += int(taken.sum())
        if share < 1:
            taken &= draws.random(masks.shape) < share
        parts.append(_behind(logits[taken], masks[taken]))
    return Behind(*(np.concatenate(some, -1) for some in zip(*parts, strict=True))), counted


def _behind(logits: np.ndarray, truth: np.ndarray) -> Behind:
    """Take logits [pixels, classes] and class indices [pixels]."""
    behind = logits.max(-1, keepdims=True) - logits
    of_truth = np.take_along_axis(behind, truth[:, None].astype(np.intp), -1)[:, 0]
    return Behind(np.ascontiguousarray(behind.T), of_truth)
