"""Scores while training, for Keras' progress bar and history."""

from typing import TypeAlias

import keras
from keras import ops

from segpipe.common.classes import IGNORE

Tensor: TypeAlias = keras.KerasTensor


class RunningScores(keras.Metric):
    """Pixel accuracy and mean IoU of all batches since the last reset, from one confusion matrix.

    The same scores as `segpipe.evaluate.metrics`, on any Keras backend. A class absent from truth and
    prediction is left out of the mean (Keras' own IoU counts it as 1). Sums are float32: exact up to
    2^24 pixels a cell, with about 6 digits beyond.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(name="scores")
        self.classes = classes
        self.confusion = self.add_variable((classes, classes), "zeros", name="confusion")

    def update_state(self, mask: Tensor, logits: Tensor, sample_weight: None = None) -> None:
        """Count a batch: class indices [batch, H, W] (255 ignored), logits [batch, H, W, classes]."""
        cells = self.classes**2
        truth = ops.cast(mask, "int32")
        prediction = ops.cast(ops.argmax(logits, -1), "int32")
        cell = ops.where(ops.equal(truth, IGNORE), cells, truth * self.classes + prediction)
        cell = ops.reshape(cell, [-1])
        counts = ops.segment_sum(ops.ones_like(cell), cell, cells + 1)[:cells]
        counts = ops.reshape(counts, [self.classes, self.classes])
        self.confusion.assign(self.confusion + ops.cast(counts, "float32"))

    def result(self) -> dict[str, Tensor]:
        """Return `accuracy` and `mean_iou`, float32 scalars in 0..1; 0 before the first pixel."""
        hits = ops.diagonal(self.confusion)
        union = ops.sum(self.confusion, 0) + ops.sum(self.confusion, 1) - hits
        present = ops.cast(union > 0, "float32")
        return {
            "accuracy": ops.sum(hits) / ops.maximum(ops.sum(self.confusion), 1),
            "mean_iou": ops.sum(hits / ops.maximum(union, 1)) / ops.maximum(ops.sum(present), 1),
        }
