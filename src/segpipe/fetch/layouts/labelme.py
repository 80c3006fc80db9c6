"""Labelme's JSON beside each image, with shapes drawn by hand (https://github.com/wkentaro/labelme).

Shapes are drawn in their order, later over earlier, as Labelme's own export draws them: lines 10 px
wide, points as discs of radius 5. Labelme shows pictures upright, as EXIF says. Shapes called
`__ignore__` are ignored. Folders such as `train`, `val` and `test` are splits where they exist, and
others beside them are left out; otherwise names are split by hash.
"""

import base64
import functools
import io
import math
import os.path
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from PIL import Image, ImageDraw
from rich.progress import track

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.fields import first_error
from segpipe.fetch.layouts import matching, polygons, streams, texts
from segpipe.fetch.sample import BadSampleError, Mask, Note, Problem, Sample, Samples, Split
from segpipe.fetch.stored import readable

_LINE_WIDTH, _POINT_RADIUS = 10, 5
_LARGEST = 100_000  # pixels: Pillow takes half a minute for a circle of a million
_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1}
"""The least number of points by kind of shape; with fewer, a shape covers nothing."""

_TURNED = ("oriented_rectangle", "rotation", "quadrilateral")  # Labelme's, and two of X-AnyLabeling's
_EXACTLY = {"rectangle": (2, 4), "circle": (2,), "point": (1,), "mask": (2,)} | dict.fromkeys(
    _TURNED, (4,)
)
"""The numbers of points that a shape may have; newer versions of X-AnyLabeling give all four corners."""

_KINDS = (
    "a polygon (3 points or more), rectangle (2, or 4 corners), oriented_rectangle, rotation or "
    "quadrilateral (4), circle (2), line or linestrip (2 or more), point (1) or mask"
)
_ON_PICTURE = "x and y in pixels, on the picture or near it"
_MANY = 500  # files whose reading takes a while

Point = tuple[float, float]


class Shape(pydantic.BaseModel):
    """One shape with its label."""

    label: str
    points: list[Point]
    shape_type: str | None = "polygon"
    mask: str | None = None

    @property
    def kind(self) -> str:
        """The kind of shape; old files have none for polygons."""
        return self.shape_type or "polygon"


class Annotation(pydantic.BaseModel):
    """The parts of a file that are read."""

    shapes: list[Shape]
    imagePath: str | None = ""
    imageHeight: int | None = None
    imageWidth: int | None = None


@dataclass(frozen=True)
class Labelled:
    """Content whose mask is drawn where it is read."""

    image: Path
    annotation: Path
    table: ClassTable
    file: str

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask.

        Raises BadSampleError where the JSON is not Labelme's, a label is no class, or a shape cannot be
        drawn.
        """
        image = self.image.read_bytes()
        annotation = read_annotation(self.annotation, self.file)
        height, width = annotation.imageHeight, annotation.imageWidth
        size = polygons.canvas_size(image, height, width, self.file, upright=True)
        if size is None:
            return image, b""
        canvas = Image.new("I", size[::-1])
        for number, shape in enumerate(annotation.shapes, 1):
            found = f"shape {number}, a {shape.kind} of {len(shape.points)} points"
            if not _is_known(shape):
                raise BadSampleError(self.file, found, _KINDS)
            try:
                _draw(canvas, shape, number, f"{self.file}, shape {number}")
            except ValueError as error:
                raise BadSampleError(self.file, f"{found}, has {error}", _ON_PICTURE) from None
        polygons.refuse_parts(_outlines(annotation), self.file)
        labels = [shape.label for shape in annotation.shapes]
        return image, polygons.indices(np.asarray(canvas), labels, self.table, self.file)


def read_annotation(path: Path, file: str) -> Annotation:
    """Read one JSON file, called `file` in errors. Raises BadSampleError where it is not Labelme's."""
    content: dict[str, Any] = {"shapes": []}
    length = 0
    try:
        for key, value, text in streams.elements(path, ("shapes",), Annotation.model_fields):
            length += len(text)
            if length > streams.LONGEST:
                raise BadSampleError(file, "too many shapes", f"{streams.LONGEST / 1e6:.0f} MB at most")
            if key == "shapes":
                content["shapes"].append(Shape.model_validate(value))
            else:
                content[key] = value
        return Annotation.model_validate(content)
    except pydantic.ValidationError as error:
        inside = f"shapes.{len(content['shapes'])}." if error.title == Shape.__name__ else ""
        found = f"not Labelme's JSON ({inside}{first_error(error)})"
    except streams.MalformedError as error:
        found = f"not Labelme's JSON ({error})"
    raise BadSampleError(file, found, "shapes with label, points and shape_type")


def seen(root: Path) -> str | None:
    """Look for a JSON file with shapes."""
    first = next(_files(root), None)
    return f"Labelme's JSON beside each image, as {matching.relative(root, first)}" if first else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where there is no JSON file of Labelme's."""
    contents = dict(_contents(root, table))
    splits, others = _splits(contents)
    if others:
        folders = ", ".join(
            f"{count} {f'in {word}/' if word else 'without a folder'}" for word, count in others.items()
        )
        yield Note(f"left out, as they are in none of the splits {', '.join(splits)}: {folders}")
    kept = {name: item for name, item in contents.items() if not splits or _folder(name) in splits}
    yield from polygons.drawn(
        root, ((splits.get(_folder(name)), name, item) for name, item in kept.items()), upright=True
    )
    facts = [_facts_of(item.annotation) for item in kept.values() if isinstance(item, Labelled)]
    if empty := sum(fact.empty for fact in facts):
        files = sum(fact.empty > 0 for fact in facts)
        yield Note(f"{empty} shapes in {files} files cover nothing (a polygon needs three points)")
    if outside := sum(fact.outside for fact in facts):
        files = sum(fact.outside > 0 for fact in facts)
        yield Note(
            f"{outside} shapes in {files} files lie outside of their pictures: they cover nothing"
        )


def labels(root: Path) -> dict[str, int]:
    """Return all labels in alphabetical order, without ids (see `segpipe.fetch.layouts`)."""
    kept = [item.content for item in samples(root, ClassTable(())) if isinstance(item, Sample)]
    files = [content.annotation for content in kept if isinstance(content, Labelled)]
    found = {label for file in files for label in _facts_of(file).labels}
    return dict.fromkeys(sorted(label for label in found if label.strip()), 0)


def _contents(root: Path, table: ClassTable) -> Iterator[tuple[str, Labelled | Problem]]:
    """Yield each annotation and each image without one, by the name of the sample."""
    images: dict[str, list[Path]] = {}
    for path in filter(matching.is_image, texts.visible(root)):
        images.setdefault(matching.without_suffix(root, path), []).append(path)
    files = [*_files(root)]
    if not files:
        raise UserError(f"{root}: no JSON file of Labelme's in it")
    for path in track(files, "Reading shapes", disable=len(files) < _MANY):
        name, file = matching.without_suffix(root, path), matching.relative(root, path)
        beside, named = images.get(name, []), _named_in(path)
        image = named if named in beside or not beside else beside[0]
        if image and os.path.isfile(image):  # noqa: PTH113  other than Path, it bears any name
            yield name, Labelled(image.resolve(), path.resolve(), table, file)
        else:
            expected = "the image beside it, of the same stem"
            yield name, Problem(file, "no image for its partner", expected)
        for same in images.values() if image and image not in beside else [beside]:
            if image in same:
                same.remove(image)
    for path in (path for same in images.values() for path in same):
        expected = f"{path.stem}.json beside it; one without shapes, where there is nothing"
        problem = Problem(matching.relative(root, path), "no annotation for its partner", expected)
        yield matching.relative(root, path), problem


def _splits(names: Iterable[str]) -> tuple[dict[str, Split], dict[str, int]]:
    """Return the split of each folder that is one, and how many names lie elsewhere, by folder."""
    folders = Counter(map(_folder, names))
    words = matching.split_words(folders)
    split_of = matching.splits_of(words.values())
    if len(split_of) < 2 or "train" not in split_of.values():
        return {}, {}
    splits = {folder: split_of[word] for folder, word in words.items()}
    return splits, {folder: count for folder, count in folders.items() if folder not in splits}


def _folder(name: str) -> str:
    return name.partition("/")[0].lower() if "/" in name else ""


@dataclass(frozen=True)
class _Facts:
    """The facts of one file that the notes on a whole folder need."""

    labels: frozenset[str] = frozenset()
    image: str = ""
    empty: int = 0  # shapes that cover nothing
    outside: int = 0  # shapes that lie outside of the picture


def _facts_of(path: Path) -> _Facts:
    stat = path.stat()
    return _facts(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 16)
def _facts(path: Path, size: int, modified: int) -> _Facts:
    """Read a file, once for each state of it; a damaged one is an error where its sample is read."""
    try:
        annotation = read_annotation(path, path.name)
    except UserError:
        return _Facts()
    labels = frozenset(shape.label for shape in annotation.shapes)
    empty = sum(map(_is_empty, annotation.shapes))
    return _Facts(labels, annotation.imagePath or "", empty, _outside(annotation))


def _outside(annotation: Annotation) -> int:
    """Count the polygons and rectangles that lie wholly outside of the picture."""
    corners = [np.concatenate([points.min(0), points.max(0)]) for points in _outlines(annotation)]
    boxes = np.array(corners).reshape(-1, 4)
    return polygons.outside(boxes, annotation.imageHeight, annotation.imageWidth)


def _outlines(annotation: Annotation) -> list[np.ndarray]:
    """Return the corners of the polygons and rectangles."""
    kinds = ("polygon", "rectangle", *_TURNED)
    drawn = [shape for shape in annotation.shapes if shape.kind in kinds and not _is_empty(shape)]
    return [np.array(shape.points) for shape in drawn]


def _is_empty(shape: Shape) -> bool:
    return len(shape.points) < _POINTS.get(shape.kind, 0)


def _is_known(shape: Shape) -> bool:
    """Return whether a shape is of a kind, and has a number of points, that Labelme draws."""
    if _is_empty(shape) or shape.kind in ("polygon", "line", "linestrip"):
        return True
    return len(shape.points) in _EXACTLY.get(shape.kind, ()) and bool(shape.mask or shape.kind != "mask")


def _files(root: Path) -> Iterator[Path]:
    """Yield the JSON files that hold shapes."""
    keys = ("shapes", "images", "annotations", "categories")
    return (path for path in texts.visible(root, "*.json") if streams.first_list(path, keys) == "shapes")


def _named_in(path: Path) -> Path | None:
    """Return the image that a JSON file names."""
    named = _facts_of(path.resolve()).image
    return Path(os.path.normpath(path.parent / texts.local(named))) if named else None


def _draw(canvas: Image.Image, shape: Shape, number: int, file: str) -> None:
    """Draw one shape as Labelme does; one with too few points covers nothing.

    Raises ValueError for wrong numbers or no text of a mask, and BadSampleError, which names `file`.
    """
    if _is_empty(shape):
        return
    points = [(x, y) for x, y in polygons.near(shape.points).tolist()]
    pen, kind = ImageDraw.Draw(canvas), shape.kind
    if kind in ("polygon", *_TURNED) or (len(points) == 4 and kind == "rectangle"):
        polygons.fill(canvas, points, number)
    elif kind == "rectangle":
        (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*points, strict=True))
        pen.rectangle((x0, y0, x1, y1), fill=number, outline=number)
    elif kind == "circle":
        if (radius := math.dist(*points)) > _LARGEST:
            raise ValueError(f"a radius of {radius:.3g} pixels, with {_LARGEST:,} at most")
        pen.circle(points[0], radius, fill=number, outline=number)
    elif kind == "point":
        pen.circle(points[0], _POINT_RADIUS, fill=number, outline=number)
    elif kind == "mask":
        left, top = points[0]
        canvas.paste(number, (round(left), round(top)), _stencil(shape.mask or "", canvas, file))
    else:
        pen.line(points, fill=number, width=_LINE_WIDTH)


def _stencil(mask: str, canvas: Image.Image, file: str) -> Image.Image:
    """Decode a mask that one of Labelme's models drew. Raises ValueError, and BadSampleError."""
    try:
        data = base64.b64decode(mask)
    except ValueError:
        raise ValueError("a text that is no base64") from None
    with readable(file):
        stencil = Image.open(io.BytesIO(data), formats=("PNG",))
        if stencil.width > canvas.width or stencil.height > canvas.height:
            found = f"a mask of {stencil.width}x{stencil.height}"
            raise BadSampleError(file, found, "one within the image")
        return Image.fromarray(np.asarray(stencil.convert("L")) > 0)  # Labelme writes 0 and 1
