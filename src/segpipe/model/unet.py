"""The U-Net: an encoder, and a pix2pix-style decoder that draws the mask from its outputs."""

from collections.abc import Sequence

import keras
from keras import layers

from segpipe.model.encoder import BATCH_NORM_MOMENTUM


def unet(encoder: keras.Model, filters: Sequence[int], classes: int) -> keras.Model:
    """Join an encoder with a decoder that upsamples from its last output.

    Args:
        encoder: takes float images in -1..1; outputs of stride 2, 4, 8, ..., finest first.
        filters: channels of each upsampling step, coarsest first; one fewer than outputs.
        classes: number of classes N.

    Returns:
        A model from uint8 images [batch, H, W, 3] in 0..255 to float32 logits [batch, H, W, N].
        Scaling is inside, so nothing outside can feed it wrongly. Source of the shape:
        https://arxiv.org/abs/1505.04597
    """
    image = keras.Input(encoder.input_shape[1:], dtype="uint8", name="image")
    scaled = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    *skips, x = encoder(scaled)
    for step, (width, skip) in enumerate(zip(filters, reversed(skips), strict=True), 1):
        x = _upsample(x, width, f"up_{step}")
        x = layers.Concatenate(name=f"join_{step}")([x, skip])
    # Logits stay float32 under mixed precision: softmax and loss need the digits.
    logits = layers.Conv2DTranspose(
        classes, 3, strides=2, padding="same", dtype="float32", name="logits"
    )(x)
    return keras.Model(image, logits, name="unet")


def _upsample(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Double the resolution: transposed convolution, BatchNorm, ReLU.

    As in pix2pix, https://arxiv.org/abs/1611.07004, appendix 6.1.
    """
    x = layers.Conv2DTranspose(
        filters,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
