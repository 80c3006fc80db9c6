"""Deep supervision: in training the decoder's coarser levels are held against the mask too."""

from typing import Any

import keras
from keras import layers

from segpipe.common.errors import UserError
from segpipe.model.unet import level


class DeeplySupervised(keras.Model):
    """A U-Net with another head on each coarser level of its decoder, for training alone.

    The loss in training is that of the logits and, times `weight`, the mean of that of the levels, each
    against the mask at its size, nearest neighbour. Validation, prediction and the metrics see the
    logits alone. The weights are those of `network`, which is what to save, and the heads'.

    Source: https://arxiv.org/abs/1409.5185
    """

    def __init__(self, network: keras.Model, weight: float) -> None:
        """Put a convolution of 1 x 1, float32, on each level but the finest, which has the logits.

        Args:
            network: a `unet`: uint8 images [batch, H, W, 3] to logits [batch, H, W, N].
            weight: what the levels count, above 0.

        Raises:
            UserError: the decoder has one level.
        """
        super().__init__(name="deeply_supervised")
        self.network, self.weight = network, weight
        numbered = ((level(operation.name), operation.output) for operation in network.operations)
        *coarser, _ = {number: output for number, output in numbered if number}.values()
        if not coarser:
            raise UserError(
                "train.loss.deep_supervision: the decoder has one level, and none that is coarser; set "
                "it to 0, or have model.encoder.layers go deeper"
            )
        heads = [
            layers.Conv2D(network.output.shape[-1], 1, dtype="float32", name=f"level_{number}")(output)
            for number, output in enumerate(coarser, 1)
        ]
        self.strides = [network.output.shape[1] // head.shape[1] for head in heads]
        self.supervised = keras.Model(network.input, [network.output, *heads], name="supervised")

    def call(self, image: keras.KerasTensor, training: bool = False) -> Any:
        """The logits; in training a list of them and of each level's, coarsest first."""
        return (self.supervised if training else self.network)(image, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> keras.KerasTensor:
        """What training minimises, or validation measures; of masks [batch, H, W]."""
        loss = super().compute_loss(x, y, _logits(y_pred), sample_weight, training)
        if not training:
            return loss
        losses = [
            self.loss(at_stride(y, stride), logits)
            for stride, logits in zip(self.strides, y_pred[1:], strict=True)
        ]
        return loss + self.weight * sum(losses) / len(losses)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, float]:
        """Those of the logits."""
        return super().compute_metrics(x, y, _logits(y_pred), sample_weight)


def at_stride(mask: keras.KerasTensor, stride: int) -> keras.KerasTensor:
    """Every n-th pixel of masks [batch, H, W], in the middle of what a pixel of the level stands for."""
    return mask[:, stride // 2 :: stride, stride // 2 :: stride]


def _logits(y_pred: Any) -> keras.KerasTensor:
    return y_pred[0] if isinstance(y_pred, list) else y_pred
