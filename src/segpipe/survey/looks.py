"""What is in the files of one sample."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segpipe.fetch.integrity import InColoursError, decode_pair, open_lazily
from segpipe.fetch.sample import BadSampleError, Problem, Sample

MANY = 1024
"""Of more colours in a mask, no table can be made, and they need not be counted."""

Counts = dict[int | str, int]
"""Pixels by number, or by colour as `#rrggbb`."""


@dataclass(frozen=True)
class Look:
    """One sample, decoded."""

    size: tuple[int, int]
    """Height and width of the image, upright."""
    kind: str
    """The mask's file: format and mode."""
    numbers: Counts | None
    """The mask as numbers; None where it can only be read by colour."""
    colours: Counts | None
    """The mask as colours; None where they are too many."""
    palette: dict[int, str]
    """The colour that each number in the mask has in the file's palette."""
    lossy: bool
    """Whether the mask's format changes values."""
    remark: str
    """What is odd about the image, if anything."""


def look_at(sample: Sample) -> Look | Problem:
    """Read one sample as `fetch` does, its mask both ways."""
    try:
        image, mask = sample.content.read()
        picture, colours, _ = decode_pair(image, mask, sample.image, sample.mask, by_colour=True)
        numbers = _numbers(image, mask, sample)
    except OSError as error:
        return Problem(sample.image, f"unreadable ({error.strerror or error})", "a readable file")
    except BadSampleError as error:
        return error.problem
    drawing = open_lazily(mask)
    return Look(
        size=(picture.height, picture.width),
        kind=f"{drawing.format} {_MODES.get(drawing.mode, drawing.mode)}",
        numbers=None if numbers is None else _counts(numbers),
        colours=_colour_counts(colours),
        palette=_palette(numbers, colours) if drawing.mode == "P" and numbers is not None else {},
        lossy=drawing.format == "JPEG",
        remark=_remark(open_lazily(image), picture),
    )


_MODES = {"1": "1 bit", "L": "grey", "LA": "grey", "P": "palette", "RGBA": "RGB", "I;16": "16 bits",
          "I": "16 bits"}  # fmt: skip


def _numbers(image: bytes, mask: bytes, sample: Sample) -> np.ndarray | None:
    try:
        return decode_pair(image, mask, sample.image, sample.mask)[1]
    except InColoursError:
        return None


def _counts(values: np.ndarray) -> Counts:
    counts = np.bincount(values.ravel(), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _colour_counts(colours: np.ndarray) -> Counts | None:
    found: Any = Image.fromarray(colours).getcolors(MANY)  # (count, colour) pairs, None above MANY
    return found and {_code(colour): count for count, colour in found}


def _palette(numbers: np.ndarray, colours: np.ndarray) -> dict[int, str]:
    values, first = np.unique(numbers, return_index=True)
    rows = colours.reshape(-1, 3)[first]
    return {int(value): _code(row) for value, row in zip(values, rows, strict=True)}


def _code(rgb: Iterable[int]) -> str:
    """A colour as `#rrggbb`."""
    return "#" + bytes(int(channel) for channel in rgb).hex()


def _remark(stored: Image.Image, picture: Image.Image) -> str:
    if stored.mode.startswith("I"):
        dark = ", which these hardly use: scale them to the full range"
        hardly = int(np.asarray(picture).max()) < 32
        return "16 bits: the upper 8 are kept" + (dark if hardly else "")
    if stored.mode == "CMYK":
        return "CMYK: turned to RGB without a colour profile"
    if "A" in stored.mode or "transparency" in stored.info:
        return "an alpha channel: it is dropped"
    return ""
