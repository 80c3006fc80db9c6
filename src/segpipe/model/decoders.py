"""The table of decoders, which double the resolution from an encoder's last output to the mask's.

To add a decoder, add a row: a pair of functions. `step` doubles the resolution of a tensor
[batch, h, w, C] and joins the skip connection of that resolution, where the encoder has one. `head`
doubles it the last time and returns the logits, in float32 under any policy: softmax and loss need the
precision.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from segpipe.model.params import DecoderParams

Norm = Callable[[keras.KerasTensor, str], keras.KerasTensor]
"""Normalizes a tensor with a layer of the given name."""


@dataclass(frozen=True)
class Decoder:
    """The parts that `unet.unet` puts together."""

    step: Callable[[keras.KerasTensor, keras.KerasTensor | None, int, int, Norm], keras.KerasTensor]
    """Takes a tensor, a skip connection or None, the number of channels, the step's number from 1, and
    the normalization."""
    head: Callable[[keras.KerasTensor, int], keras.KerasTensor]
    """Takes a tensor of stride 2 and the number of classes."""


def normalization(params: DecoderParams) -> Norm:
    """Return the normalization of a decoder.

    `group` takes as many groups as divide the channels, at most 32, as in
    https://arxiv.org/abs/1803.08494. A group has at least two channels: one channel alone, on a map of
    1 x 1, would always become 0.
    """

    def batch(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.BatchNormalization(momentum=params.batch_norm_momentum, name=name)(x)

    def group(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        channels = x.shape[-1]
        groups = max(n for n in range(1, 33) if n == 1 or (channels % n == 0 and n < channels))
        return layers.GroupNormalization(groups, name=name)(x)

    return {"batch": batch, "group": group}[params.normalization]


def _pix2pix_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int, norm: Norm
) -> keras.KerasTensor:
    """Transposed convolution, normalization, ReLU, join.

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
    x = _norm_relu(x, norm, f"up_{number}")
    return _join(x, skip, number)


def _unet_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int, norm: Norm
) -> keras.KerasTensor:
    """Up-convolution of 2 x 2, join, two convolutions of 3 x 3.

    As in the U-Net, https://arxiv.org/abs/1505.04597, but normalized, and padded so that sizes stay.
    """
    x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up_{number}_conv")(x)
    x = _join(x, skip, number)
    for which in (1, 2):
        x = _convolution(x, filters, 3, norm, f"up_{number}", f"_{which}")
    return x


def _transposed_head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Conv2DTranspose(classes, 3, strides=2, padding="same", dtype="float32", name="logits")(
        x
    )


def _light_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int, norm: Norm
) -> keras.KerasTensor:
    """Separable convolution that doubles the resolution, normalization, ReLU, join."""
    x = _separable(x, filters, f"up_{number}_depthwise", f"up_{number}", use_bias=False)
    return _join(_norm_relu(x, norm, f"up_{number}"), skip, number)


def _light_head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return _separable(x, classes, "logits", "logits", dtype="float32")


def _separable(
    x: keras.KerasTensor, filters: int, last: str, prefix: str, **options: object
) -> keras.KerasTensor:
    """Pointwise convolution, nearest neighbour, depthwise convolution.

    The pointwise convolution comes first (https://arxiv.org/abs/2003.13549), where it costs a quarter.
    Nearest neighbour only repeats pixels, and the depthwise convolution smooths them.
    """
    dtype = options.get("dtype")
    x = layers.Conv2D(filters, 1, use_bias=False, dtype=dtype, name=f"{prefix}_pointwise")(x)
    x = layers.UpSampling2D(dtype=dtype, name=f"{prefix}_double")(x)
    return layers.DepthwiseConv2D(3, padding="same", name=last, **options)(x)


def _fpn_step(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, number: int, norm: Norm
) -> keras.KerasTensor:
    """Bilinear, sum with the skip connection, convolution of 3 x 3.

    As in the feature pyramid network, https://arxiv.org/abs/1612.03144, but with normalization and ReLU,
    and a width for each level. Convolutions of 1 x 1 bring both summands to that width.
    """
    if x.shape[-1] != filters:
        x = _convolution(x, filters, 1, norm, f"up_{number}", "_reduce")
    x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{number}_double")(x)
    if skip is not None:
        lateral = _convolution(skip, filters, 1, norm, f"up_{number}", "_lateral")
        x = layers.Add(name=f"up_{number}_sum")([x, lateral])
    return _convolution(x, filters, 3, norm, f"up_{number}")


def _fpn_head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Convolution of 3 x 3, bilinear."""
    x = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="logits_conv")(x)
    return layers.UpSampling2D(interpolation="bilinear", dtype="float32", name="logits")(x)


def _convolution(
    x: keras.KerasTensor, filters: int, size: int, norm: Norm, name: str, which: str = ""
) -> keras.KerasTensor:
    """Convolution, normalization, ReLU."""
    x = layers.Conv2D(
        filters,
        size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv{which}",
    )(x)
    return _norm_relu(x, norm, name, which)


def _norm_relu(x: keras.KerasTensor, norm: Norm, name: str, which: str = "") -> keras.KerasTensor:
    return layers.ReLU(name=f"{name}_relu{which}")(norm(x, f"{name}_norm{which}"))


def _join(x: keras.KerasTensor, skip: keras.KerasTensor | None, number: int) -> keras.KerasTensor:
    return x if skip is None else layers.Concatenate(name=f"join_{number}")([x, skip])


DECODERS = {
    "pix2pix": Decoder(_pix2pix_step, _transposed_head),
    "unet": Decoder(_unet_step, _transposed_head),
    "light": Decoder(_light_step, _light_head),
    "fpn": Decoder(_fpn_step, _fpn_head),
}
