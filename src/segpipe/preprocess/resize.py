"""Resize pictures to the network's input, in one way for records, scores and predictions.

Sizes are (height, width) in pixels. `stretch` fills the input and changes the aspect; `pad` keeps the
aspect, centres the picture, and fills the rest with black and ignored pixels.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from segpipe.common.classes import IGNORE
from segpipe.common.records import Resize


class Box(NamedTuple):
    """The place of a picture in the network's input, pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def within(self) -> tuple[slice, slice]:
        """The box as indices of rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def content_box(original: tuple[int, int], size: tuple[int, int], how: Resize) -> Box:
    """Return the part of the input of `size` that a picture of size `original` covers."""
    if how == "stretch":
        return Box(0, 0, *size)
    scale = min(size[0] / original[0], size[1] / original[1])
    height, width = (max(1, round(edge * scale)) for edge in original)
    return Box((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def resize_image(picture: Image.Image, size: tuple[int, int], how: Resize) -> Image.Image:
    """Scale a picture of 8 bits to the input: bilinear, antialiased, pixel centres to pixel centres."""
    box = content_box((picture.height, picture.width), size, how)
    return _padded(_scaled(picture, box), box, size)


def resize_pixels(pixels: np.ndarray, size: tuple[int, int], how: Resize) -> np.ndarray:
    """Scale uint8 [height, width, bands] to uint8 [*size, bands], each band as `resize_image` does."""
    if pixels.shape[2] == 3:
        return np.asarray(resize_image(Image.fromarray(np.ascontiguousarray(pixels)), size, how))
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(pixels, -1, 0))
    return np.stack([np.asarray(resize_image(band, size, how)) for band in bands], -1)


def resize_unread(picture: Image.Image, size: tuple[int, int], how: Resize) -> Image.Image:
    """Decode an RGB picture that Pillow has only opened, scaled to the input as `resize_image` does.

    A large JPEG is decoded at a half, a quarter or an eighth of each edge, as long as that is twice the
    size needed, which is cheap. Values then differ from those of a whole picture by less than one of 255
    on average, as with Pillow's `thumbnail`. Raises what Pillow raises.
    """
    box = content_box((picture.height, picture.width), size, how)
    reduced = picture.draft("RGB", (2 * box.width, 2 * box.height))
    part = reduced[1] if reduced else None
    return _padded(_scaled(picture, box, part), box, size)


def resize_mask(indices: np.ndarray, size: tuple[int, int], how: Resize) -> np.ndarray:
    """Scale class indices, uint8 [height, width], by nearest neighbour to uint8 of `size`."""
    box = content_box((indices.shape[0], indices.shape[1]), size, how)
    scaled = Image.fromarray(indices).resize((box.width, box.height), Image.Resampling.NEAREST)
    return np.asarray(_padded(scaled, box, size, IGNORE))


def _scaled(
    picture: Image.Image, box: Box, part: tuple[float, float, float, float] | None = None
) -> Image.Image:
    if part in (None, (0, 0, *picture.size)) and picture.size == (box.width, box.height):
        return picture  # resizing would copy it, and it may be huge
    left, top, right, bottom = part or (0, 0, *picture.size)
    # Pillow 13 chooses by the sizes which pass comes first, and 8 bits are rounded between them.
    bilinear, height = Image.Resampling.BILINEAR, picture.height
    across = picture.resize((box.width, height), bilinear, (left, 0, right, height))
    return across.resize((box.width, box.height), bilinear, (0, top, box.width, bottom))


def _padded(scaled: Image.Image, box: Box, size: tuple[int, int], fill: int = 0) -> Image.Image:
    if box == (0, 0, *size):
        return scaled
    padded = Image.new(scaled.mode, size[::-1], fill)
    padded.paste(scaled, (box.left, box.top))
    return padded
