"""What the layouts with polygons share: labels become mask values where the sample is read.

A label is the class of the same name, and its pixels get that class's `value`. What no shape covers is
0, and what is to be ignored is 255: the table says what they are, as it does for the values of any mask
file. Names of classes hold letters, digits, `-` and `_` alone; any other letter of a label counts as
`_`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pydantic
from PIL import Image

from segpipe.common.classes import ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.fetch.integrity import open_lazily
from segpipe.fetch.naming import class_name
from segpipe.fetch.sample import BadSampleError

UNCOVERED, IGNORED = 0, 255
"""Mask values of what no shape covers, and of what is to be ignored."""


def label_values(table: ClassTable) -> dict[str, int]:
    """The mask value of each label.

    Raises:
        UserError: the table's values are colours.
    """
    if table.by_colour:
        raise UserError(
            "data.classes: the values are colours, but this layout draws masks of numbers from labels; "
            "give each class a value 0 to 254"
        )
    background = {"_background_": UNCOVERED}  # Labelme's own words
    return background | {c.name: int(c.value) for c in table.classes} | {"__ignore__": IGNORED}


def encode_labels(
    drawing: np.ndarray, labels: Sequence[str], values: Mapping[str, int], file: str
) -> bytes:
    """Encode a drawing of label numbers as a mask.

    Args:
        drawing: integers [height, width]; 0 is uncovered, n is the n-th label.
        labels: as the file has them.
        values: mask value by class name.
        file: how errors call the file with the labels.

    Raises:
        BadSampleError: a label is no class.
    """
    unknown = [n for n, label in enumerate(labels, 1) if class_name(label) not in values]
    if unknown:
        counts = np.bincount(drawing.ravel(), minlength=len(labels) + 1)
        missing = {labels[n - 1]: int(counts[n]) for n in unknown}
        names = ", ".join(map(repr, missing)) + did_you_mean(class_name(labels[unknown[0] - 1]), values)
        raise BadSampleError(
            file, f"labels that are no class: {names}", f"one of {', '.join(values)} (data.classes)",
            unknown=missing, area=drawing.size,
        )  # fmt: skip
    lookup = np.array([UNCOVERED, *(values[class_name(label)] for label in labels)], np.uint8)
    return encode_png(lookup[drawing])


def size_of(image: bytes) -> tuple[int, int] | None:
    """Height and width of an encoded image, as stored; None where it cannot be read."""
    try:
        picture = open_lazily(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return picture.height, picture.width


def canvas_size(
    image: bytes, height: int | None, width: int | None, file: str
) -> tuple[int, int] | None:
    """The size to draw at: the annotated one, which is the image's as stored or as turned by EXIF.

    None where the image cannot be read, which is for its own check to report.

    Raises:
        BadSampleError: the annotations are of a picture of another size.
    """
    stored = size_of(image)
    if not stored or not height or not width:
        return stored
    if (height, width) not in (stored, stored[::-1]):
        raise BadSampleError(
            file, f"drawn on a picture of {width}x{height}", f"the image's size, {stored[1]}x{stored[0]}"
        )
    return height, width


def first_error(error: pydantic.ValidationError) -> str:
    """What is wrong with a JSON file, and where, in a few words."""
    first: Any = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
