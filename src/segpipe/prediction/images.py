"""What Python callers hand over as an image: paths, Pillow images, arrays."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segpipe.data.integrity import BadSampleError, decode_image, upright_rgb
from segpipe.errors import UserError


def as_rgb(image: Any) -> Image.Image:
    """One image in 8-bit RGB, its pixels those that training saw.

    Args:
        image: a path, a Pillow image, or a uint8 array (or what NumPy turns into one) of shape [height,
            width], [height, width, 1], [height, width, 3] or [height, width, 4]. Alpha is dropped.

    Raises:
        UserError: it is none of these.
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


def read_rgb(path: Path) -> Image.Image:
    """Read an image file as training does.

    Raises:
        UserError: the file cannot be read, or holds no whole image.
    """
    try:
        return decode_image(path.read_bytes(), str(path))
    except BadSampleError as error:
        raise UserError(str(error.problem)) from None
    except OSError as error:
        raise UserError(f"{path}: unreadable ({error.strerror or error})") from None


def _mend(pixels: np.ndarray) -> str:
    if pixels.dtype == np.uint16:
        return "; of 16 bits, segpipe reads the upper 8: (image >> 8).astype('uint8')"
    if pixels.dtype.kind == "f":
        return "; where its values are 0..1: (255 * image).round().astype('uint8')"
    return "; `image.astype('uint8')` where its values are"
