"""Temperature scaling: one number that makes a network as sure as it is right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
from rich.progress import track
from scipy import optimize, special

from segpipe.common.classes import IGNORE
from segpipe.train.samples import Samples

LOWEST, HIGHEST = 0.25, 4.0
MOST_LOGITS = 1 << 23
"""Above this number, a random share of the pixels is used.

More would hardly change the temperature and would take memory."""


@dataclass(frozen=True)
class Calibration:
    """What the validation split says about the temperature; None where no pixel counts."""

    temperature: float  # that logits are divided by: the nearest to 1 from `low` to `high`
    best: float | None  # has the lowest cross-entropy
    low: float | None  # a 95 % interval for other pictures of the same kind
    high: float | None
    val_nll_before: float | None  # mean cross-entropy in nats, without the temperature
    val_nll: float | None  # with it


class Pixels(NamedTuple):
    """Validation pixels: how far their logits lie behind the largest one, at least 0, float32."""

    behind: np.ndarray  # of each class, [classes, pixels]
    truth: np.ndarray  # of the true class, [pixels]
    picture: np.ndarray  # the number of the picture, [pixels]


def calibrate(
    network: keras.Model, samples: Samples, pictures: Sequence[str], batch_size: int
) -> Calibration:
    """Find the temperature to divide logits by, print it, and return it.

    The best one has the lowest cross-entropy (https://arxiv.org/abs/1706.04599, section 4.2). A few
    dozen pictures estimate it badly, however many pixels they have. So the temperature is the nearest to
    1 in its 95 % interval: a network is corrected only as far as it is proven wrong.

    Ignored pixels do not count. All temperatures stay from `LOWEST` to `HIGHEST`. Above `MOST_LOGITS`
    logits, pixels are drawn from all samples, the same ones every time, until about that many logits are
    left.

    Args:
        network: uint8 images [n, H, W, bands] to float32 logits [n, H, W, classes].
        samples: the validation split.
        pictures: the name of each sample's picture.
        batch_size: images a forward pass.
    """
    pixels, counted = _predicted(network, samples, pictures, batch_size)
    if not pixels.truth.size:
        print("temperature 1: no validation pixel counts, so there is nothing to fit it on")
        return Calibration(1.0, None, None, None, None, None)
    best = best_temperature(pixels)
    low, high = interval(pixels, best)
    temperature = round(min(max(1.0, low), high), 4)
    calibration = Calibration(
        temperature, round(best, 4), round(low, 4), round(high, 4),
        cross_entropy(pixels, 1.0), cross_entropy(pixels, temperature),
    )  # fmt: skip
    drawn = f", {pixels.truth.size:,} of them drawn" if pixels.truth.size < counted else ""
    bound = {LOWEST: " (the lowest allowed)", HIGHEST: " (the highest allowed)"}.get(best, "")
    pictures_used = len(np.unique(pixels.picture))
    print(
        f"temperature {temperature:g}: {pictures_used} validation pictures ({counted:,} "
        f"pixels{drawn}) fit {calibration.best:g} best{bound}, {calibration.low:g} to "
        f"{calibration.high:g} at 95 %; cross-entropy {calibration.val_nll_before:.4f}, with it "
        f"{calibration.val_nll:.4f}"
    )
    return calibration


def best_temperature(pixels: Pixels) -> float:
    """Return the temperature with the lowest cross-entropy, from `LOWEST` to `HIGHEST`.

    Cross-entropy is convex in 1 / temperature, so that its slope has one root at most.
    """

    def slope(logarithm: float) -> float:
        return float(np.mean(_slopes(pixels, math.exp(logarithm)), dtype=np.float64))

    lowest, highest = math.log(LOWEST), math.log(HIGHEST)
    if slope(lowest) <= 0:
        return LOWEST
    if slope(highest) >= 0:
        return HIGHEST
    return math.exp(optimize.brentq(slope, lowest, highest, xtol=1e-6))


def interval(pixels: Pixels, best: float) -> tuple[float, float]:
    """Return the 95 % interval of the best temperature over other pictures of the same kind.

    Pixels of one picture are not independent, pictures are: hence the variance by cluster of Liang and
    Zeger 1986 (https://doi.org/10.1093/biomet/73.1.13), of the logarithm, and Student's t. A single
    picture proves nothing, nor do probabilities of exactly 0 and 1.
    """
    _, picture = np.unique(pixels.picture, return_inverse=True)
    by_picture = np.bincount(picture, _slopes(pixels, best))
    count, curvature = len(by_picture), _curvature(pixels, best)
    if count == 1 or not curvature:
        return LOWEST, HIGHEST
    deviation = best * math.sqrt(count / (count - 1) * (by_picture**2).sum()) / curvature
    reach = deviation * special.stdtrit(count - 1, 0.975)
    low, high = math.log(best) - reach, math.log(best) + reach
    return math.exp(max(low, math.log(LOWEST))), math.exp(min(high, math.log(HIGHEST)))


def cross_entropy(pixels: Pixels, temperature: float) -> float:
    """Return the mean cross-entropy of the pixels at a temperature, in nats."""
    rest = np.log(np.exp(-pixels.behind / temperature).sum(0))
    return float(np.mean(pixels.truth / temperature + rest, dtype=np.float64))


def _slopes(pixels: Pixels, temperature: float) -> np.ndarray:
    """Return each pixel's derivative of the cross-entropy by 1 / temperature, float32 [pixels]."""
    odds = np.exp(-pixels.behind / temperature)
    return pixels.truth - (odds * pixels.behind).sum(0) / odds.sum(0)


def _curvature(pixels: Pixels, temperature: float) -> float:
    """Return the sum of the second derivatives: the variances of the logits."""
    odds = np.exp(-pixels.behind / temperature)
    odds /= odds.sum(0)
    variance = (odds * pixels.behind**2).sum(0) - (odds * pixels.behind).sum(0) ** 2
    return float(np.sum(np.maximum(variance, 0), dtype=np.float64))


def _predicted(
    network: keras.Model, samples: Samples, pictures: Sequence[str], batch_size: int
) -> tuple[Pixels, int]:
    """Return the pixels, and how many count."""
    _, picture = np.unique(pictures, return_inverse=True)
    last, pixels = len(picture) - 1, len(picture) * math.prod(samples.size)
    share = MOST_LOGITS / (pixels * network.output_shape[-1])
    draws = np.random.default_rng(0)
    parts, counted = [], 0
    for begin in track(range(0, last + 1, batch_size), "Calibrating"):
        numbers = np.arange(begin, begin + batch_size)  # beyond the last: one shape is compiled once
        within = np.minimum(numbers, last)
        images, masks = samples.take(within)
        masks[numbers > last] = IGNORE
        logits = network.predict_on_batch(images)
        used = masks != IGNORE
        counted += int(used.sum())
        if share < 1:
            used &= draws.random(masks.shape) < share
        parts.append(_pixels(logits[used], masks[used], picture[within][np.nonzero(used)[0]]))
    return Pixels(*(np.concatenate(arrays, -1) for arrays in zip(*parts, strict=True))), counted


def _pixels(logits: np.ndarray, truth: np.ndarray, picture: np.ndarray) -> Pixels:
    """Return pixels from logits [pixels, classes], class indices and pictures' numbers [pixels]."""
    behind = logits.max(-1, keepdims=True) - logits
    of_truth = np.take_along_axis(behind, truth[:, None].astype(np.intp), -1)[:, 0]
    return Pixels(np.ascontiguousarray(behind.T), of_truth, picture.astype(np.int32))
