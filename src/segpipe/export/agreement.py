"""Whether a whole predictor gives the masks of `segpipe predict`, on each test picture of data/raw."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import keras
import numpy as np

from segpipe.common.codec import decode_image, decode_png
from segpipe.common.raw import read_named
from segpipe.common.records import Resize, Tiles, read_tiles
from segpipe.evaluate import metrics
from segpipe.evaluate.masks import mask_at_size, softmax
from segpipe.evaluate.tiles import rows_of, tiles_of
from segpipe.export.signature import Run
from segpipe.export.whole import picture_type
from segpipe.preprocess.intensity import Levels, fit

LEAST, SCORES = 0.999, 0.0005
"""The least share of equal pixels, and how far a score may be off."""

_TILES = 32  # a forward pass


class Agreement:
    """Sums up how far a whole predictor's masks are those of `predict`, and the scores of both."""

    def __init__(self, run: Run, reference: "Reference", names: list[str]) -> None:
        self.run, self.reference, self.names = run, reference, names
        self.pixels = self.equal = 0
        self.least = ("", 1.0)  # the picture with the least agreement, and that
        self.counts: list[np.ndarray] = []  # of the whole predictor, an entry a picture
        self.last = np.zeros(0)  # picture, as the whole predictor takes it
        self._expected = np.zeros((3, len(names)), np.int64)

    def over(self, pictures: list[str]) -> None:
        """Predict and compare these pictures of data/raw. Raises a UserError where one is missing."""
        for sample in read_named({*pictures}, "Comparing with predict"):
            pixels, invalid = decode_image(sample["image"])
            self.last = self.reference.input_of(pixels, invalid)[None]
            (mask,), _ = self.run(self.last)
            expected = self.reference(pixels, invalid)
            self._enter(sample["name"].decode(), decode_png(sample["mask"]), mask, expected)

    def _enter(self, name: str, truth: np.ndarray, mask: np.ndarray, expected: np.ndarray) -> None:
        equal = int((mask == expected).sum())
        self.least = min(self.least, (name, equal / mask.size), key=itemgetter(1))
        self.pixels += mask.size
        self.equal += equal
        counts, expected_counts = (
            metrics.counts(metrics.confusion_matrix(truth, indices, len(self.names)))
            for indices in (mask, expected)
        )
        self.counts.append(counts)
        self._expected += expected_counts

    def findings(self) -> dict[str, Any]:
        """Return the scores at original size, and how far they and the masks are those of `predict`.

        `agreement` is the share of equal pixels, `least_agreement` that of the worst picture, and
        `score_difference` the largest difference of a score.
        """
        counts = np.stack(self.counts)
        scores = metrics.summarise_counts(counts.sum(0), self.names)
        expected = metrics.summarise_counts(self._expected, self.names)
        return {
            "images": len(counts),
            "original": {**scores, "interval": metrics.intervals(counts)},
            "agreement": self.equal / self.pixels,
            "least_agreement": self.least[1],
            "score_difference": _largest_difference(scores, expected),
        }


@dataclass(frozen=True)
class Reference:
    """A Keras model as `predict` uses it, on decoded pictures."""

    network: keras.Model
    size: tuple[int, int]
    resize: Resize
    levels: Levels
    tiles: Tiles | None
    classes: int

    @classmethod
    def of(cls, network: keras.Model, card: Mapping[str, Any]) -> "Reference":
        """Return the reference that a model and its card make."""
        height, width = card["image_size"]
        levels, tiles = Levels.of_card(card), read_tiles(card)
        return cls(network, (height, width), card["resize"], levels, tiles, len(card["classes"]))

    def __call__(self, pixels: np.ndarray, invalid: np.ndarray | None) -> np.ndarray:
        """Return the mask of a picture, uint8 of its size."""
        original = pixels.shape[0], pixels.shape[1]
        predict = self.network.predict_on_batch
        if not self.tiles:
            seen = fit(pixels, invalid, self.levels, self.size, self.resize)
            return mask_at_size(softmax(predict(seen[None])[0]), original, self.resize)
        scaled = self.tiles.scaled(original)
        seen = fit(pixels, invalid, self.levels, scaled, "stretch")
        read = tiles_of(seen, self.size)
        rows = rows_of(predict, read, scaled, original, self.size, self.classes, _TILES)
        return np.concatenate([part.argmax(-1).astype(np.uint8) for part in rows])

    def input_of(self, pixels: np.ndarray, invalid: np.ndarray | None) -> np.ndarray:
        """Return a picture as the whole predictor takes it."""
        return self.levels.raw(pixels, invalid, picture_type(self.levels))


def _largest_difference(scores: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the largest difference of two equal scores; one that only one side has counts as 1."""
    pairs = [(scores[name], expected[name]) for name in metrics.MEANS]
    pairs += [
        (scores[kind][name], other) for kind in ("iou", "dice") for name, other in expected[kind].items()
    ]
    return max(
        abs(score - other) if score is not None and other is not None else float(score is not other)
        for score, other in pairs
    )
