"""Augmentation of whole batches: image and mask by one transform.

Stateless: what happens to a sample is decided by numbers drawn beforehand from seed, epoch and sample,
and by nothing else, on a CPU down to the bit: not by its place in a batch, and not by how TensorFlow
runs it. Runs on any Keras backend.
"""

import math

import keras
from keras import ops

from segpipe.common.classes import IGNORE
from segpipe.train.params import AugmentParams

DRAWS = 12
"""Random numbers drawn for a sample. The last two are unused: they keep the random stream, and with it
the weights that training ends with, what they were when two more changes were drawn."""

_LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in brightness (ITU-R BT.601)."""
_OUTSIDE = IGNORE + 1
"""What a mask holds, on the way, where a moved picture does not reach."""


def augment(
    images: keras.KerasTensor, masks: keras.KerasTensor, draws: keras.KerasTensor, params: AugmentParams
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Recolour, move, turn and scale a batch at random, as the params allow.

    Args:
        images: uint8 [batch, height, width, 3].
        masks: uint8 [batch, height, width], class indices or 255.
        draws: float32 [batch, `DRAWS`], evenly spread over 0..1.
        params: how far each change may go.

    Returns:
        Images and masks, shapes and dtypes as given. Where a moved picture does not reach, its image is
        black and its mask 255, so that it is ignored.
    """
    # In float64: sine, cosine and power may differ in their last bit from one place in a batch to the
    # next, and rounding to float32 takes that away.
    columns = ops.unstack(ops.cast(draws, "float64"), DRAWS, axis=1)
    if params.recolours:
        images = _recoloured(images, columns[6:10], params)
    if params.moves:
        transforms = _transforms(columns[:6], images.shape[1], images.shape[2], params)
        images, masks = _moved(images, masks, transforms)
    elif params.flip:
        mirrored = columns[0] < 0.5
        images = ops.where(mirrored[:, None, None, None], ops.flip(images, 2), images)
        masks = ops.where(mirrored[:, None, None], ops.flip(masks, 2), masks)
    return _rounded(images), masks


def _rounded(images: keras.KerasTensor) -> keras.KerasTensor:
    if keras.backend.standardize_dtype(images.dtype) == "uint8":
        return images
    return ops.saturate_cast(ops.round(images), "uint8")


def _transforms(
    columns: list[keras.KerasTensor], height: int, width: int, params: AugmentParams
) -> keras.KerasTensor:
    """From pixels of the result to pixels of the source: rows of a projective transform, [batch, 8]."""
    mirror, zoom, stretch, turn, right, down = columns
    low, high = params.scale
    scale = low * (high / low) ** zoom
    aspect = params.aspect ** (stretch - 0.5)  # the root of it each way: width times, height by
    across, along = scale * aspect, scale / aspect
    flipped = 1 - 2 * ops.cast(mirror < 0.5, "float64") if params.flip else ops.ones_like(mirror)
    angle = math.radians(params.rotation) * (2 * turn - 1)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # The source is mirrored, scaled, then turned; from the result back it is the other way round.
    a, b = flipped * cos / across, flipped * sin / across
    c, d = -sin / along, cos / along
    # What is larger than the frame is cropped at random, what is smaller is placed at random.
    middle_x = (width - 1) / 2 + (right - 0.5) * width * ops.absolute(1 - 1 / across)
    middle_y = (height - 1) / 2 + (down - 0.5) * height * ops.absolute(1 - 1 / along)
    x, y = (width - 1) / 2, (height - 1) / 2
    zeros = ops.zeros_like(a)
    rows = [a, b, middle_x - a * x - b * y, c, d, middle_y - c * x - d * y, zeros, zeros]
    return ops.cast(ops.stack(rows, axis=1), "float32")


def _moved(
    images: keras.KerasTensor, masks: keras.KerasTensor, transforms: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Images by bilinear interpolation, as float32; masks, and what is outside, by the nearest pixel."""

    def transformed(pictures: keras.KerasTensor, interpolation: str, beyond: str) -> keras.KerasTensor:
        return ops.image.affine_transform(
            pictures,
            transforms,
            interpolation=interpolation,
            fill_mode=beyond,
            fill_value=float(_OUTSIDE),
            data_format="channels_last",
        )

    masks = transformed(ops.cast(masks, "int32")[..., None], "nearest", "constant")
    # Floats, as the operation would round uint8 down; and not blended with black at the picture's edge,
    # where the mask still has a class.
    images = transformed(ops.cast(images, "float32"), "bilinear", "nearest")
    images = ops.where(masks == _OUTSIDE, 0.0, images)
    return images, ops.cast(ops.minimum(masks[..., 0], IGNORE), "uint8")


def _recoloured(
    images: keras.KerasTensor, columns: list[keras.KerasTensor], params: AugmentParams
) -> keras.KerasTensor:
    """Apply one matrix a sample for brightness, contrast, saturation and hue; return float32."""
    brightness, contrast, saturation, hue = columns
    brightness = 1 + params.brightness * (2 * brightness - 1)
    contrast = 1 + params.contrast * (2 * contrast - 1)
    saturation = 1 + params.saturation * (2 * saturation - 1)
    matrix = ops.matmul(
        _saturating(saturation),
        _turning(2 * math.pi * params.hue * (2 * hue - 1)),
    )
    pixels = ops.cast(images, "float32")
    # Contrast is about the mean brightness, a grey, which the matrix leaves as it is.
    matrix *= (brightness * contrast)[:, None, None]
    offset = brightness * (1 - contrast) * _mean_luma(pixels)
    pixels = ops.einsum("bhwc,bdc->bhwd", pixels, ops.cast(matrix, "float32"))
    return pixels + ops.cast(offset, "float32")[:, None, None, None]


def _mean_luma(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """The mean brightness of each picture, the same in whatever order threads sum: float64 [batch]."""
    rows = ops.cast(ops.sum(pixels, 2), "float64")  # whole numbers that float32 holds
    means = ops.sum(rows, 1) / (pixels.shape[1] * pixels.shape[2])
    return ops.sum(means * ops.convert_to_tensor(_LUMA, "float64"), 1)


def _saturating(factors: keras.KerasTensor) -> keras.KerasTensor:
    """Matrices that draw colours to their grey (0) or away from it (above 1): [batch, 3, 3]."""
    grey = ops.convert_to_tensor([_LUMA] * 3, "float64")
    factors = factors[:, None, None]
    return factors * ops.eye(3, dtype="float64") + (1 - factors) * grey


def _turning(angles: keras.KerasTensor) -> keras.KerasTensor:
    """Matrices that turn colours about the axis of greys, which stay as they are: [batch, 3, 3]."""
    cos, sin = ops.cos(angles), ops.sin(angles) / math.sqrt(3)
    same, rest = (1 + 2 * cos) / 3, (1 - cos) / 3
    up, down = rest + sin, rest - sin
    rows = [[same, down, up], [up, same, down], [down, up, same]]
    return ops.stack([ops.stack(row, -1) for row in rows], 1)
