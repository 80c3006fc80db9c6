"""The pass over the test split: predict batch by batch, and collect what the scores need."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pandas as pd
from rich.progress import track

from segpipe.common import records
from segpipe.common.classes import IGNORE
from segpipe.common.errors import UserError
from segpipe.common.parallel import in_order
from segpipe.evaluate import metrics
from segpipe.evaluate.masks import Predict, log_softmax, mask_at_size


class Evaluation:
    """Sums up scores while predictions pass; keeps no more than a few batches of pictures."""

    def __init__(self, predict: Predict, manifest: records.Manifest, batch_size: int) -> None:
        self.predict, self.manifest, self.batch_size = predict, manifest, batch_size
        self.names = manifest.classes.names
        self.network = np.zeros((len(self.names),) * 2, np.int64)
        self.original = np.zeros_like(self.network)
        self.boundaries = np.zeros((len(metrics.TOLERANCES), 4, len(self.names)), np.int64)
        self._loss = 0.0
        self._calibration = np.zeros((3, metrics.BINS))
        self._by_distance = np.zeros((2, len(metrics.BANDS)), np.int64)  # pixels, right ones
        self._images: list[tuple[str, int, int]] = []
        self._counts: list[np.ndarray] = []

    def predictions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Predict every test image once; yield its name and mask, uint8 [height, width] at network size.

        Raises a UserError where the model predicts NaN or infinity.
        """
        count = self.manifest.count("test")
        samples = track(records.read(self.manifest, "test"), "Evaluating", total=count)
        batches = iter(lambda: list(islice(samples, self.batch_size)), [])
        with ThreadPoolExecutor(1) as network:  # predicts the next batch while this one is scored
            for batch, logits in in_order(lambda some: network.submit(self._logits, some), batches, 1):
                if not np.isfinite(logits).all():
                    raise UserError("the model predicts NaN or infinity; lower train.learning_rate")
                for sample, log_probabilities in zip(batch, log_softmax(logits), strict=True):
                    yield sample["name"], self._score(sample, log_probabilities)

    def metrics(self) -> dict:
        """Return the content of `metrics.json`; raise a UserError where every pixel is ignored."""
        pixels = self.network.sum()
        if not pixels:
            raise UserError("every pixel of the test split is ignored (data.ignore): nothing to score")
        return {
            "images": len(self._images),
            "loss": float(self._loss / pixels),
            "calibration_error": metrics.calibration_error(self._calibration),
            "network": metrics.summarise(self.network, self.names),
            "original": {
                **metrics.summarise(self.original, self.names),
                "boundary_f1": metrics.summarise_boundaries(self.boundaries),
                "interval": metrics.intervals(np.stack(self._counts)),
            },
        }

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
        scores = metrics.scores(metrics.counts(self.original))
        by_class = {name: scores[name] for name in ("iou", "dice", "precision", "recall")}
        boundaries = metrics.boundary_scores(self.boundaries)
        for row, tolerance in enumerate(metrics.TOLERANCES):
            by_class |= {f"boundary_{name}_{tolerance}px": s[row] for name, s in boundaries.items()}
        return pd.DataFrame({"class": self.names, **by_class})

    def confusion(self) -> pd.DataFrame:
        """Return pixels at original size by true and predicted class, one row a pair."""
        pairs = pd.MultiIndex.from_product([self.names, self.names], names=["truth", "prediction"])
        return pd.DataFrame({"pixels": self.original.ravel()}, index=pairs).reset_index()

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
        bands = [_described(*band) for band in metrics.BANDS]
        return pd.DataFrame({"distance": bands, "share": shares, "accuracy": accuracy})

    def _logits(self, batch: list[dict]) -> tuple[list[dict], np.ndarray]:
        return batch, self.predict(np.stack([sample["image"] for sample in batch]))

    def _score(self, sample: dict, log_probabilities: np.ndarray) -> np.ndarray:
        mask, original = sample["mask"], sample["original_mask"]
        prediction = log_probabilities.argmax(-1).astype(np.uint8)
        self.network += metrics.confusion_matrix(mask, prediction, len(self.names))
        counted = mask != IGNORE
        of_truth = np.take_along_axis(log_probabilities[counted], mask[counted][:, None], 1)
        self._loss -= of_truth.sum(dtype=np.float64)
        right = (mask == prediction)[counted]
        self._calibration += metrics.calibration(np.exp(log_probabilities.max(-1)[counted]), right)
        band = metrics.boundary_bands(mask)[counted]
        self._by_distance += [np.bincount(b, minlength=len(metrics.BANDS)) for b in (band, band[right])]

        at_size = mask_at_size(np.exp(log_probabilities), original.shape, self.manifest.resize)
        confusion = metrics.confusion_matrix(original, at_size, len(self.names))
        self.original += confusion
        self.boundaries += metrics.boundary_counts(original, at_size, len(self.names))
        self._images.append((sample["name"], *original.shape))
        self._counts.append(metrics.counts(confusion))
        return prediction


def absent_classes(scores: dict) -> list[str]:
    """Return the classes without a score: in no truth and no prediction."""
    return [name for name, iou in scores["iou"].items() if iou is None]


def _described(near: int, far: int | None) -> str:
    if far is None:
        return f">{near - 1}"
    return str(near) if near == far else f"{near}-{far}"
