"""A picture and its mask, decoded together: upright, and of equal size."""

from typing import Any

import numpy as np
from PIL import Image

from segpipe.common.bands import Bands
from segpipe.common.words import width_by_height
from segpipe.fetch.pictures import Decoded, decode_picture, in_rgb, turned
from segpipe.fetch.pillow import SWAPPING, open_whole, orientation_of
from segpipe.fetch.sample import BadSampleError, Mask, Picture
from segpipe.fetch.stored import Stored, format_of, open_stored, readable

_ONE_CHANNEL = "one channel of class values"
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
    bands: Bands = "rgb",
) -> tuple[Decoded, np.ndarray]:
    """Decode an image and its mask, upright and of equal size.

    The image is decoded as by `decode_picture`. The mask has one channel, whose values are palette
    indices, or grey levels in a GIF; with `by_colour`, the mask is any picture, and its values are RGB
    colours. `upright` says which view it was drawn on (see `Sample`); None: by its size. Errors name
    `image_file` and `mask_file`.

    Returns:
        The image; and the mask's values as uint8 [height, width], or its colours as uint8
        [height, width, 3].

    Raises:
        BadSampleError: a file cannot be read, or the two do not belong together.
    """
    picture = decode_picture(image, image_file, bands)
    values, mask_turn = (
        (mask, 1) if isinstance(mask, np.ndarray) else mask_pixels(mask, mask_file, by_colour)
    )
    size = values.shape[0], values.shape[1]
    turn = turn_of_mask(
        size, mask_turn, picture.stored_size, picture.orientation, image_file, mask_file, upright
    )
    return picture, turned(values, turn)


def turn_of_mask(
    size: tuple[int, int],
    mask_turn: int,
    image_size: tuple[int, int],
    image_turn: int,
    image_file: str,
    mask_file: str,
    upright: bool | None,
) -> int:
    """Return the EXIF orientation by which a mask becomes upright, as its image does.

    Sizes are height and width as the files store them, turns the EXIF orientations that they give; see
    `decode_pair` for the rest. Raises BadSampleError where the two do not belong together.
    """
    if mask_turn not in (image_turn, 1):
        expected = f"none, or the image's, {image_turn} ({image_file})"
        raise BadSampleError(mask_file, f"EXIF orientation {mask_turn}", expected)
    if not upright and (upright is False or size == image_size):
        mask_turn = image_turn  # drawn on the stored pixels
    found, expected_size = _upright(size, mask_turn), _upright(image_size, image_turn)
    if found != expected_size:
        expected = f"the image's size, {width_by_height(expected_size)} ({image_file})"
        raise BadSampleError(mask_file, f"size {width_by_height(found)}", expected)
    return mask_turn


def _upright(size: tuple[int, int], turn: int) -> tuple[int, int]:
    return size[::-1] if turn in SWAPPING else size


def mask_pixels(mask: bytes, file: str, by_colour: bool) -> tuple[np.ndarray, int]:
    """Return the values or colours that a mask's file holds, as stored, and its EXIF orientation.

    Raises BadSampleError, which names `file`, where it holds none.
    """
    if format_of(mask):
        stored = open_stored(mask, file)
        with readable(file):
            values = _colours(stored, file) if by_colour else _stored_values(stored, file)
        return values, stored.orientation
    drawing = open_whole(mask, file)
    refuse_alpha(drawing, file)
    values = np.asarray(drawing.convert("RGB")) if by_colour else _mask_values(drawing, file)
    return values, orientation_of(drawing)


def refuse_alpha(drawing: Image.Image, file: str) -> None:
    """Raise BadSampleError for a mask of one colour whose shapes are in the alpha channel."""
    if drawing.mode in ("LA", "RGBA"):
        bands: Any = drawing.getextrema()  # low and high of each
        *colours, alpha = bands
        if alpha[0] < alpha[1] and all(low == high for low, high in colours):
            found = "one colour all over, and shapes in its alpha channel alone"
            raise BadSampleError(file, found, "values; save the alpha channel as a grey PNG")


def _colours(stored: Stored, file: str) -> np.ndarray:
    colours = in_rgb(stored, file)
    if colours.dtype == np.uint16 and not 0 < colours.max() < 256:
        colours = (colours >> 8).astype(np.uint8)
    if colours.dtype != np.uint8:
        raise BadSampleError(file, f"colours of {colours.dtype}", "colours of 8 bits")
    return np.broadcast_to(colours, (*stored.size, 3))


def _stored_values(stored: Stored, file: str) -> np.ndarray:
    """Return the file values of a mask that Pillow does not read: uint8 [height, width]."""
    samples = stored.decode()
    samples = samples[..., :3] if stored.colours == "rgb" else samples[..., :1]
    if odd := int(np.count_nonzero(~np.isfinite(samples).all(axis=-1))):
        found, mend = f"{odd} pixels that are NaN or infinite", "such as 255 for pixels without a class"
        raise BadSampleError(file, found, f"class values 0 to 255, {mend}")
    if stored.colours in ("cmyk", "other") or (samples != samples[..., :1]).any():
        found = f"a picture of {stored.bands} bands ({stored.colours})"
        raise InColoursError(file, found, _ONE_CHANNEL + _OR_COLOURS)
    return _checked(samples[..., 0], file)


def _mask_values(drawing: Image.Image, file: str) -> np.ndarray:
    """Return the file values of a mask: uint8 [height, width]."""
    found, expected = f"a colour picture (mode {drawing.mode})", _ONE_CHANNEL
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
    return _checked(values, file)


def _checked(values: np.ndarray, file: str) -> np.ndarray:
    """Return values as uint8; they may be of any type, as long as they are whole numbers to 255."""
    if values.dtype == bool:
        return values.astype(np.uint8)
    whole = values.dtype.kind in "iu" or np.array_equal(values, np.rint(values))
    if not whole or values.min() < 0 or values.max() > 255:
        found = f"values from {values.min()} to {values.max()}"
        raise BadSampleError(file, found, "class values 0 to 255, in whole numbers")
    return values.astype(np.uint8)
