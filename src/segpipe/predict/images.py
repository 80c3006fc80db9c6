"""Images to predict: files as training sees them, and what Python callers hand over."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.records import Resize
from segpipe.fetch.integrity import (
    decode_image,
    is_kept,
    open_one,
    readable,
    upright_rgb,
)
from segpipe.fetch.sample import BadSampleError, unreadable
from segpipe.preprocess.resize import resize_image, resize_unread

Fitted = tuple[np.ndarray, tuple[int, int]]
"""An image as the network sees it, uint8 [*size, 3], and the image's own height and width."""


def read_rgb(path: Path) -> Image.Image:
    """Read an image file as training does, upright and in 8-bit RGB.

    Raises:
        BadSampleError: the file holds no whole image.
        OSError: it cannot be read.
    """
    return decode_image(path.read_bytes(), str(path))


def read_fitted(path: Path, size: tuple[int, int], how: Resize) -> Fitted:
    """Read an image file to the very pixels that its record would hold.

    Args:
        path: the file.
        size: height and width of the network's input.
        how: how a picture gets there.

    Raises:
        BadSampleError: the file holds no whole image.
        OSError: it cannot be read.
    """
    data, file = path.read_bytes(), str(path)
    with readable(file):
        picture = open_one(data, file)
        if is_kept(picture):  # else its record comes from a PNG of the whole
            original = (picture.height, picture.width)
            return np.asarray(resize_unread(picture, size, how)), original
    return _fitted(decode_image(data, file), size, how)


def fitted(image: Any, size: tuple[int, int], how: Resize) -> Fitted:
    """One image, as `as_rgb` takes it, as the network sees it.

    Raises:
        UserError: as `as_rgb` does.
    """
    if isinstance(image, str | os.PathLike):
        with _in_one_line(image):
            return read_fitted(Path(image), size, how)
    return _fitted(as_rgb(image), size, how)


def as_rgb(image: Any) -> Image.Image:
    """One image in 8-bit RGB.

    Args:
        image: a path, a Pillow image, or a uint8 array (or what NumPy turns into one) of shape [height,
            width], [height, width, 1], [height, width, 3] or [height, width, 4]. Alpha is dropped.

    Raises:
        UserError: it is none of these, or a file that cannot be read or holds no whole image.
    """
    if isinstance(image, str | os.PathLike):
        with _in_one_line(image):
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


def _fitted(picture: Image.Image, size: tuple[int, int], how: Resize) -> Fitted:
    return np.asarray(resize_image(picture, size, how)), (picture.height, picture.width)


@contextlib.contextmanager
def _in_one_line(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say to a caller what is wrong with a file."""
    try:
        yield
    except BadSampleError as error:
        raise UserError(str(error.problem)) from None
    except OSError as error:
        raise UserError(str(unreadable(os.fspath(path), error))) from None


def _mend(pixels: np.ndarray) -> str:
    if pixels.dtype == np.uint16:
        return "; of 16 bits, segpipe reads the upper 8: (image >> 8).astype('uint8')"
    if pixels.dtype.kind == "f":
        return "; where its values are 0..1: (255 * image).round().astype('uint8')"
    return "; `image.astype('uint8')` where its values are"
