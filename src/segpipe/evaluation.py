"""Scoring a model on the test split, at network size and at each picture's own size."""

from collections.abc import Iterable, Iterator
from itertools import islice

import keras
import numpy as np
import pandas as pd
from rich.progress import track

from segpipe import metrics
from segpipe.classes import IGNORE
from segpipe.data import records
from segpipe.errors import UserError
from segpipe.prediction import log_softmax, mask_at_size


class Evaluation:
    """Scores that grow while predictions pass; nothing but one batch of pictures is kept."""

    def __init__(self, model: keras.Model, manifest: records.Manifest, batch_size: int) -> None:
        self.model, self.manifest, self.batch_size = model, manifest, batch_size
        self.names = manifest.classes.names
        self.network = np.zeros((len(self.names),) * 2, np.int64)
        self.original = np.zeros_like(self.network)
        self._loss = 0.0
        self._rows: list[dict] = []

    def predictions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Predict every test image once and yield its name and mask, uint8 [S, S].

        Raises:
            UserError: the model gives something else than numbers.
        """
        count = self.manifest.count("test")
        samples = track(records.read(self.manifest, "test"), "Evaluating", total=count)
        while batch := list(islice(samples, self.batch_size)):
            logits = self.model.predict_on_batch(np.stack([s["image"] for s in batch]))
            if not np.isfinite(logits).all():
                raise UserError("the model predicts NaN or infinity; lower train.learning_rate")
            for sample, log_probabilities in zip(batch, log_softmax(logits), strict=True):
                yield sample["name"], self._score(sample, log_probabilities)

    def metrics(self) -> dict:
        """The content of `metrics.json`, for the predictions so far.

        Raises:
            UserError: no pixel counts, so that there is nothing to score.
        """
        pixels = self.network.sum()
        if not pixels:
            raise UserError("every pixel of the test split is ignored (data.ignore): nothing to score")
        return {
            "images": len(self._rows),
            "loss": float(self._loss / pixels),
            "network": metrics.summarise(self.network, self.names),
            "original": metrics.summarise(self.original, self.names),
        }

    def per_image(self) -> pd.DataFrame:
        """One row an image, scored at original size."""
        return pd.DataFrame(self._rows)

    def per_class(self) -> pd.DataFrame:
        """One row a class, scored at original size on all images together; NaN: no score."""
        scores = (metrics.iou, metrics.dice, metrics.precision, metrics.recall)
        by_class = {score.__name__: score(self.original) for score in scores}
        return pd.DataFrame({"class": self.names, **by_class})

    def confusion(self) -> pd.DataFrame:
        """Pixels at original size by true and predicted class, one row a pair."""
        return pd.DataFrame(
            [
                {"truth": truth, "prediction": prediction, "pixels": self.original[i, j]}
                for i, truth in enumerate(self.names)
                for j, prediction in enumerate(self.names)
            ]
        )

    def _score(self, sample: dict, log_probabilities: np.ndarray) -> np.ndarray:
        mask, original = sample["mask"], sample["original_mask"]
        prediction = log_probabilities.argmax(-1).astype(np.uint8)
        self.network += metrics.confusion_matrix(mask, prediction, len(self.names))
        counted = mask != IGNORE
        of_truth = np.take_along_axis(log_probabilities[counted], mask[counted][:, None], 1)
        self._loss -= of_truth.sum(dtype=np.float64)

        at_size = mask_at_size(np.exp(log_probabilities), *original.shape)
        confusion = metrics.confusion_matrix(original, at_size, len(self.names))
        self.original += confusion
        self._rows.append(_row(sample["name"], original.shape, confusion, self.names))
        return prediction


def absent_classes(scores: dict) -> list[str]:
    """Classes without a score: in no truth and no prediction."""
    return [name for name, iou in scores["iou"].items() if iou is None]


def _row(name: str, shape: tuple[int, int], confusion: np.ndarray, names: Iterable[str]) -> dict:
    iou = metrics.iou(confusion)
    return {
        "name": name,
        "height": shape[0],
        "width": shape[1],
        "pixel_accuracy": metrics.pixel_accuracy(confusion),
        "mean_iou": metrics.mean_present(iou),
        **{f"iou_{c}": score for c, score in zip(names, iou.tolist(), strict=True)},
    }
