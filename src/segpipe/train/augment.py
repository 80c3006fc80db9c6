"""Augmentation of whole batches: image and mask by one transform, on any Keras backend.

Stateless: a sample's change depends only on numbers that were drawn beforehand from seed, epoch and
sample. On a CPU it is the same to the bit at any place in a batch, and however TensorFlow runs it.
"""

import math
from typing import TypeAlias

import keras
from keras import ops

from segpipe.common.classes import IGNORE
from segpipe.train.params import AugmentParams

Tensor: TypeAlias = keras.KerasTensor

DRAWS = 12
"""Random numbers drawn for a sample. The last two are unused. They belonged to two deleted changes;
without them the random numbers, and so the trained weights, would change."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
_OUTSIDE = IGNORE + 1
"""Marks, until a batch is done, the pixels of a mask that a moved image does not cover."""


def augment(
    images: Tensor,
    masks: Tensor,
    draws: Tensor,
    params: AugmentParams,
    rgb: bool = True,
    crop: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Recolour, move, turn and scale a batch at random, within the limits of the params.

    Args:
        images: uint8 [batch, height, width, bands].
        masks: uint8 [batch, height, width], class indices or 255.
        draws: float32 [batch, `DRAWS`], uniform in 0..1.
        params: the limits.
        rgb: whether the bands are red, green and blue. Others have no saturation and no hue.
        crop: height and width of what is cut out of each image at a random place; None: all of it. A
            crop never reaches beyond its image: where zooming out would, it zooms out less.

    Returns:
        Images and masks, of the shapes given or of `crop`, and of the same dtypes. Pixels that a moved
        image does not cover are black, and 255 in the mask, so that they are ignored.
    """
    # In float64: the last bit of sine, cosine and power may depend on the place in a batch. Rounding to
    # float32 removes it.
    columns = ops.unstack(ops.cast(draws, "float64"), DRAWS, axis=1)
    if params.recolours and not crop:
        images = _recoloured(images, columns[6:10], params, rgb)
    if params.moves or crop:
        transforms = _transforms(columns[:6], images.shape[1], images.shape[2], params, crop)
        images, masks = _moved(images, masks, transforms, crop or images.shape[1:3])
        if params.recolours and crop:  # only now, since a crop has fewer pixels
            images = _recoloured(images, columns[6:10], params, rgb)
    elif params.flip:
        mirrored = columns[0] < 0.5
        images = ops.where(mirrored[:, None, None, None], ops.flip(images, 2), images)
        masks = ops.where(mirrored[:, None, None], ops.flip(masks, 2), masks)
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        images = ops.saturate_cast(ops.round(images), "uint8")
    return images, masks


def _transforms(
    columns: list[Tensor], height: int, width: int, params: AugmentParams, crop: tuple[int, int] | None
) -> Tensor:
    """Return projective transforms, [batch, 8], from pixels of the result to pixels of the source."""
    mirror, zoom, stretch, turn, right, down = columns
    low, high = params.scale
    scale = low * (high / low) ** zoom
    aspect = params.aspect ** (stretch - 0.5)  # its root widens, and flattens as much
    across, along = scale * aspect, scale / aspect
    flipped = 1 - 2 * ops.cast(mirror < 0.5, "float64") if params.flip else ops.ones_like(mirror)
    angle = math.radians(params.rotation) * (2 * turn - 1)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # The source is mirrored, scaled, then turned; from result to source the order is reversed.
    a, b = flipped * cos / across, flipped * sin / across
    c, d = -sin / along, cos / along
    x, y = (width - 1) / 2, (height - 1) / 2
    if crop:
        # What the crop covers of the source, before it is kept from reaching beyond it.
        source_width = crop[1] * ops.absolute(a) + crop[0] * ops.absolute(b)
        source_height = crop[1] * ops.absolute(c) + crop[0] * ops.absolute(d)
        overshoot = ops.maximum(1.0, ops.maximum(source_width / width, source_height / height))
        a, b, c, d = a / overshoot, b / overshoot, c / overshoot, d / overshoot
        spare_x, spare_y = width - source_width / overshoot, height - source_height / overshoot
        if not params.moves:  # between pixels it would blur
            middle_x = x - spare_x / 2 + ops.floor(right * (spare_x + 1))
            middle_y = y - spare_y / 2 + ops.floor(down * (spare_y + 1))
        else:
            middle_x, middle_y = x + (right - 0.5) * spare_x, y + (down - 0.5) * spare_y
        x, y = (crop[1] - 1) / 2, (crop[0] - 1) / 2
    else:
        # An image larger than the frame is cropped at random, a smaller one is placed at random.
        middle_x = x + (right - 0.5) * width * ops.absolute(1 - 1 / across)
        middle_y = y + (down - 0.5) * height * ops.absolute(1 - 1 / along)
    zeros = ops.zeros_like(a)
    rows = [a, b, middle_x - a * x - b * y, c, d, middle_y - c * x - d * y, zeros, zeros]
    return ops.cast(ops.stack(rows, axis=1), "float32")


def _moved(
    images: Tensor, masks: Tensor, transforms: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Move images by bilinear interpolation, to float32, and masks by the nearest pixel; keep `size`."""

    def transformed(pixels: Tensor, interpolation: str, fill_mode: str) -> Tensor:
        return ops.image.affine_transform(
            pixels, transforms, interpolation=interpolation, fill_mode=fill_mode,
            fill_value=float(_OUTSIDE), data_format="channels_last",
        )[:, : size[0], : size[1]]  # fmt: skip

    masks = transformed(ops.cast(masks, "int32")[..., None], "nearest", "constant")
    # As floats, since the operation would round uint8 down. At its edge the image is extended, and not
    # blended with black, since the mask still has a class there.
    images = transformed(ops.cast(images, "float32"), "bilinear", "nearest")
    images = ops.where(masks == _OUTSIDE, 0.0, images)
    return images, ops.cast(ops.minimum(masks[..., 0], IGNORE), "uint8")


def _recoloured(images: Tensor, columns: list[Tensor], params: AugmentParams, rgb: bool) -> Tensor:
    """Change brightness and contrast, and saturation and hue of RGB; return float32."""
    brightness, contrast, saturation, hue = columns
    brightness = 1 + params.brightness * (2 * brightness - 1)
    contrast = 1 + params.contrast * (2 * contrast - 1)
    pixels = ops.cast(images, "float32")
    factors, means = brightness * contrast, _means(pixels)
    if rgb:
        saturation = 1 + params.saturation * (2 * saturation - 1)
        matrix = ops.matmul(_saturating(saturation), _turning(2 * math.pi * params.hue * (2 * hue - 1)))
        # Contrast changes about the mean brightness, a grey, which the matrix leaves as it is.
        matrix *= factors[:, None, None]
        means = ops.sum(means * ops.convert_to_tensor(_LUMA, "float64"), 1, keepdims=True)
        pixels = ops.einsum("bhwc,bdc->bhwd", pixels, ops.cast(matrix, "float32"))
    else:  # bands have no common grey: the contrast of each changes about its own mean
        pixels *= ops.cast(factors, "float32")[:, None, None, None]
    offsets = (brightness * (1 - contrast))[:, None] * means
    return pixels + ops.cast(offsets, "float32")[:, None, None]


def _means(pixels: Tensor) -> Tensor:
    """Return the mean of each band of each image, float64 [batch, bands], exact in any order of sums."""
    rows = ops.cast(ops.sum(pixels, 2), "float64")  # whole numbers, which float32 holds exactly
    return ops.sum(rows, 1) / (pixels.shape[1] * pixels.shape[2])


def _saturating(factors: Tensor) -> Tensor:
    """Return matrices, [batch, 3, 3], that move colours to their grey (0) or away from it (above 1)."""
    grey = ops.convert_to_tensor([_LUMA] * 3, "float64")
    factors = factors[:, None, None]
    return factors * ops.eye(3, dtype="float64") + (1 - factors) * grey


def _turning(angles: Tensor) -> Tensor:
    """Return matrices, [batch, 3, 3], that turn colours about the axis of greys."""
    cos, sin = ops.cos(angles), ops.sin(angles) / math.sqrt(3)
    same, rest = (1 + 2 * cos) / 3, (1 - cos) / 3
    up, down = rest + sin, rest - sin
    rows = [[same, down, up], [up, same, down], [down, up, same]]
    return ops.stack([ops.stack(row, -1) for row in rows], 1)
