"""Augmentation of whole batches: image and mask by one transform.

Stateless: what happens to a sample is decided by numbers drawn beforehand from seed, epoch and sample,
and by nothing else, down to the bit: not by its place in a batch, and not by how TensorFlow runs it.
"""

import math

import tensorflow as tf

from segpipe.classes import IGNORE
from segpipe.config import AugmentParams

DRAWS = 12
"""How many numbers decide what happens to a sample."""

_LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in brightness (ITU-R BT.601)."""
_OUTSIDE = IGNORE + 1
"""What a mask holds, on the way, where a moved picture does not reach."""


def augment(
    images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor, params: AugmentParams
) -> tuple[tf.Tensor, tf.Tensor]:
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
    columns = tf.unstack(tf.cast(draws, tf.float64), num=DRAWS, axis=1)
    if params.recolours:
        images = _recoloured(images, columns[6:], params)
    if params.moves:
        transforms = _transforms(columns[:6], images.shape[1], images.shape[2], params)
        images, masks = _moved(images, masks, transforms)
    elif params.flip:
        mirrored = columns[0] < 0.5
        images = tf.where(mirrored[:, None, None, None], tf.reverse(images, [2]), images)
        masks = tf.where(mirrored[:, None, None], tf.reverse(masks, [2]), masks)
    return _rounded(images), masks


def _rounded(images: tf.Tensor) -> tf.Tensor:
    return images if images.dtype == tf.uint8 else tf.saturate_cast(tf.round(images), tf.uint8)


def _transforms(columns: list[tf.Tensor], height: int, width: int, params: AugmentParams) -> tf.Tensor:
    """From pixels of the result to pixels of the source: rows of a projective transform, [batch, 8]."""
    mirror, zoom, stretch, turn, right, down = columns
    low, high = params.scale
    scale = low * (high / low) ** zoom
    aspect = params.aspect ** (stretch - 0.5)  # the root of it each way: width times, height by
    across, along = scale * aspect, scale / aspect
    flipped = 1 - 2 * tf.cast(mirror < 0.5, tf.float64) if params.flip else tf.ones_like(mirror)
    angle = math.radians(params.rotation) * (2 * turn - 1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The source is mirrored, scaled, then turned; from the result back it is the other way round.
    a, b = flipped * cos / across, flipped * sin / across
    c, d = -sin / along, cos / along
    # What is larger than the frame is cropped at random, what is smaller is placed at random.
    middle_x = (width - 1) / 2 + (right - 0.5) * width * tf.abs(1 - 1 / across)
    middle_y = (height - 1) / 2 + (down - 0.5) * height * tf.abs(1 - 1 / along)
    x, y = (width - 1) / 2, (height - 1) / 2
    zeros = tf.zeros_like(a)
    rows = [a, b, middle_x - a * x - b * y, c, d, middle_y - c * x - d * y, zeros, zeros]
    return tf.cast(tf.stack(rows, axis=1), tf.float32)


def _moved(images: tf.Tensor, masks: tf.Tensor, transforms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Images by bilinear interpolation, as float32; masks, and what is outside, by the nearest pixel."""

    def transformed(pictures: tf.Tensor, interpolation: str, beyond: str) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pictures,
            transforms=transforms,
            output_shape=tf.shape(pictures)[1:3],
            fill_value=float(_OUTSIDE),
            interpolation=interpolation,
            fill_mode=beyond,
        )

    masks = transformed(tf.cast(masks, tf.int32)[..., None], "NEAREST", "CONSTANT")
    # Floats, as the operation would round uint8 down; and not blended with black at the picture's edge,
    # where the mask still has a class.
    images = transformed(tf.cast(images, tf.float32), "BILINEAR", "NEAREST")
    images = tf.where(masks == _OUTSIDE, 0.0, images)
    return images, tf.cast(tf.minimum(masks[..., 0], IGNORE), tf.uint8)


def _recoloured(images: tf.Tensor, columns: list[tf.Tensor], params: AugmentParams) -> tf.Tensor:
    """Blur, then one matrix a sample: brightness, contrast, hue, saturation and grey. Gives float32."""
    brightness, contrast, saturation, hue, blur, grey = columns
    brightness = 1 + params.brightness * (2 * brightness - 1)
    contrast = 1 + params.contrast * (2 * contrast - 1)
    saturation = 1 + params.saturation * (2 * saturation - 1)
    matrix = tf.matmul(
        _saturating(tf.where(grey < params.grey, tf.zeros_like(grey), saturation)),
        _turning(2 * math.pi * params.hue * (2 * hue - 1)),
    )
    pixels = tf.cast(images, tf.float32)
    # Contrast is about the mean brightness, a grey, which the matrix leaves as it is.
    matrix *= (brightness * contrast)[:, None, None]
    offset = brightness * (1 - contrast) * _mean_luma(pixels)
    if params.blur:
        pixels = _blurred(pixels, tf.cast(params.blur * blur, tf.float32))
    pixels = tf.einsum("bhwc,bdc->bhwd", pixels, tf.cast(matrix, tf.float32))
    return pixels + tf.cast(offset, tf.float32)[:, None, None, None]


def _mean_luma(pixels: tf.Tensor) -> tf.Tensor:
    """The mean brightness of each picture, the same in whatever order threads sum: float64 [batch]."""
    rows = tf.cast(tf.reduce_sum(pixels, 2), tf.float64)  # whole numbers that float32 holds
    means = tf.reduce_sum(rows, 1) / (pixels.shape[1] * pixels.shape[2])
    return tf.reduce_sum(means * _LUMA, 1)


def _saturating(factors: tf.Tensor) -> tf.Tensor:
    """Matrices that draw colours to their grey (0) or away from it (above 1): [batch, 3, 3]."""
    grey = tf.constant([_LUMA] * 3, tf.float64)
    factors = factors[:, None, None]
    return factors * tf.eye(3, dtype=tf.float64) + (1 - factors) * grey


def _turning(angles: tf.Tensor) -> tf.Tensor:
    """Matrices that turn colours about the axis of greys, which stay as they are: [batch, 3, 3]."""
    cos, sin = tf.cos(angles), tf.sin(angles) / math.sqrt(3)
    same, rest = (1 + 2 * cos) / 3, (1 - cos) / 3
    up, down = rest + sin, rest - sin
    rows = [[same, down, up], [up, same, down], [down, up, same]]
    return tf.stack([tf.stack(row, -1) for row in rows], 1)


def _blurred(pixels: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Blend a share of the mean of 3 x 3 pixels into each."""
    padded = tf.pad(pixels, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")  # so that the mean stays
    means = tf.nn.avg_pool2d(padded, 3, 1, "VALID")
    return pixels + shares[:, None, None, None] * (means - pixels)
