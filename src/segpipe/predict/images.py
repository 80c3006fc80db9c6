"""Images to predict on: files, read as training reads them, and what Python callers pass."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.records import Resize
from segpipe.fetch.integrity import decode_image, is_kept, open_one, readable, upright_rgb
from segpipe.fetch.sample import unreadable
from segpipe.preprocess.resize import resize_image, resize_unread

Fitted = tuple[np.ndarray, tuple[int, int]]
"""An image resized to the network's input, uint8 [*size, 3], and its own height and width."""


def read_rgb(path: Path) -> Image.Image:
    """Read an image file as training does: upright, in 8-bit RGB. Raises as `read_fitted` does."""
    return decode_image(_content(path), str(path))


def read_fitted(path: Path, size: tuple[int, int], how: Resize) -> Fitted:
    """Read an image file to exactly the pixels that its record would hold.

    It is resized to `size`, the network's height and width, as `how` says. Raises BadSampleError where
    the file cannot be read, or holds no whole image.
    """
    data, file = _content(path), str(path)
    with readable(file):
        picture = open_one(data, file)
        if is_kept(picture):  # others are stored as a PNG, whose pixels are resized
            original = (picture.height, picture.width)
            return np.asarray(resize_unread(picture, size, how)), original
    return _fitted(decode_image(data, file), size, how)


def fitted(image: Any, size: tuple[int, int], how: Resize) -> Fitted:
    """Resize one image to the network's input; images and errors are those of `as_rgb`."""
    if isinstance(image, str | os.PathLike):
        return read_fitted(Path(image), size, how)
    return _fitted(as_rgb(image), size, how)


def as_rgb(image: Any) -> Image.Image:
    """Return one image in 8-bit RGB, without alpha.

    `image` is a path, a Pillow image, or a uint8 array (or anything that NumPy turns into one) of shape
    [height, width] or [height, width, channels], with 1, 3 or 4 channels. Raises UserError where it is
    none of these, or a file that cannot be read or holds no whole image.
    """
    if isinstance(image, str | os.PathLike):
        return read_rgb(Path(image))
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise UserError(f"an image array of {pixels.dtype}; expected uint8, 0..255{_mend(pixels)}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if 0 in pixels.shape or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise UserError(
            f"an image array of shape {list(pixels.shape)}; expected [height, width], or [height, "
            "width, channels] with 1, 3 or 4 channels; several images come as a list, or as [n, height, "
            "width, channels]"
        )
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error) from None


def _fitted(picture: Image.Image, size: tuple[int, int], how: Resize) -> Fitted:
    return np.asarray(resize_image(picture, size, how)), (picture.height, picture.width)


def _mend(pixels: np.ndarray) -> str:
    if pixels.dtype == np.uint16:
        return "; of 16 bits, segpipe reads the upper 8: (image >> 8).astype('uint8')"
    if pixels.dtype.kind == "f":
        return "; where its values are 0..1: (255 * image).round().astype('uint8')"
    return "; `image.astype('uint8')` where its values are"
