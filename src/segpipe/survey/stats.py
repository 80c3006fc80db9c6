"""Statistics of one sample: sizes, and how often each value or colour is in its mask."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segpipe.fetch.integrity import InColoursError, decode_pair
from segpipe.fetch.pictures import Decoded
from segpipe.fetch.pillow import open_lazily
from segpipe.fetch.sample import BadSampleError, Mask, Picture, Problem, Sample, unreadable
from segpipe.fetch.stored import format_of, open_stored

MANY = 1024  # masks of more colours get no class table, so these are not counted

Counts = dict[int | str, int]  # pixels by number, or by colour as `#rrggbb`

_MODES = {"1": "1 bit", "L": "grey", "LA": "grey", "P": "palette", "RGBA": "RGB", "I;16": "16 bits",
          "I": "16 bits"}  # fmt: skip


@dataclass(frozen=True)
class SampleStats:
    """The statistics of one sample."""

    size: tuple[int, int]  # height and width of the image, upright
    kind: str  # format and mode of the mask's file
    numbers: Counts | None  # the mask as numbers; None where it can only be read by colour
    colours: Counts | None  # the mask as colours; None where they are too many
    palette: dict[int, str]  # the colours that the file's palette gives to the mask's numbers
    lossy: bool  # whether the mask's format changes values
    remark: str  # what is odd about the image, if anything


def sample_stats(sample: Sample) -> SampleStats | Problem:
    """Decode one sample as `fetch` does, its mask both as numbers and as colours."""
    numbers = None
    try:
        image, mask = sample.content.read()
        arguments = (image, mask, sample.image, sample.mask)
        picture, colours = decode_pair(*arguments, by_colour=True, upright=sample.upright)
        with contextlib.suppress(InColoursError):
            _, numbers = decode_pair(*arguments, upright=sample.upright)
    except OSError as error:
        return unreadable(sample.image, error).problem
    except BadSampleError as error:
        return error.problem
    kind, mode = _kind(mask)
    pixels = [] if numbers is None else enumerate(np.bincount(numbers.ravel()).tolist())
    pairs: Any = Image.fromarray(colours).getcolors(MANY)  # None for more colours
    return SampleStats(
        size=(picture.height, picture.width),
        kind=f"{kind} {_MODES.get(mode, mode)}",
        numbers=None if numbers is None else {value: count for value, count in pixels if count},
        colours=pairs and {_code(colour): count for count, colour in pairs},
        palette=_palette(numbers, colours) if mode == "P" and numbers is not None else {},
        lossy=kind == "JPEG",
        remark=_remark(image, picture),
    )


def _palette(numbers: np.ndarray, colours: np.ndarray) -> dict[int, str]:
    values, first = np.unique(numbers, return_index=True)
    rows = colours.reshape(-1, 3)[first]
    return dict(zip(values.tolist(), map(_code, rows), strict=True))


def _code(rgb: Iterable[int]) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + bytes(int(channel) for channel in rgb).hex()


def _kind(mask: Mask) -> tuple[str, str]:
    """Return the format of a mask's file, and its mode in Pillow's words."""
    if not isinstance(mask, bytes):
        return "None", "L"
    if known := format_of(mask):
        colours = open_stored(mask, "").colours
        return known, {"grey": "L", "palette": "P"}.get(colours, colours)
    drawing = open_lazily(mask)
    return str(drawing.format), drawing.mode


def _remark(image: Picture, picture: Decoded) -> str:
    if picture.depth != "uint8":
        return f"{picture.depth}: data.intensity scales them to 8 bits"
    if isinstance(image, tuple) or format_of(image):
        return ""
    stored = open_lazily(image)
    if stored.mode == "CMYK":
        return "CMYK: turned to RGB without a colour profile"
    if "A" in stored.mode or "transparency" in stored.info:
        return "an alpha channel: it is dropped"
    return ""
