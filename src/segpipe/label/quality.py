"""The quality of a mask, judged by a model that never saw it: as a whole, and by class.

Lad and Mueller, "Estimating label quality and errors in semantic segmentation data via any model"
(https://arxiv.org/abs/2307.05080): a mask is as good as the probabilities that the model gives to its
labels; the lowest ones count most (a soft minimum). Probabilities should be calibrated.

Where a whole mask lies a little off, or a thin class is painted over, few probabilities are low, but
that class hardly overlaps with its prediction. So suspects are ordered by `relative_overlaps`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segpipe.common.classes import IGNORE
from segpipe.evaluate import metrics

TEMPERATURE = 0.1
"""Temperature of the soft minimum; the paper's value."""
SURE = 0.9
"""The probability from which the model counts as sure of another class."""
SMALLEST = 25
"""Pixels of a region, at least: smaller ones are the fringe of an outline that lies a pixel off."""
_FAINT = 0.001
"""Share of a picture's pixels that counts as overlap beforehand, so that a few pixels of a class that
the mask lacks are no sign of a wrong mask."""
_STRIP = 1 << 20  # pixels at once


@dataclass(frozen=True)
class Judgement:
    """What a model says of a picture and its mask; arrays [height, width]."""

    mask: np.ndarray  # class indices, uint8; 255 is ignored
    label_probability: np.ndarray  # the probability of the mask's class, float32
    best: np.ndarray  # the most probable class, uint8
    sureness: np.ndarray  # its probability, float32

    @classmethod
    def empty(cls, mask: np.ndarray) -> "Judgement":
        """Return a judgement before its first probabilities."""
        zeros = [np.zeros(mask.shape, kind) for kind in (np.float32, np.uint8, np.float32)]
        return cls(mask, *zeros)

    def add(self, rows: slice, channels: Iterable[np.ndarray]) -> None:
        """Add the probabilities of some rows, float32 [rows, width], class after class."""
        mask, label_probability, best, sureness = (
            array[rows] for array in (self.mask, self.label_probability, self.best, self.sureness)
        )
        for index, channel in enumerate(channels):
            np.copyto(label_probability, channel, where=mask == index)
            np.copyto(best, np.uint8(index), where=channel > sureness)
            np.maximum(sureness, channel, out=sureness)

    def quality(self) -> float | None:
        """Return the soft minimum of the probabilities of the labels, 0..1; None if all is ignored.

        Each probability p is weighted with exp((1 - p) / `TEMPERATURE`).
        """
        weighted = weights = 0.0
        for strip in self._strips():
            p = self.label_probability[strip][self.mask[strip] != IGNORE].astype(np.float64)
            weight = np.exp(-p / TEMPERATURE)  # the constant factor is left out
            weighted += float(weight @ p)
            weights += float(weight.sum())
        return weighted / weights if weights else None

    def counts(self, classes: int) -> np.ndarray:
        """Return `metrics.counts` with the mask as the truth, int64 [3, classes]."""
        confusion = np.zeros((classes, classes), np.int64)
        for strip in self._strips():
            confusion += metrics.confusion_matrix(self.mask[strip], self.best[strip], classes)
        return metrics.counts(confusion)

    def _strips(self) -> Iterator[slice]:
        rows = max(1, _STRIP // self.mask.shape[1])
        return (slice(top, top + rows) for top in range(0, len(self.mask), rows))

    def regions(self) -> list["Region"]:
        """Return the parts of the mask that the model is sure are another class, the largest first."""
        doubted = (self.best != self.mask) & (self.mask != IGNORE) & (self.sureness >= SURE)
        parts, _ = ndimage.label(doubted)
        sizes = np.bincount(parts.ravel())
        regions = []
        for number, place in enumerate(ndimage.find_objects(parts), 1):
            if sizes[number] >= SMALLEST:
                inside = parts[place] == number
                labelled, predicted = (
                    int(np.bincount(whole[place][inside]).argmax()) for whole in (self.mask, self.best)
                )
                sure = float(self.sureness[place][inside].mean())
                regions.append(Region(inside, place, labelled, predicted, sure))
        return sorted(regions, key=lambda region: -region.pixels)


@dataclass(frozen=True)
class Region:
    """Connected pixels of a mask that the model is sure are another class."""

    inside: np.ndarray  # bool [height, width], of the box around it
    place: tuple[slice, slice]  # that box: rows and columns of the picture
    labelled: int  # the class that most of its pixels have in the mask
    predicted: int  # and in the prediction
    sureness: float  # mean probability of the predicted classes

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return int(self.inside.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the box around it, pixels."""
        rows, columns = self.place
        return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start


def relative_overlaps(counts: np.ndarray) -> np.ndarray:
    """Return how well each class overlaps in mask and prediction: float64 [n, classes], 1 is usual.

    It is the IoU of the class in a picture, divided by its median over the pictures whose masks have
    the class, so that a class which the model finds hard to outline makes no picture a suspect.

    Args:
        counts: of n pictures, int64 [n, 3, classes], as `Judgement.counts` returns them.
    """
    hits, labelled, predicted = np.moveaxis(counts, 1, 0)
    beforehand = _FAINT * labelled.sum(1, keepdims=True)
    iou = (hits + beforehand) / (labelled + predicted - hits + beforehand)
    medians = [
        np.median(of_class[has]) if has.any() else 1.0
        for of_class, has in zip(iou.T, labelled.T > 0, strict=True)
    ]
    return iou / np.array(medians)
