"""Whether two models' scores on the same images differ by more than chance. Pure functions of counts.

Chance has two parts, which are independent, so that their variances add up.

* **Images.** Other test images of the same kind would give another difference. Its variance is that
  of a paired bootstrap (Efron 1979): images are drawn with replacement, each with both models' counts.
  Only images that hold a class tell how its score varies.
* **Seeds.** The same recipe trained with another seed has another score. The difference of two models
  has twice the variance of one. It is known where `segpipe noise` has measured it.

What a seed changes in single images is in both parts. It counts twice, which errs on the side of no
difference. The difference over its standard deviation is compared with Student's t, with the degrees of
freedom of Welch and Satterthwaite (1946), since a deviation of three seeds is uncertain itself. Several
scores are tested together with Holm's correction (1979): where all models are equally good, any of the
scores is called different with a probability of at most `LEVEL`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from segpipe.evaluate import metrics

LEVEL = 0.05
POWER = 0.8  # how often a difference of the size that a test is said to show is to be seen

Word = Literal["worse", "better", "no difference to be seen"]


@dataclass(frozen=True)
class Spread:
    """How much a score differs between seeds."""

    deviation: float  # standard deviation of a sample
    seeds: int  # how many it was measured with


@dataclass(frozen=True)
class Difference:
    """The difference of a score, and how uncertain it is."""

    before: float
    after: float
    deviation: float  # of the difference, by chance alone
    freedom: float  # degrees of freedom of the deviation

    @property
    def p(self) -> float:
        """The probability of a difference as large as this, if the models are equally good."""
        grown = abs(self.after - self.before)
        if not self.deviation:
            return float(grown == 0)
        return float(2 * stats.t.sf(grown / self.deviation, self.freedom))


@dataclass(frozen=True)
class Verdict:
    """A difference, tested at a level: the probability of calling equally good models different."""

    difference: Difference
    level: float

    @property
    def margin(self) -> float:
        """The difference within which all but a share of `level` of equally good models lie."""
        return self._deviations(1 - self.level / 2)

    @property
    def visible(self) -> float:
        """The true difference that would be seen with a probability of `POWER`."""
        return self.margin + self._deviations(POWER)

    @property
    def word(self) -> Word:
        """What the test says."""
        found = self.difference
        if found.p > self.level:
            return "no difference to be seen"
        return "worse" if found.after < found.before else "better"

    def _deviations(self, quantile: float) -> float:
        return float(stats.t.ppf(quantile, self.difference.freedom)) * self.difference.deviation


def compared(
    before: np.ndarray,
    after: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    spreads: Mapping[str, Spread],
) -> dict[str, Verdict]:
    """Test scores of two models on the same images, together.

    `before` and `after` are the counts of each image, int64 [images, 3, N], of at least two images.
    `names` are those of the scores: `pixel_accuracy`, `mean_iou`, `mean_dice`, `iou.CLASS` and
    `dice.CLASS`, of classes that are in some image. `spreads` holds the scores whose spread of seeds is
    known; for others only the images' chance counts. The random numbers are seeded.
    """
    both = np.stack([before, after], axis=1)
    whole, drawn = metrics.scores(both.sum(0)), metrics.resampled(both)
    found = []
    for name in names:
        then, now = picked(whole, name, classes)
        variance, freedom = _of_images(name, both, whole, drawn, classes)
        alone = Difference(float(then), float(now), variance**0.5, freedom)
        found.append(with_seeds(alone, spreads[name]) if name in spreads else alone)
    return dict(zip(names, holm(found), strict=True))


def _of_images(
    name: str,
    both: np.ndarray,
    whole: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> tuple[float, float]:
    """Return the variance of a score's difference by the images' chance, and its degrees of freedom.

    A bootstrap's variance is that of the images at hand, which is too small by n / (n - 1). For a class,
    n are the images that hold it. One image tells nothing of others; there the square of the difference
    stands in, whose mean is the variance if the models are equally good. A mean has the degrees of
    freedom of its classes together, each weighted by how much it varies.
    """
    moved, others = np.nanvar(picked(drawn, name, classes) @ (-1, 1)), len(both) - 1
    kind, _, of_class = name.partition(".")
    if kind == "pixel_accuracy":
        return float(moved * len(both) / others), others
    by_class = kind.removeprefix("mean_")
    difference = np.diff(whole[by_class], axis=0)[0]
    scored = np.isfinite(difference)
    images = both.any((1, 2)).sum(0)[scored]
    freedom, one = np.maximum(images - 1, 1), images == 1
    apart = np.where(one, 0, np.nanvar(np.diff(drawn[by_class], axis=1)[:, 0, scored], axis=0))
    alone = np.where(one, difference[scored] ** 2, apart * images / freedom)
    if of_class:
        place = np.count_nonzero(scored[: classes.index(of_class)])
        return float(alone[place]), float(freedom[place])
    grown = metrics.ratio(alone[~one].sum(), apart.sum())
    variance = np.nan_to_num(moved * grown) + alone[one].sum() / scored.sum() ** 2
    together = metrics.ratio(alone.sum() ** 2, (alone**2 / freedom).sum())
    return float(variance), float(min(np.nan_to_num(together, nan=others), others))


def with_seeds(alone: Difference, spread: Spread) -> Difference:
    """Add the chance of seeds to a difference whose deviation is that of the images alone."""
    parts = [(alone.deviation**2, alone.freedom), (2 * spread.deviation**2, spread.seeds - 1)]
    variance = sum(part for part, _ in parts)
    uncertainty = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / uncertainty if uncertainty else alone.freedom
    return replace(alone, deviation=variance**0.5, freedom=freedom)


def picked(scores: Mapping[str, np.ndarray], name: str, classes: Sequence[str]) -> np.ndarray:
    """Return the score of a name, float64 [...], from what `metrics.scores` returned."""
    kind, _, of_class = name.partition(".")
    return scores[kind][..., classes.index(of_class)] if of_class else scores[kind]


def holm(differences: Sequence[Difference]) -> list[Verdict]:
    """Test several differences together, and return their verdicts in the same order."""
    levels = holm_levels([difference.p for difference in differences], LEVEL)
    return [Verdict(*one) for one in zip(differences, levels, strict=True)]


def holm_levels(ps: Sequence[float], level: float) -> list[float]:
    """Return the level at which each of several tests is made together with the others (Holm 1979).

    The smallest p is tested at `level` over their number, the next at `level` over one less, and so on.
    After the first that is not significant, the others are tested at its level.
    """
    levels: dict[int, float] = {}
    left = len(ps)
    for number in sorted(range(left), key=lambda number: ps[number]):
        levels[number] = level / left
        if ps[number] <= levels[number]:
            left -= 1
    return [levels[number] for number in range(len(ps))]


def losses(before: np.ndarray, after: np.ndarray, classes: Sequence[str], name: str) -> np.ndarray:
    """Return for each image how much higher the later score would be with the earlier prediction of it.

    Counts are int64 [images, 3, N]; the result is float64 [images].
    """
    now = after.sum(0)
    mended = picked(metrics.scores(now - after + before), name, classes)
    return mended - picked(metrics.scores(now), name, classes)
