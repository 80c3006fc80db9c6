"""COCO's objects: polygons and run lengths, drawn into the mask of one picture."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from pycocotools import mask

from segpipe.common.classes import ClassTable
from segpipe.common.fields import first_error
from segpipe.common.words import width_by_height
from segpipe.fetch.layouts import polygons
from segpipe.fetch.sample import BadSampleError, Mask

_LEAST = 6  # numbers of a polygon: three points; fewer cover nothing


class Runs(pydantic.BaseModel):
    """A mask by run lengths, plain or compressed."""

    size: tuple[int, int]
    counts: list[int] | str

    def lengths(self) -> np.ndarray:
        """Return the lengths of runs of 0 and of 1 in turn, 0 first, down the columns: int64.

        Raises ValueError where they do not fill `size`. (pycocotools 2.0.11 decodes them too, but
        returns uninitialised memory for those that end early.)
        """
        counts = unpacked(self.counts).tolist() if isinstance(self.counts, str) else self.counts
        if min(counts, default=0) < 0 or sum(counts) != self.size[0] * self.size[1]:
            raise ValueError(f"run lengths of {sum(counts)} pixels for a size of {self.size}")
        return np.array(counts, np.int64)


def unpacked(text: str | bytes) -> np.ndarray:
    """Return the lengths that COCO's compressed form holds: five bits a letter, the low ones first.

    From the fourth on, each is a difference to the last but one. Raises ValueError for other text.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes & 32 == 0)  # the letters that end a number
    if not len(last) or last[-1] + 1 < len(codes) or codes.min() < 0 or codes.max() > 63:
        raise ValueError("text that holds no run lengths")
    first = np.concatenate([[0], last[:-1] + 1])
    places = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if places.max() > 8:  # 2 ** 40 pixels are no picture
        raise ValueError("text that holds no run lengths")
    numbers = np.add.reduceat((codes & 31) << (5 * places), first)
    numbers -= (codes[last] >> 4 & 1) << (5 * (places[last] + 1))  # the highest bit is the sign
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


class Annotation(pydantic.BaseModel):
    """One object, or a region of many (`iscrowd`)."""

    id: int | str = "?"
    category_id: int | str
    segmentation: list[list[float]] | Runs | None = None
    iscrowd: int | None = 0


def is_empty(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation covers nothing: an empty object, or a slip of one or two points."""
    shape = annotation.get("segmentation")
    if isinstance(shape, list):
        parts = [part for part in shape if part != []]
        return not is_box(annotation) and all(map(_is_slip, parts))
    return shape is None and not is_box(annotation)


def _is_slip(part: Any) -> bool:
    """Return whether a polygon has too few numbers; three pairs in lists are no slip, but malformed."""
    return isinstance(part, list) and len(part) < _LEAST and not any(isinstance(n, list) for n in part)


def box_of(annotation: Mapping[str, Any]) -> tuple[float, ...]:
    """Return left, top, right and bottom of an annotation's polygons; nothing where it has none."""
    shape = annotation.get("segmentation")
    if not isinstance(shape, list):
        return ()
    try:
        axes = [[float(n) for part in shape for n in part[axis::2]] for axis in (0, 1)]
        return (*map(min, axes), *map(max, axes))
    except (TypeError, ValueError, OverflowError):  # an error where it is drawn
        return ()


def is_box(annotation: Mapping[str, Any]) -> bool:
    """Return whether an annotation has a box, and nothing that says which of its pixels are meant."""
    shape, box = annotation.get("segmentation"), annotation.get("bbox")
    if isinstance(shape, list):
        shape = [part for part in shape if part != []]
    edges = box[2:] if isinstance(box, list) else []
    numbers = [edge for edge in edges if isinstance(edge, int | float)]
    return not shape and len(numbers) == 2 and min(numbers) > 0


@dataclass(frozen=True)
class Annotated:
    """Content whose mask is drawn where it is read."""

    image: Path
    height: int | None
    width: int | None
    annotations: tuple[bytes, ...]  # JSON
    categories: dict[str, str]  # names by id
    table: ClassTable
    file: str

    def mask_size(self) -> tuple[int, int] | None:
        """Return the height and width that the file gives the picture, if it does."""
        return (self.height, self.width) if self.height and self.width else None

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask.

        Raises BadSampleError where a category is no class, or an annotation cannot be drawn.
        """
        image = self.image.read_bytes()
        size = polygons.canvas_size(image, self.height, self.width, self.file)
        if size is None:
            return image, b""
        contents = [json.loads(text) for text in self.annotations]
        drawn = [self._drawn(content, size) for content in contents]
        shapes = [content.get("segmentation") for content in contents]
        lists = [shape for shape in shapes if isinstance(shape, list)]
        parts = [part for shape in lists for part in shape if len(part) >= _LEAST]
        polygons.refuse_parts([*map(polygons.near, parts)], self.file)
        labels = [label for label, _ in drawn]

        def over(n: int) -> tuple[bool, int]:
            return labels[n] != polygons.IGNORE_LABEL, -int(drawn[n][1][1::2].sum())

        columns = np.zeros(size[0] * size[1], np.int32)  # run lengths go down the columns
        for n in sorted(range(len(drawn)), key=over):
            ends = np.cumsum(drawn[n][1]).tolist()
            for start, end in zip(ends[::2], ends[1::2], strict=False):
                columns[start:end] = n + 1
        drawing = np.ascontiguousarray(columns.reshape(size[::-1]).T)
        return image, polygons.indices(drawing, labels, self.table, self.file)

    def _drawn(self, content: dict[str, Any], size: tuple[int, int]) -> tuple[str, np.ndarray]:
        """Return the label of an annotation, and its run lengths (see `Runs`)."""
        try:
            annotation = Annotation.model_validate(content)
        except pydantic.ValidationError as error:
            number = content.get("id", "?") if isinstance(content, dict) else "?"
            found = f"annotation {number} is not COCO's ({first_error(error)})"
            expected = "category_id and segmentation"
            raise BadSampleError(self.file, found, expected) from None
        # Nobody knows the class of a category that `categories` lacks.
        known = not annotation.iscrowd and str(annotation.category_id) in self.categories
        label = self.categories[str(annotation.category_id)] if known else polygons.IGNORE_LABEL
        if is_box(content):
            expected = "polygons or run lengths, not a box alone"
            raise BadSampleError(self.file, f"annotation {annotation.id} has no segmentation", expected)
        try:
            return label, self._lengths(annotation.segmentation or [], size)
        except ValueError as error:
            picture = f"a picture of {width_by_height(size)}"
            expected = f"pairs of numbers x and y, or run lengths, of {picture}"
            found = f"annotation {annotation.id} has {error}"
            raise BadSampleError(self.file, found, expected) from None

    def _lengths(self, shape: list[list[float]] | Runs, size: tuple[int, int]) -> np.ndarray:
        if isinstance(shape, Runs):
            lengths = shape.lengths()
            if shape.size != size:
                raise ValueError(f"run lengths for a size of {shape.size}")
            return lengths
        clipped = [polygons.outline(polygon, size) for polygon in shape if len(polygon) >= _LEAST]
        outlines = [corners.ravel() for corners in clipped if len(corners) >= 3]
        if not outlines:
            return np.array([size[0] * size[1]])
        return unpacked(mask.merge(mask.frPyObjects(outlines, *size))["counts"])
