"""What a model does with the test split: scores, size and speed; and how an export's logits differ."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.common import records
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.masks import Predict

BATCH_SIZE = 32
TIMED = 30
"""How many predictions of one image a latency is the median of."""


class Compared:
    """Predicts as one does, and keeps how far its logits are from another's."""

    def __init__(self, predict: Predict, reference: Predict) -> None:
        self.predict, self.reference = predict, reference
        self.largest = 0.0
        self._pixels = self._changed = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits of uint8 images, both [n, height, width, channels]."""
        logits, expected = self.predict(images), self.reference(images)
        self.largest = max(self.largest, float(np.abs(logits - expected).max()))
        changed = logits.argmax(-1) != expected.argmax(-1)
        self._pixels += changed.size
        self._changed += int(changed.sum())
        return logits

    @property
    def changed(self) -> float:
        """The share of pixels, at network size, with another class."""
        return self._changed / self._pixels


def scores(predict: Predict, manifest: records.Manifest) -> dict[str, Any]:
    """The content of `metrics.json` on the test split."""
    evaluation = Evaluation(predict, manifest, BATCH_SIZE)
    for _ in evaluation.predictions():
        pass
    return evaluation.metrics()


def latency_ms(predict: Predict, manifest: records.Manifest) -> float:
    """The median time of one image, in milliseconds."""
    image = next(records.read(manifest, "test"))["image"][None]
    predict(image)  # the first one prepares
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def size(path: Path) -> int:
    """The bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
