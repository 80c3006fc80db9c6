"""The pass over the test split: predict batch by batch, and collect what the scores need."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import pandas as pd
from rich.progress import track

from segpipe.common import records
from segpipe.common.classes import IGNORE
from segpipe.common.errors import UserError
from segpipe.evaluate import metrics
from segpipe.evaluate.counts import Counts
from segpipe.evaluate.masks import Predict, in_batches, log_softmax, mask_at_size, require_finite
from segpipe.evaluate.tiles import Neighbourhood, at_original, blended, predicted
from segpipe.preprocess.tiles import starts


class Evaluation:
    """Sums up scores while predictions pass; keeps no more than a few batches of pictures."""

    def __init__(self, predict: Predict, manifest: records.Manifest, batch_size: int) -> None:
        self.predict, self.manifest, self.batch_size = predict, manifest, batch_size
        self.names = manifest.classes.names
        self.network_confusion = np.zeros((len(self.names),) * 2, np.int64)
        self.original_confusion = np.zeros_like(self.network_confusion)
        self.boundaries = np.zeros((len(metrics.TOLERANCES), 4, len(self.names)), np.int64)
        self._loss = 0.0
        self._calibration = np.zeros((3, metrics.BINS))
        self._by_distance = np.zeros((2, len(metrics.BANDS)), np.int64)  # pixels, right ones
        self._images: list[tuple[str, int, int]] = []
        self._counts: list[np.ndarray] = []

    def predictions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Predict every test image once; yield its name and mask, uint8 [height, width] at network size.

        For tiled records, yields the mask row of each record. Raises a UserError where the model
        predicts NaN or infinity.
        """
        samples = track(
            records.read(self.manifest, "test"), "Evaluating", total=self.manifest.count("test")
        )
        if self.manifest.tiles:
            yield from self._in_tiles(samples)
            return
        for batch, logits in in_batches(self._logits, samples, self.batch_size):
            for sample, log_probabilities in zip(batch, log_softmax(logits), strict=True):
                yield sample["name"], self._score(sample, log_probabilities)

    def _in_tiles(self, rows: Iterable[dict]) -> Iterator[tuple[str, np.ndarray]]:
        """Predict pictures that come as rows of tiles; a batch may hold tiles of several."""
        size, classes = self.manifest.size, len(self.names)
        read: deque[dict] = deque()  # rows whose tiles are under way
        parts = predicted(self._checked, _tiles_of_rows(rows, size[1], read), self.batch_size)
        for first in parts:
            picture = read[0]
            scaled, original = picture["scaled"], picture["original"]
            scorer = _RowScorer(self, original)
            blending = blended(chain([first], parts), scaled, size, classes)
            scored = scorer.at_network(blending, read)
            for probabilities in at_original(scored, scaled, original, size[0]):
                scorer.at_original(probabilities.argmax(-1).astype(np.uint8))
                yield from scorer.predictions()
            self._enter(picture["name"], original, scorer.confusion)

    def metrics(self) -> dict:
        """Return the content of `metrics.json`; raise a UserError where every pixel is ignored."""
        pixels = self.network_confusion.sum()
        if not pixels:
            raise UserError("every pixel of the test split is ignored (data.ignore): nothing to score")
        return {
            "images": len(self._images),
            "loss": float(self._loss / pixels),
            "calibration_error": metrics.calibration_error(self._calibration),
            "network": metrics.summarise(self.network_confusion, self.names),
            "original": {
                **metrics.summarise(self.original_confusion, self.names),
                "boundary_f1": metrics.summarise_boundaries(self.boundaries),
                "interval": metrics.intervals(np.stack(self._counts)),
            },
        }

    def counts(self) -> Counts:
        """Return the counts of each image at original size."""
        images = [name for name, *_ in self._images]
        return Counts(images, self.names, np.stack(self._counts))

    def per_image(self) -> pd.DataFrame:
        """Return one row an image, at original size: its scores, and its pixels by class."""
        counts = np.stack(self._counts)
        scores = metrics.scores(counts)
        columns = {name: scores[name] for name in ("pixel_accuracy", "mean_iou")}
        columns |= {f"iou_{c}": scores["iou"][:, i] for i, c in enumerate(self.names)}
        for row, pixels in enumerate(("hits", "truth", "predicted")):
            columns |= {f"{pixels}_{c}": counts[:, row, i] for i, c in enumerate(self.names)}
        images = pd.DataFrame(self._images, columns=["name", "height", "width"])
        return pd.concat([images, pd.DataFrame(columns)], axis=1)

    def per_class(self) -> pd.DataFrame:
        """Return one row a class, scored at original size on all images together; NaN: no score."""
        scores = metrics.scores(metrics.counts(self.original_confusion))
        by_class = {name: scores[name] for name in ("iou", "dice", "precision", "recall")}
        boundaries = metrics.boundary_scores(self.boundaries)
        for row, tolerance in enumerate(metrics.TOLERANCES):
            by_class |= {
                f"boundary_{name}_{tolerance}px": scores[row] for name, scores in boundaries.items()
            }
        return pd.DataFrame({"class": self.names, **by_class})

    def confusion(self) -> pd.DataFrame:
        """Return pixels at original size by true and predicted class, one row a pair."""
        pairs = pd.MultiIndex.from_product([self.names, self.names], names=["truth", "prediction"])
        return pd.DataFrame({"pixels": self.original_confusion.ravel()}, index=pairs).reset_index()

    def calibration(self) -> pd.DataFrame:
        """Return confidence and accuracy at network size, one row a bin of confidence."""
        pixels, confidence, right = self._calibration
        edges = np.linspace(0, 1, metrics.BINS + 1)
        table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "pixels": pixels.astype(np.int64)})
        table["confidence"] = metrics.ratio(confidence, pixels)
        table["accuracy"] = metrics.ratio(right, pixels)
        return table

    def by_distance(self) -> pd.DataFrame:
        """Return accuracy at network size, one row a band of distances to the nearest other true class.

        Chessboard distance in pixels: 1 touches another class, if only at a corner.
        """
        pixels, right = self._by_distance
        shares, accuracy = metrics.ratio(pixels, pixels.sum()), metrics.ratio(right, pixels)
        bands = [_band_in_words(*band) for band in metrics.BANDS]
        return pd.DataFrame({"distance": bands, "share": shares, "accuracy": accuracy})

    def _logits(self, batch: list[dict]) -> np.ndarray:
        return self._checked(np.stack([sample["image"] for sample in batch]))

    def _checked(self, images: np.ndarray) -> np.ndarray:
        return require_finite(self.predict(images))

    def _score(self, sample: dict, log_probabilities: np.ndarray) -> np.ndarray:
        """Score a picture that the network saw as a whole; return the mask at network size."""
        original = sample["original_mask"]
        prediction = self.at_network(sample["mask"], log_probabilities)
        self.near_boundaries(sample["mask"], prediction)
        at_size = mask_at_size(np.exp(log_probabilities), original.shape, self.manifest.resize)
        confusion = metrics.confusion_matrix(original, at_size, len(self.names))
        self.boundaries += metrics.boundary_counts(original, at_size, len(self.names))
        self._enter(sample["name"], original.shape, confusion)
        return prediction

    def at_network(self, mask: np.ndarray, log_probabilities: np.ndarray) -> np.ndarray:
        """Score rows at network size; return their mask."""
        prediction = log_probabilities.argmax(-1).astype(np.uint8)
        self.network_confusion += metrics.confusion_matrix(mask, prediction, len(self.names))
        counted = mask != IGNORE
        of_true_class = np.take_along_axis(log_probabilities[counted], mask[counted][:, None], 1)
        self._loss -= of_true_class.sum(dtype=np.float64)
        right = (mask == prediction)[counted]
        self._calibration += metrics.calibration(np.exp(log_probabilities.max(-1)[counted]), right)
        return prediction

    def near_boundaries(
        self, mask: np.ndarray, prediction: np.ndarray, own: slice = slice(None)
    ) -> None:
        """Count the pixels of `own` rows at network size by their distance to a boundary."""
        counted = (mask != IGNORE)[own]
        band = metrics.boundary_bands(mask)[own][counted]
        right = (mask == prediction)[own][counted]
        self._by_distance += [np.bincount(b, minlength=len(metrics.BANDS)) for b in (band, band[right])]

    def _enter(self, name: str, original: tuple[int, int], confusion: np.ndarray) -> None:
        self.original_confusion += confusion
        self._images.append((name, *original))
        self._counts.append(metrics.counts(confusion))


class _RowScorer:
    """Scores a picture that comes as rows, and keeps only those whose neighbours are still to come."""

    def __init__(self, evaluation: Evaluation, original: tuple[int, int]) -> None:
        self.evaluation = evaluation
        self.confusion = np.zeros_like(evaluation.original_confusion)
        self._distances, self._boundaries = (Neighbourhood(metrics.REACH) for _ in range(2))
        self._truths: deque[np.ndarray] = deque()  # at original size, whose predictions are to come
        self._masks: list[tuple[str, np.ndarray]] = []
        self._left = original[0]

    def at_network(self, blending: Iterable[np.ndarray], read: deque[dict]) -> Iterator[np.ndarray]:
        """Score rows of probabilities at network size, and pass them on."""
        for probabilities in blending:
            row = read.popleft()
            self._truths.append(row["original_mask"])
            logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
            prediction = self.evaluation.at_network(row["mask"], logs)
            last = row["top"] + len(prediction) == row["scaled"][0]
            (mask, predicted_rows), own = self._distances.add((row["mask"], prediction), last)
            self.evaluation.near_boundaries(mask, predicted_rows, own)
            self._masks.append((row["name"], prediction))
            yield probabilities

    def at_original(self, prediction: np.ndarray) -> None:
        """Score the next rows at original size."""
        classes = len(self.evaluation.names)
        truth = self._truths.popleft()
        self.confusion += metrics.confusion_matrix(truth, prediction, classes)
        self._left -= len(truth)
        (truths, predictions), own = self._boundaries.add((truth, prediction), not self._left)
        self.evaluation.boundaries += metrics.boundary_counts(truths, predictions, classes, own)

    def predictions(self) -> list[tuple[str, np.ndarray]]:
        """Return the masks at network size since the last call."""
        masks, self._masks = self._masks, []
        return masks


def _tiles_of_rows(rows: Iterable[dict], width: int, read: deque[dict]) -> Iterator[np.ndarray]:
    """Yield the tiles of rows; enter each row, without its image, into `read` before."""
    for row in rows:
        image = row.pop("image")
        read.append(row)
        for left in starts(row["scaled"][1], width):
            yield image[:, left : left + width]


def absent_classes(scores: dict) -> list[str]:
    """Return the classes without a score: in no truth and no prediction."""
    return [name for name, iou in scores["iou"].items() if iou is None]


def _band_in_words(near: int, far: int | None) -> str:
    if far is None:
        return f">{near - 1}"
    return str(near) if near == far else f"{near}-{far}"
