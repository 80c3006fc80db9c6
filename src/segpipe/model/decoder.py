"""Decoders: what doubles the resolution from an encoder's last output to the mask's.

Each is a pair of functions. `step` doubles the resolution of a tensor [batch, h, w, C] and joins the
skip connection of that resolution, where the encoder has one; `head` doubles it the last time and gives
the logits, float32 under any policy: softmax and loss need the digits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from segpipe.model.encoder import BATCH_NORM_MOMENTUM


@dataclass(frozen=True)
class Decoder:
    """The parts that `unet` puts together."""

    step: Callable[[keras.KerasTensor, keras.KerasTensor | None, int, int], keras.KerasTensor]
    """From a tensor, a skip connection or None, the number of channels, and the step's number from 1."""
    head: Callable[[keras.KerasTensor, int], keras.KerasTensor]
    """From a tensor of stride 2 and the number of classes."""


def _pix2pix_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int
) -> keras.KerasTensor:
    """Transposed convolution, BatchNorm, ReLU, join.

    As in pix2pix, https://arxiv.org/abs/1611.07004, appendix 6.1.
    """
    x = layers.Conv2DTranspose(
        filters,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name=f"up_{number}_conv",
    )(x)
    x = _norm_relu(x, f"up_{number}")
    return _join(x, skip, number)


def _unet_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int
) -> keras.KerasTensor:
    """Up-convolution of 2 x 2, join, two convolutions of 3 x 3.

    As in the U-Net, https://arxiv.org/abs/1505.04597, with BatchNorm, and padded so that sizes stay.
    """
    x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up_{number}_conv")(x)
    x = _join(x, skip, number)
    for which in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"up_{number}_conv_{which}",
        )(x)
        x = _norm_relu(x, f"up_{number}", f"_{which}")
    return x


def _transposed_head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Conv2DTranspose(classes, 3, strides=2, padding="same", dtype="float32", name="logits")(
        x
    )


def _light_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int
) -> keras.KerasTensor:
    """Separable convolution that doubles the resolution, BatchNorm, ReLU, join."""
    x = _separable(x, filters, f"up_{number}_depthwise", f"up_{number}", use_bias=False)
    return _join(_norm_relu(x, f"up_{number}"), skip, number)


def _light_head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return _separable(x, classes, "logits", "logits", dtype="float32")


def _separable(
    x: keras.KerasTensor, filters: int, last: str, prefix: str, **options: object
) -> keras.KerasTensor:
    """Pointwise convolution, nearest neighbour, depthwise convolution.

    Pointwise comes first (https://arxiv.org/abs/2003.13549), where it costs a quarter. Nearest neighbour
    in Keras is a repetition, which XLA can differentiate; bilinear is not.
    """
    dtype = options.get("dtype")
    x = layers.Conv2D(filters, 1, use_bias=False, dtype=dtype, name=f"{prefix}_pointwise")(x)
    x = layers.UpSampling2D(dtype=dtype, name=f"{prefix}_double")(x)
    return layers.DepthwiseConv2D(3, padding="same", name=last, **options)(x)


def _norm_relu(x: keras.KerasTensor, name: str, which: str = "") -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm{which}")(x)
    return layers.ReLU(name=f"{name}_relu{which}")(x)


def _join(x: keras.KerasTensor, skip: keras.KerasTensor | None, number: int) -> keras.KerasTensor:
    return x if skip is None else layers.Concatenate(name=f"join_{number}")([x, skip])


DECODERS = {
    "pix2pix": Decoder(_pix2pix_step, _transposed_head),
    "unet": Decoder(_unet_step, _transposed_head),
    "light": Decoder(_light_step, _light_head),
}
