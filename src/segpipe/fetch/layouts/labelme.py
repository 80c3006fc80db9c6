"""Labelme's JSON beside each image, with shapes drawn by hand (https://github.com/wkentaro/labelme).

Shapes are drawn in their order, later over earlier, as Labelme's own export draws them: lines 10 px
wide, points as discs of radius 5. Shapes called `__ignore__` are ignored. The folders `train`, `val` and
`test` are splits where they exist; otherwise names are split by hash.
"""

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic
from PIL import Image, ImageDraw
from rich.progress import track

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.parallel import ordered_map
from segpipe.fetch.layouts import matching, polygons, texts
from segpipe.fetch.sample import BadSampleError, Mask, Problem, Samples

_LINE_WIDTH, _POINT_RADIUS = 10, 5

Point = tuple[float, float]


class Shape(pydantic.BaseModel):
    """One shape with its label."""

    label: str
    points: list[Point]
    shape_type: str | None = "polygon"
    mask: str | None = None


class Annotation(pydantic.BaseModel):
    """The parts of a file that are read."""

    shapes: list[Shape]
    imagePath: str = ""
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
        size = polygons.canvas_size(
            image, annotation.imageHeight, annotation.imageWidth, self.file, True
        )
        if size is None:
            return image, b""
        canvas = Image.new("I", size[::-1])
        for number, shape in enumerate(annotation.shapes, 1):
            try:
                _draw(canvas, shape, number)
            except (ValueError, OSError) as error:
                what = f"{shape.shape_type} of {len(shape.points)} points"
                raise BadSampleError(self.file, f"shape {number}, a {what}", str(error)) from None
        labels = [shape.label for shape in annotation.shapes]
        return image, polygons.indices(np.asarray(canvas), labels, self.table, self.file)


def read_annotation(path: Path, file: str) -> Annotation:
    """Read one JSON file, called `file` in errors. Raises BadSampleError where it is not Labelme's."""
    try:
        return Annotation.model_validate_json(texts.content(path))
    except pydantic.ValidationError as error:
        found = f"not Labelme's JSON ({texts.first_error(error)})"
        raise BadSampleError(file, found, "shapes") from None


def seen(root: Path) -> str | None:
    """Look for a JSON file with shapes."""
    first = next(_files(root), None)
    return f"Labelme's JSON beside each image, as {matching.relative(root, first)}" if first else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where there is no JSON file of Labelme's."""
    images = {path.with_suffix(""): path for path in sorted(root.rglob("*")) if matching.is_image(path)}
    found: dict[str, Labelled | Problem] = {}
    for path in sorted(_files(root)):
        name, file = matching.without_suffix(root, path), matching.relative(root, path)
        image = images.pop(path.with_suffix(""), None) or _named_in(path)
        if image and image.is_file():
            found[name] = Labelled(image.resolve(), path.resolve(), table, file)
        else:
            expected = "the image beside it, of the same stem"
            found[name] = Problem(file, "no image for its partner", expected)
        images.pop(image.with_suffix("") if image else path, None)
    if not found:
        raise UserError(f"{root}: no JSON file of Labelme's in it")
    for path in images.values():
        name, file = matching.without_suffix(root, path), matching.relative(root, path)
        expected = f"{path.stem}.json beside it; one without shapes, where there is nothing"
        found[name] = Problem(file, "no annotation for its partner", expected)
    words = {name.partition("/")[0] for name in found}
    in_parts = len(words) > 1 and words <= matching.SPLIT_WORDS.keys()
    splits = matching.splits_of(words) if in_parts else {}

    parts = ((splits.get(name.partition("/")[0]), name, item) for name, item in found.items())
    return polygons.drawn(root, parts, upright=True)


def labels(root: Path) -> dict[str, int]:
    """Return all labels in alphabetical order, without ids (see `segpipe.fetch.layouts`)."""
    files = track([*_files(root)], "Reading labels")
    found = {label for some in ordered_map(_labels_in, files) for label in some}
    return dict.fromkeys(sorted(found), 0)


def _labels_in(path: Path) -> set[str]:
    return {shape.label for shape in _read_or_empty(path).shapes}


def _files(root: Path) -> Iterator[Path]:
    """Yield the JSON files that hold shapes."""
    return (path for path in root.rglob("*.json") if b'"shapes"' in polygons.head(path))


def _read_or_empty(path: Path) -> Annotation:
    """Read one JSON file; a damaged one is empty here, and an error where its sample is read."""
    try:
        return read_annotation(path, path.name)
    except BadSampleError:
        return Annotation(shapes=[])


def _named_in(path: Path) -> Path | None:
    """Return the image that a JSON file names, with either kind of slash."""
    named = _read_or_empty(path).imagePath.replace("\\", "/")
    return Path(path.parent, named).resolve() if named else None


def _draw(canvas: Image.Image, shape: Shape, number: int) -> None:
    """Draw one shape as Labelme does. Raises ValueError for a wrong kind or number of points."""
    pen, points, kind = ImageDraw.Draw(canvas), shape.points, shape.shape_type or "polygon"
    if kind == "polygon":
        polygons.fill(canvas, points, number)
    elif kind == "rectangle" and len(points) == 2:
        (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*points, strict=True))
        pen.rectangle((x0, y0, x1, y1), fill=number, outline=number)
    elif kind == "circle" and len(points) == 2:
        pen.circle(points[0], math.dist(*points), fill=number, outline=number)
    elif kind in ("line", "linestrip") and len(points) >= 2:
        pen.line(points, fill=number, width=_LINE_WIDTH)
    elif kind == "point" and len(points) == 1:
        pen.circle(points[0], _POINT_RADIUS, fill=number, outline=number)
    elif kind == "mask" and len(points) == 2 and shape.mask:
        stencil = Image.open(io.BytesIO(base64.b64decode(shape.mask)), formats=("PNG",)).convert("1")
        canvas.paste(number, (round(points[0][0]), round(points[0][1])), stencil)
    else:
        raise ValueError(
            "a polygon (3 points or more), rectangle (2), circle (2), line or linestrip (2 or more), "
            "point (1) or mask"
        )
