"""Decoding images and masks: content decides the format, not the file name."""

import io

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from segpipe.data.codec import encode_png
from segpipe.data.sample import Problem

_KEPT_FORMATS = {("JPEG", "RGB"), ("PNG", "RGB")}
"""What every later reader decodes to the same RGB pixels: these bytes are kept as they are."""

_READABLE = "a whole image (JPEG, PNG, GIF, BMP or WebP)"


class BadSampleError(Exception):
    """A sample that cannot be used; carries the `Problem`."""

    def __init__(self, file: str, found: str, expected: str) -> None:
        super().__init__(file, found, expected)
        self.problem = Problem(file, found, expected)


def decode_pair(
    image: bytes, mask: bytes, image_file: str, mask_file: str
) -> tuple[Image.Image, np.ndarray, bytes]:
    """Decode an image and its mask, upright and of equal size.

    Args:
        image: an encoded image; alpha is dropped, grey and palettes become RGB.
        mask: an encoded mask of one channel (palette indices count as values).
        image_file: how errors call the image.
        mask_file: how errors call the mask.

    Returns:
        The RGB image, the mask's file values as uint8 [height, width], and the encoded image: the
        given bytes where they are an upright RGB JPEG or PNG, else a PNG of the same pixels.

    Raises:
        BadSampleError: a file cannot be read, or the two do not belong together.
    """
    picture = _open(image, image_file)
    drawing = _open(mask, mask_file)
    if picture.size != drawing.size:
        raise BadSampleError(
            mask_file,
            f"size {_size(drawing)}",
            f"the image's size, {_size(picture)} ({image_file})",
        )
    turn = _orientation(picture)
    if _orientation(drawing) not in (turn, 1):
        raise BadSampleError(
            mask_file,
            f"EXIF orientation {_orientation(drawing)}",
            f"none, or the image's, {turn} ({image_file})",
        )
    values = _mask_values(drawing, mask_file)
    kept = (picture.format, picture.mode) in _KEPT_FORMATS and turn == 1
    rgb = _upright(picture.convert("RGB"), turn)
    values = np.asarray(_upright(Image.fromarray(values), turn))
    return rgb, values, image if kept else encode_png(rgb)


def _open(data: bytes, file: str) -> Image.Image:
    if not data:
        raise BadSampleError(file, "an empty file", _READABLE)
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError:
        raise BadSampleError(file, "no image format that Pillow reads", _READABLE) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadSampleError(file, f"an unreadable image ({error})", _READABLE) from None
    return picture


def _mask_values(drawing: Image.Image, file: str) -> np.ndarray:
    values = np.asarray(drawing)
    if values.ndim == 3:
        # Grey stored as RGB is common (WebP knows nothing else); an alpha channel says nothing.
        colours = values[..., :3] if drawing.mode in ("RGB", "RGBA") else values[..., :1]
        if (colours != colours[..., :1]).any():
            raise BadSampleError(
                file, f"a colour picture (mode {drawing.mode})", "one channel of class values"
            )
        values = colours[..., 0]
    if values.dtype != np.uint8 and values.min() >= 0 and values.max() <= 255:
        values = values.astype(np.uint8)
    if values.dtype != np.uint8:
        raise BadSampleError(
            file, f"values from {values.min()} to {values.max()}", "class values 0 to 255"
        )
    return values


def _orientation(picture: Image.Image) -> int:
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(picture)


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"
