"""Shared by the layouts of shapes: a mask is drawn from labels where the sample is read.

A label is the class of the same name, or the class that lists it among its values. Pixels that no shape
covers are the class of value 0, else the background, else the rest. Names of classes hold only letters,
digits, `-` and `_`; any other letter of a label counts as `_`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segpipe.common.classes import BACKGROUND, IGNORE, ClassTable, class_name
from segpipe.common.words import did_you_mean, width_by_height
from segpipe.fetch.layouts.matching import relative
from segpipe.fetch.pictures import stored_size
from segpipe.fetch.pillow import SWAPPING
from segpipe.fetch.sample import BadSampleError, Picture, Problem, Sample, Samples, Split

IGNORE_LABEL = "__ignore__"
"""Labelme's own label for pixels to ignore; COCO's crowd regions get it too."""

UNCOVERED, IGNORED = 0, 255
"""The values that `init-data` proposes for pixels that no shape covers, and for those to ignore."""

_FARTHEST = 1e7  # pixels from the picture: no annotation tool draws there
_LONGEST = 5e6  # pixels of an outline: drawing takes time and memory for each


def outline(points: Any, size: tuple[int, int]) -> np.ndarray:
    """Check a polygon, and clip it to the neighbourhood of a picture of `size`, height and width.

    `points` are pairs of x and y. Returns float64 [n, 2]; points of a polygon that stays close to the
    picture are returned as they are. Raises ValueError where they are no finite pairs, or absurdly far,
    or where the outline is absurdly long.
    """
    found = near(points)
    for axis, length in ((0, size[1]), (1, size[0])):
        for sign, limit in ((-1, length), (1, 2 * length)):  # one length to each side is kept
            if len(found) and (sign * found[:, axis]).max() > limit:
                found = _clipped(found, axis, sign, limit)
    around = np.abs(found - found[np.arange(len(found)) - 1]).sum()
    if around > _LONGEST:
        raise ValueError(f"an outline of {around:.3g} pixels, with {_LONGEST:.0g} at most")
    return found


def refuse_parts(outlines: Sequence[np.ndarray], file: str) -> None:
    """Raise BadSampleError where all coordinates of a picture are parts of its width and height.

    An outline of whole numbers, or of a single place, may be that of the pixel in the corner.
    """
    inside = all(0 <= found.min(initial=0) <= found.max(initial=0) <= 1 for found in outlines)
    if inside and any((found % 1).any() and np.ptp(found, 0).any() for found in outlines):
        raise BadSampleError(
            file, "coordinates from 0 to 1 alone, as parts of width and height", "pixels"
        )


def outside(boxes: np.ndarray, height: int | None, width: int | None) -> int:
    """Count the boxes [n, 4] of left, top, right and bottom that lie wholly outside of a picture."""
    if not height or not width:
        return 0
    left, top, right, bottom = boxes.T
    return int(((left >= width) | (top >= height) | (right <= 0) | (bottom <= 0)).sum())


def near(points: Any) -> np.ndarray:
    """Return points as float64 [n, 2]. Raises ValueError where they are no pairs, or absurdly far."""
    try:
        found = np.array(points, np.float64)
    except (TypeError, ValueError, OverflowError):  # a number of 400 digits
        raise ValueError("a coordinate that is no number") from None
    if found.size % 2:
        raise ValueError("an odd number of coordinates")
    if not np.isfinite(found).all():
        raise ValueError("a coordinate that is no number")
    if np.abs(found).max(initial=0) > _FARTHEST:
        raise ValueError(f"a coordinate of {np.abs(found).max():.3g}")
    return found.reshape(-1, 2)


def _clipped(points: np.ndarray, axis: int, sign: int, limit: float) -> np.ndarray:
    """Cut a polygon where `sign * coordinate` passes a limit (Sutherland and Hodgman, 1974)."""
    before = np.roll(points, 1, axis=0)
    beyond, beyond_before = sign * points[:, axis] > limit, sign * before[:, axis] > limit
    crosses = beyond != beyond_before
    step = np.where(crosses[:, None], points - before, 1)
    crossing = before + step * ((sign * limit - before[:, axis]) / step[:, axis])[:, None]
    kept = np.stack([crosses, ~beyond], axis=1)
    return np.stack([crossing, points], axis=1)[kept]


def fill(canvas: Image.Image, points: Any, number: int) -> None:
    """Draw a polygon and its outline into a picture of integers; one or two points cover nothing.

    Raises ValueError as `outline` does.
    """
    corners = outline(points, (canvas.height, canvas.width))
    if len(corners) >= 3:
        ImageDraw.Draw(canvas).polygon([*map(tuple, corners.tolist())], fill=number, outline=number)


def ids_fit(ids: Collection[int]) -> bool:
    """Return whether a mask can hold the ids of all labels: each its own number, 1 to 254."""
    return len({*ids}) == len(ids) and all(UNCOVERED < number < IGNORED for number in ids)


def indices(drawing: np.ndarray, labels: Sequence[str], table: ClassTable, file: str) -> np.ndarray:
    """Return a drawing of shapes as class indices, uint8 [height, width]; 255 is ignored.

    `drawing` holds integers [height, width]: 0 is uncovered, n is the n-th shape, which has the n-th
    label. Raises BadSampleError, which names `file`, where a label is no class.
    """
    of_label = [_index(label, table) for label in labels]
    counts = np.bincount(drawing.ravel(), minlength=len(labels) + 1)
    unknown = Counter[str]()
    for label, index, count in zip(labels, of_label, counts[1:].tolist(), strict=True):
        if index is None:
            unknown[label] += count
    if unknown:
        names = ", ".join(map(repr, unknown))
        hint = did_you_mean(class_name(next(iter(unknown))), table.names)
        expected = f"one of {table.describe()} (data.classes)"
        found = f"labels that are no class: {names}{hint}"
        raise BadSampleError(file, found, expected, unknown=unknown, area=drawing.size)
    uncovered = table.uncovered
    if uncovered is None and counts[0]:
        expected = "a class of value 0, background or rest for them (data.classes)"
        raise BadSampleError(file, f"{counts[0]} pixels that no shape covers", expected)
    lookup = np.array([IGNORE if uncovered is None else uncovered, *of_label], np.uint8)
    return lookup[drawing]


def _index(label: str, table: ClassTable) -> int | None:
    if label == IGNORE_LABEL:
        return IGNORE
    return table.uncovered if label in BACKGROUND[1:] else table.index_of(label)


def canvas_size(
    image: Picture, height: int | None, width: int | None, file: str, upright: bool = False
) -> tuple[int, int] | None:
    """Return the height and width to draw at: as annotated, else those of the image as stored.

    With `upright` they are those of the image as EXIF turns it; without, the annotated size may be
    either. Any other raises BadSampleError. Return None for an image that cannot be read: decoding it
    reports that.
    """
    try:
        stored, turn = stored_size(image, file)
    except BadSampleError:
        return None
    if upright and turn in SWAPPING:
        stored = stored[::-1]
    if not height or not width:
        return stored
    if (height, width) not in (stored, stored if upright else stored[::-1]):
        expected = f"the image's size, {width_by_height(stored)}"
        raise BadSampleError(file, f"drawn on a picture of {width_by_height((height, width))}", expected)
    return height, width


def drawn(
    root: Path, found: Iterable[tuple[Split | None, str, Any]], upright: bool | None = None
) -> Samples:
    """Yield samples whose masks were drawn on the view that `upright` says (see `Sample`).

    Each of `found` is a split, a name, and a problem or content. Content has a resolved path `image`,
    which messages show relative to `root`, and the name `file` of its annotations.
    """
    root = root.resolve()
    for split, name, item in found:
        if isinstance(item, Problem):
            yield item
            continue
        image = relative(root, item.image) if item.image.is_relative_to(root) else item.image.name
        yield Sample(name, split, image, item.file, item, upright=upright)
