"""Tests whether two models' scores on the same images differ by more than chance, from counts alone.

Chance has two parts, which are independent, so that their variances add up.

* **Images.** Other test images of the same kind would give another difference. Its variance is that
  of a paired bootstrap (Efron 1979): images are drawn with replacement, each with both models' counts.
  Only images that hold a class tell how its score varies.
* **Seeds.** The same recipe trained with another seed has another score. The difference of two models
  has twice the variance of one. It is known where `segpipe noise` has measured it.

Both parts contain the effect of a seed on single images. Counting it twice errs on the side of no
difference. The difference over its standard deviation is compared with Student's t, with the degrees of
freedom of Welch and Satterthwaite (1946), since a deviation of three seeds is uncertain itself. Several
scores are tested together with Holm's correction (1979): where all models are equally good, any of the
scores is called different with a probability of at most `LEVEL`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second or two

from segpipe.evaluate import metrics

LEVEL = 0.05
POWER = 0.8  # probability of detecting a true difference of size `Verdict.visible`
_ROUNDING = 1e-12  # deviations of scores up to this are 0, but for rounding errors

Word = Literal["worse", "better", "no difference to be seen"]


@dataclass(frozen=True)
class Spread:
    """The spread of a score between seeds."""

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
        """The probability of a difference as large as this, if the models are equally good.

        It is 1 where the deviation is 0, since then nothing is known of chance.
        """
        if not self.deviation:
            return 1.0
        size = abs(self.after - self.before)
        return float(2 * stdtr(self.freedom, -size / self.deviation))


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
        """The true difference that would be detected with a probability of `POWER`."""
        return self.margin + self._deviations(POWER)

    @property
    def word(self) -> Word:
        """The test's answer."""
        difference = self.difference
        if difference.p > self.level:
            return "no difference to be seen"
        return "worse" if difference.after < difference.before else "better"

    def _deviations(self, quantile: float) -> float:
        return float(stdtrit(self.difference.freedom, quantile)) * self.difference.deviation


def compared(
    before: np.ndarray,
    after: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    spreads: Mapping[str, Spread],
) -> dict[str, Verdict]:
    """Test scores of two models on the same images, together.

    The result leaves out the scores that differ by the same amount in all images, unless their spread of
    seeds is known: nothing tells how far chance moves them.

    `before` and `after` are the counts of each image, int64 [images, 3, N], of at least two images.
    `names` are those of the scores: `pixel_accuracy`, `mean_iou`, `mean_dice`, `iou.CLASS` and
    `dice.CLASS`, of classes that are in some image. `spreads` holds the spread of seeds of the scores
    for which it is known; for others only the images' chance counts. The random numbers are seeded.
    """
    both = np.stack([before, after], axis=1)
    whole, drawn = metrics.scores(both.sum(0)), metrics.resampled(both)
    differences: dict[str, Difference] = {}
    for name in names:
        then, now = picked(whole, name, classes)
        variance, freedom = _image_variance(name, both, whole, drawn, classes)
        deviation = variance**0.5 if variance > _ROUNDING**2 else 0.0
        difference = Difference(float(then), float(now), deviation, freedom)
        if name in spreads:
            difference = with_seeds(difference, spreads[name])
        if difference.deviation or abs(now - then) <= _ROUNDING:
            differences[name] = difference
    return dict(zip(differences, holm([*differences.values()]), strict=True))


def _image_variance(
    name: str,
    both: np.ndarray,
    whole: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> tuple[float, float]:
    """Return the variance of a score's difference by the images' chance, and its degrees of freedom.

    `whole` and `drawn` are the scores of all images and of the bootstrap's samples, both models' last.
    The bootstrap's variance is too small by the factor (n - 1) / n, where n counts the images; for a
    class, those that hold it. A single image has no variance: the square of the difference replaces it,
    whose mean is the variance if the models are equally good. The degrees of freedom of a mean are those
    of its classes together, each weighted by its variance (Welch and Satterthwaite).
    """
    score_variance = np.nanvar(picked(drawn, name, classes) @ (-1, 1))
    freedom_of_all = len(both) - 1
    kind, _, of_class = name.partition(".")
    if kind == "pixel_accuracy":
        return float(score_variance * len(both) / freedom_of_all), freedom_of_all
    by_class = kind.removeprefix("mean_")
    difference = np.diff(whole[by_class], axis=0)[0]
    scored = np.isfinite(difference)
    images = both.any((1, 2)).sum(0)[scored]
    freedom, is_single = np.maximum(images - 1, 1), images == 1
    bootstrap_variance = np.nanvar(np.diff(drawn[by_class], axis=1)[:, 0, scored], axis=0)
    bootstrap_variance = np.where(is_single, 0, bootstrap_variance)
    class_variance = np.where(is_single, difference[scored] ** 2, bootstrap_variance * images / freedom)
    if of_class:
        place = np.count_nonzero(scored[: classes.index(of_class)])
        return float(class_variance[place]), float(freedom[place])
    correction = metrics.ratio(class_variance[~is_single].sum(), bootstrap_variance.sum())
    variance_of_singles = class_variance[is_single].sum() / scored.sum() ** 2
    variance = np.nan_to_num(score_variance * correction) + variance_of_singles
    effective_freedom = metrics.ratio(class_variance.sum() ** 2, (class_variance**2 / freedom).sum())
    effective_freedom = np.nan_to_num(effective_freedom, nan=freedom_of_all)
    return float(variance), float(min(effective_freedom, freedom_of_all))


def with_seeds(difference: Difference, spread: Spread) -> Difference:
    """Add the chance of seeds to a difference whose deviation is that of the images alone."""
    of_images = difference.deviation**2, difference.freedom
    of_seeds = 2 * spread.deviation**2, spread.seeds - 1
    variance = of_images[0] + of_seeds[0]
    uncertainty = sum(part**2 / freedom for part, freedom in (of_images, of_seeds))
    freedom = variance**2 / uncertainty if uncertainty else difference.freedom
    return replace(difference, deviation=variance**0.5, freedom=freedom)


def picked(scores: Mapping[str, np.ndarray], name: str, classes: Sequence[str]) -> np.ndarray:
    """Return the score of a name, float64 [...], from what `metrics.scores` returned."""
    kind, _, of_class = name.partition(".")
    return scores[kind][..., classes.index(of_class)] if of_class else scores[kind]


def holm(differences: Sequence[Difference]) -> list[Verdict]:
    """Test several differences together, and return their verdicts in the same order."""
    levels = holm_levels([difference.p for difference in differences], LEVEL)
    return [Verdict(*tested) for tested in zip(differences, levels, strict=True)]


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
    """Return for each image how much its later prediction lowers the score.

    That is how much higher the later score would be with the earlier prediction of this image alone.

    Counts are int64 [images, 3, N]; the result is float64 [images].
    """
    now = after.sum(0)
    without = picked(metrics.scores(now - after + before), name, classes)
    return without - picked(metrics.scores(now), name, classes)
