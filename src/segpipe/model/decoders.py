"""The table of decoders, which draw the logits of a mask from the outputs of an encoder.

To add a decoder, add a row, and its name to `DecoderParams`. Most are a pair of functions that
`_stepwise` joins. `step` doubles the resolution of a tensor [batch, h, w, C] and joins the skip
connection of that resolution, where the encoder has one. `head` doubles it the last time and returns the
logits, in float32 under any policy: softmax and loss need the precision. Names of the head's layers
begin with `HEAD`.

No layer depends on the size of its input: test-time augmentation takes the layers to other sizes. The
last layer with weights, and all after it, are linear: `unet.divide_logits` relies on that.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
from keras import layers

from segpipe.model.params import DecoderParams

HEAD = "logits"

Tensor: TypeAlias = keras.KerasTensor

Norm: TypeAlias = Callable[[Tensor, str], Tensor]
"""Normalizes a tensor with a layer of the given name."""

Decoder: TypeAlias = Callable[[Sequence[Tensor | None], Sequence[int], int, Norm], Tensor]
"""Takes the encoder's outputs of stride 2, 4 and so on (None where it has none), `filters`, the number
of classes, and the normalization; returns the logits."""

Step: TypeAlias = Callable[[Tensor, Tensor | None, int, int, Norm], Tensor]
"""Takes a tensor, a skip connection or None, the number of channels, the step's number from 1, and the
normalization."""

Head: TypeAlias = Callable[[Tensor, int], Tensor]
"""Takes a tensor of stride 2 and the number of classes."""

_RATES = (1, 3, 4)
"""Rates of the pyramid of `aspp`. The paper's 6, 12 and 18 belong to a map of 33 x 33 (513 px at stride
16). These are as large in relation to the 8 x 8 of 128 px, where 8 or more would see only padding."""

_FINE = 48
"""Channels of the skip connection of `aspp`, as in the paper."""


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


def _stepwise(step: Step, head: Head) -> Decoder:
    """Return a decoder that doubles the resolution step by step, from the encoder's last output on."""

    def draw(maps: Sequence[Tensor | None], filters: Sequence[int], classes: int, norm: Norm) -> Tensor:
        *skips, x = maps
        for number, (width, skip) in enumerate(zip(filters, reversed(skips), strict=True), 1):
            x = step(x, skip, width, number, norm)
        return head(x, classes)

    return draw


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


def _bilinear_head(x: Tensor, classes: int, factor: int = 2) -> Tensor:
    """Apply a convolution of 3 x 3, and upsample bilinearly."""
    x = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="logits_conv")(x)
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name="logits")(x)


def _image_pooling(x: Tensor, filters: int) -> Tensor:
    """Return an average of the whole map, convolved, [batch, 1, 1, filters].

    It is not normalized, as in LR-ASPP, https://arxiv.org/abs/1905.02244: BatchNorm would turn it into a
    constant in a batch of one image, and into a sign in a batch of two.
    """
    x = layers.GlobalAveragePooling2D(keepdims=True, name="context_image_pool")(x)
    return layers.Conv2D(
        filters, 1, activation="relu", kernel_initializer="he_normal", name="context_image_conv"
    )(x)


def _aspp(maps: Sequence[Tensor | None], filters: Sequence[int], classes: int, norm: Norm) -> Tensor:
    """Draw from an atrous spatial pyramid on a coarse map, and one skip connection of stride 4.

    As in DeepLabV3+, https://arxiv.org/abs/1802.02611, which dilates its encoder, so that its last
    output has stride 16. Here the pyramid takes the second-to-last output, joined with the upsampled
    last one. A pyramid of stride 4 or less has no skip connection.
    """
    *finer, coarsest = maps
    width, stride = filters[0], 2 ** len(finer)
    x = layers.UpSampling2D(interpolation="bilinear", name="up_1_double")(coarsest)
    x = _atrous_pyramid(_join(x, finer[-1], 1), width, norm)
    if stride > 4:
        x = layers.UpSampling2D(stride // 4, interpolation="bilinear", name="up_2_enlarge")(x)
        x = _join(x, _convolution(finer[1], _FINE, 1, norm, "up_2", "_lateral"), 2)
        for which in (1, 2):
            x = _convolution(x, width, 3, norm, "up_2", f"_{which}")
    return _bilinear_head(x, classes, min(stride, 4))


def _atrous_pyramid(x: Tensor, filters: int, norm: Norm) -> Tensor:
    """Project a convolution of 1 x 1, separable ones of several rates, and the average of the map.

    The average is projected by itself and added. Enlarging and concatenating it would give the same.
    ReLU then makes it differ from place to place: in a batch of one image, a later BatchNorm would
    subtract a value that is the same everywhere.
    """
    parts = [_convolution(x, filters, 1, norm, "context", "_point")]
    for rate in _RATES:
        far = layers.DepthwiseConv2D(
            3, padding="same", dilation_rate=rate, use_bias=False, name=f"context_depthwise_{rate}"
        )(x)
        parts.append(_convolution(far, filters, 1, norm, "context", f"_rate_{rate}"))
    image = layers.Conv2D(filters, 1, name="context_image_project")(_image_pooling(x, filters))
    x = layers.Concatenate(name="context_join")(parts)
    x = layers.Conv2D(
        filters, 1, use_bias=False, kernel_initializer="he_normal", name="context_project"
    )(x)
    x = layers.Add(name="context_sum")([norm(x, "context_norm"), image])
    return layers.ReLU(name="context_relu")(x)


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


DECODERS: dict[str, Decoder] = {
    "pix2pix": _stepwise(_pix2pix_step, _transposed_head),
    "unet": _stepwise(_unet_step, _transposed_head),
    "light": _stepwise(_light_step, _light_head),
    "fpn": _stepwise(_fpn_step, _bilinear_head),
    "aspp": _aspp,
}
