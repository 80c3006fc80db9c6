"""The table of decoders, which double the resolution from an encoder's last output to the mask's.

To add a decoder, add a row, and its name to `DecoderParams`. A row is a pair of functions. `step`
doubles the resolution of a tensor [batch, h, w, C] and joins the skip connection of that resolution,
where the encoder has one. `head` doubles it the last time and returns the logits, in float32 under any
policy: softmax and loss need the precision. Its last layer with weights, and all after it, are linear:
`unet.divide_logits` relies on that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras
from keras import layers

from segpipe.model.params import DecoderParams

Tensor: TypeAlias = keras.KerasTensor

Norm = Callable[[Tensor, str], Tensor]
"""Normalizes a tensor with a layer of the given name."""


@dataclass(frozen=True)
class Decoder:
    """The parts that `unet.unet` puts together."""

    step: Callable[[Tensor, Tensor | None, int, int, Norm], Tensor]
    """Takes a tensor, a skip connection or None, the number of channels, the step's number from 1, and
    the normalization."""
    head: Callable[[Tensor, int], Tensor]
    """Takes a tensor of stride 2 and the number of classes."""


def normalization(params: DecoderParams) -> Norm:
    """Return the normalization of a decoder.

    `group` takes as many groups as divide the channels, at most 32, as in
    https://arxiv.org/abs/1803.08494. A group has at least two channels: one channel alone, on a map of
    1 x 1, would always become 0.
    """

    def batch(x: Tensor, name: str) -> Tensor:
        return layers.BatchNormalization(momentum=params.batch_norm_momentum, name=name)(x)

    def group(x: Tensor, name: str) -> Tensor:
        channels = x.shape[-1]
        groups = max(n for n in range(1, 33) if n == 1 or (channels % n == 0 and n < channels))
        return layers.GroupNormalization(groups, name=name)(x)

    return {"batch": batch, "group": group}[params.normalization]


def _pix2pix_step(x: Tensor, skip: Tensor | None, filters: int, number: int, norm: Norm) -> Tensor:
    """Apply a transposed convolution, normalization and ReLU, and join.

    As in pix2pix, https://arxiv.org/abs/1611.07004, appendix 6.1.
    """
    x = layers.Conv2DTranspose(
        filters, 3, strides=2, padding="same", use_bias=False, name=f"up_{number}_conv",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
    )(x)  # fmt: skip
    return _join(_norm_relu(x, norm, f"up_{number}"), skip, number)


def _unet_step(x: Tensor, skip: Tensor | None, filters: int, number: int, norm: Norm) -> Tensor:
    """Apply an up-convolution of 2 x 2, join, and apply two convolutions of 3 x 3.

    As in the U-Net, https://arxiv.org/abs/1505.04597, but normalized, and padded so that sizes stay.
    """
    x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up_{number}_conv")(x)
    x = _join(x, skip, number)
    for which in (1, 2):
        x = _convolution(x, filters, 3, norm, f"up_{number}", f"_{which}")
    return x


def _transposed_head(x: Tensor, classes: int) -> Tensor:
    logits = layers.Conv2DTranspose(
        classes, 3, strides=2, padding="same", dtype="float32", name="logits"
    )
    return logits(x)


def _light_step(x: Tensor, skip: Tensor | None, filters: int, number: int, norm: Norm) -> Tensor:
    """Apply a separable convolution that doubles the resolution, normalization and ReLU, and join."""
    x = _separable(x, filters, f"up_{number}_depthwise", f"up_{number}", use_bias=False)
    return _join(_norm_relu(x, norm, f"up_{number}"), skip, number)


def _light_head(x: Tensor, classes: int) -> Tensor:
    return _separable(x, classes, "logits", "logits", dtype="float32")


def _separable(x: Tensor, filters: int, last: str, prefix: str, **options: object) -> Tensor:
    """Apply a pointwise convolution, nearest neighbour, and a depthwise convolution.

    The pointwise convolution comes first (https://arxiv.org/abs/2003.13549), where it costs a quarter.
    Nearest neighbour only repeats pixels, and the depthwise convolution smooths them.
    """
    dtype = options.get("dtype")
    x = layers.Conv2D(filters, 1, use_bias=False, dtype=dtype, name=f"{prefix}_pointwise")(x)
    x = layers.UpSampling2D(dtype=dtype, name=f"{prefix}_double")(x)
    return layers.DepthwiseConv2D(3, padding="same", name=last, **options)(x)


def _fpn_step(x: Tensor, skip: Tensor | None, filters: int, number: int, norm: Norm) -> Tensor:
    """Upsample bilinearly, add the skip connection, and apply a convolution of 3 x 3.

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


def _fpn_head(x: Tensor, classes: int) -> Tensor:
    """Apply a convolution of 3 x 3, and upsample bilinearly."""
    x = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="logits_conv")(x)
    return layers.UpSampling2D(interpolation="bilinear", dtype="float32", name="logits")(x)


def _convolution(x: Tensor, filters: int, size: int, norm: Norm, name: str, which: str = "") -> Tensor:
    """Apply a convolution, normalization and ReLU."""
    x = layers.Conv2D(
        filters, size, padding="same", use_bias=False, kernel_initializer="he_normal",
        name=f"{name}_conv{which}",
    )(x)  # fmt: skip
    return _norm_relu(x, norm, name, which)


def _norm_relu(x: Tensor, norm: Norm, name: str, which: str = "") -> Tensor:
    return layers.ReLU(name=f"{name}_relu{which}")(norm(x, f"{name}_norm{which}"))


def _join(x: Tensor, skip: Tensor | None, number: int) -> Tensor:
    return x if skip is None else layers.Concatenate(name=f"join_{number}")([x, skip])


DECODERS = {
    "pix2pix": Decoder(_pix2pix_step, _transposed_head),
    "unet": Decoder(_unet_step, _transposed_head),
    "light": Decoder(_light_step, _light_head),
    "fpn": Decoder(_fpn_step, _fpn_head),
}
