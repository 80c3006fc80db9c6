"""Shared by the layouts of shapes: a mask is drawn from labels where the sample is read.

A label is the class of the same name, and its pixels get that class's `value`. Uncovered pixels are 0,
and pixels to ignore are 255; the class table says what these values mean, as for any mask file. Names of
classes hold only letters, digits, `-` and `_`; any other letter of a label counts as `_`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from PIL import Image

from segpipe.common.classes import ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.fetch.integrity import open_lazily
from segpipe.fetch.layouts.matching import relative
from segpipe.fetch.naming import class_name
from segpipe.fetch.sample import BadSampleError, Problem, Sample, Samples, Split

UNCOVERED, IGNORED = 0, 255  # mask values of pixels that no shape covers, and of pixels to ignore

BACKGROUND_LABEL, IGNORE_LABEL = "_background_", "__ignore__"
"""Labelme's own labels for the two; COCO's crowd regions get the second."""


def label_values(table: ClassTable) -> dict[str, int]:
    """Return the mask value of each label. Raises UserError where the table's values are colours."""
    if table.by_colour:
        raise UserError(
            "data.classes: the values are colours, but this layout draws masks of numbers from labels; "
            "give each class a value 0 to 254"
        )
    classes = {c.name: int(c.value) for c in table.classes}
    return {BACKGROUND_LABEL: UNCOVERED, **classes, IGNORE_LABEL: IGNORED}


def encode_labels(
    drawing: np.ndarray, labels: Sequence[str], values: Mapping[str, int], file: str
) -> bytes:
    """Encode a drawing of shapes as a mask.

    `drawing` holds integers [height, width]: 0 is uncovered, n is the n-th shape, which has the n-th
    label. `values` maps names of classes to mask values. Raises BadSampleError, which names `file`,
    where a label is no class.
    """
    unknown = Counter[str]()
    counts = np.bincount(drawing.ravel(), minlength=len(labels) + 1)
    for label, count in zip(labels, counts[1:].tolist(), strict=True):
        if class_name(label) not in values:
            unknown[label] += count
    if unknown:
        names = ", ".join(map(repr, unknown)) + did_you_mean(class_name(next(iter(unknown))), values)
        expected = f"one of {', '.join(values)} (data.classes)"
        raise BadSampleError(
            file, f"labels that are no class: {names}", expected, unknown=unknown, area=drawing.size
        )
    lookup = np.array([UNCOVERED, *(values[class_name(label)] for label in labels)], np.uint8)
    return encode_png(lookup[drawing])


def canvas_size(
    image: bytes, height: int | None, width: int | None, file: str
) -> tuple[int, int] | None:
    """Return the height and width to draw at: as annotated, else those of the image as stored.

    The annotated size may also be that of the image turned by EXIF; any other raises BadSampleError.
    Return None for an image that cannot be read: decoding it reports that.
    """
    try:
        stored = open_lazily(image).size[::-1]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if not height or not width:
        return stored
    if (height, width) not in (stored, stored[::-1]):
        expected = f"the image's size, {stored[1]}x{stored[0]}"
        raise BadSampleError(file, f"drawn on a picture of {width}x{height}", expected)
    return height, width


def in_order(root: Path, found: Iterable[tuple[Split, str, Any]]) -> Samples:
    """Yield samples by split, test first, and name.

    Each of `found` is a split, a name, and a problem or content. Content has a resolved path `image`,
    which messages show relative to `root`, and the name `file` of its annotations.
    """
    for split, name, item in sorted(found, key=lambda one: one[:2]):
        if isinstance(item, Problem):
            yield item
            continue
        inside = item.image.is_relative_to(root.resolve())
        image = relative(root.resolve(), item.image) if inside else item.image.name
        yield Sample(name, split, image, item.file, item)


def head(file: Path) -> bytes:
    """Return enough of a JSON file to tell its format; a whole file may be long, with images inside."""
    with file.open("rb") as opened:
        return opened.read(1 << 16)


def first_error(error: pydantic.ValidationError) -> str:
    """Return the first error in a JSON file, with its place, in a few words."""
    first: Any = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
