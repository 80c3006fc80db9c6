"""Decoding images and masks: content decides the format, not the file name."""

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from segpipe.common.codec import encode_png
from segpipe.fetch.sample import BadSampleError, Mask, Picture

# Set for the whole process: filters set around each call are not safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_KEPT_FORMATS = {("JPEG", "RGB"), ("MPO", "RGB"), ("PNG", "RGB")}
"""Formats whose bytes are kept, since every decoder gives the same RGB pixels."""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""Formats that Pillow may try. It knows many more, and runs other programs for some of them."""

_Turn = Image.Transpose
_TURNS = {
    2: _Turn.FLIP_LEFT_RIGHT, 3: _Turn.ROTATE_180, 4: _Turn.FLIP_TOP_BOTTOM, 5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270, 7: _Turn.TRANSVERSE, 8: _Turn.ROTATE_90,
}  # fmt: skip
"""The transposition that makes a picture upright, by EXIF orientation."""

_READABLE = "a whole image (JPEG, PNG, GIF, BMP or WebP)"
_OR_COLOURS = "; for masks in colours, `segpipe init-data` lists these as '#rrggbb' for data.classes"


class InColoursError(BadSampleError):
    """A mask in colours, where one channel of class values was expected."""


def decode_pair(
    image: Picture,
    mask: Mask,
    image_file: str,
    mask_file: str,
    by_colour: bool = False,
    upright: bool | None = None,
) -> tuple[Image.Image, np.ndarray, bytes]:
    """Decode an image and its mask, upright and of equal size.

    The image loses its alpha; grey and palettes become RGB. The mask has one channel, whose values are
    palette indices, or grey levels in a GIF; with `by_colour`, the mask is any picture, and its values
    are RGB colours. `upright` says which view it was drawn on (see `Sample`); None: by its size. Errors
    call the two `image_file` and `mask_file`.

    Returns:
        The RGB image; the mask's values as uint8 [height, width], or its colours as uint8
        [height, width, 3]; and the encoded image: the given bytes of an upright RGB JPEG or PNG, else a
        PNG of the same pixels.

    Raises:
        BadSampleError: a file cannot be read, or the two do not belong together.
    """
    assert isinstance(image, bytes), "bands in several files come with `fetch/pictures.py`"
    picture = _open(image, image_file)
    drawing = _open(mask, mask_file) if isinstance(mask, bytes) else Image.fromarray(mask)
    _refuse_alpha(drawing, mask_file)
    turn, mask_turn = _orientation(picture), _orientation(drawing)
    if mask_turn not in (turn, 1):
        expected = f"none, or the image's, {turn} ({image_file})"
        raise BadSampleError(mask_file, f"EXIF orientation {mask_turn}", expected)
    if not upright and (upright is False or drawing.size == picture.size):
        mask_turn = turn  # drawn on the stored pixels
    rgb = _upright(_rgb(picture), turn)
    found = np.asarray(_rgb(drawing)) if by_colour else _mask_values(drawing, mask_file)
    values = np.asarray(_upright(Image.fromarray(found), mask_turn))
    if rgb.size != values.shape[1::-1]:
        expected = f"the image's size, {rgb.width}x{rgb.height} ({image_file})"
        raise BadSampleError(mask_file, f"size {values.shape[1]}x{values.shape[0]}", expected)
    return rgb, values, image if is_kept(picture) else encode_png(rgb)


def open_lazily(data: bytes) -> Image.Image:
    """Read only an image's header: its format, mode and size. Raises Pillow's errors."""
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def decode_image(image: bytes, file: str) -> Image.Image:
    """Decode an image to the RGB pixels of `decode_pair`. Raises BadSampleError, which names `file`."""
    return upright_rgb(_open(image, file))


def open_one(data: bytes, file: str) -> Image.Image:
    """Open a single picture, reading only its header.

    Raises BadSampleError where it is empty or an animation, and Pillow's errors (see `readable`).
    """
    if not data:
        raise BadSampleError(file, "an empty file", _READABLE)
    picture = open_lazily(data)
    # Phones store more pictures behind the first of a JPEG, which is the photograph.
    if picture.format != "MPO" and (frames := getattr(picture, "n_frames", 1)) > 1:
        raise BadSampleError(file, f"an animation of {frames} frames", "one picture")
    return picture


@contextlib.contextmanager
def readable(file: str) -> Iterator[None]:
    """Turn Pillow's errors into a BadSampleError that names the file."""
    try:
        yield
    except Image.DecompressionBombError as error:
        pixels, limit = re.findall(r"\d+", str(error))
        expected = f"{limit} at most; cut it into parts"
        raise BadSampleError(file, f"a picture of {pixels} pixels", expected) from None
    except UnidentifiedImageError:
        raise BadSampleError(file, "no image format that Pillow reads", _READABLE) from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise BadSampleError(file, f"an unreadable image ({error})", _READABLE) from None


def is_kept(picture: Image.Image) -> bool:
    """Return whether `decode_pair` returns an image's own bytes."""
    return (picture.format, picture.mode) in _KEPT_FORMATS and _orientation(picture) == 1


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture in 8-bit RGB, turned by its EXIF orientation, without alpha."""
    return _upright(_rgb(picture), _orientation(picture))


def _open(data: bytes, file: str) -> Image.Image:
    with readable(file):
        picture = open_one(data, file)
        picture.load()
    return picture


def _rgb(picture: Image.Image) -> Image.Image:
    """Return the picture in 8-bit RGB without alpha; 16-bit grey keeps its upper 8 bits."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _refuse_alpha(drawing: Image.Image, file: str) -> None:
    """Raise BadSampleError for a mask of one colour whose shapes are in the alpha channel."""
    if drawing.mode in ("LA", "RGBA"):
        bands: Any = drawing.getextrema()  # low and high of each
        *colours, alpha = bands
        if alpha[0] < alpha[1] and all(low == high for low, high in colours):
            found = "one colour all over, and shapes in its alpha channel alone"
            raise BadSampleError(file, found, "values; save the alpha channel as a grey PNG")


def _mask_values(drawing: Image.Image, file: str) -> np.ndarray:
    """Return the file values of a mask: uint8 [height, width]."""
    found, expected = f"a colour picture (mode {drawing.mode})", "one channel of class values"
    if drawing.format == "GIF" and drawing.mode != "L":
        # Writers renumber a GIF's palette, so that indices mean nothing: its grey levels count.
        drawing = drawing.convert("RGB")
        found, expected = "a GIF in colours", "grey levels that are class values, or a PNG"
    values = np.asarray(drawing)
    if values.ndim == 3:
        # Grey stored as RGB is common, and WebP has nothing else; alpha holds no class.
        colours = values[..., :3] if drawing.mode in ("RGB", "RGBA") else values[..., :1]
        if drawing.mode == "CMYK" or (colours != colours[..., :1]).any():
            raise InColoursError(file, found, expected + _OR_COLOURS)
        values = colours[..., 0]
    if values.max() > 255:
        found = f"values from {values.min()} to {values.max()}"
        raise BadSampleError(file, found, "class values 0 to 255")
    return values.astype(np.uint8)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) where there is none or it cannot be read."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)
