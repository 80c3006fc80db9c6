"""Labelme's JSON beside each image, with shapes drawn by hand (https://github.com/wkentaro/labelme).

Shapes are drawn in their order, later over earlier, as Labelme's own export draws them: lines 10 px
wide, points as discs of radius 5. Shapes called `__ignore__` are ignored. The folders `train`, `val` and
`test` are splits where there are such; otherwise names are split by hash.
"""

import base64
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic
from PIL import Image, ImageDraw

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts.matching import (
    SPLIT_WORDS,
    Listed,
    by_hash,
    is_image,
    relative,
    splits_of,
)
from segpipe.fetch.layouts.polygons import canvas_size, encode_labels, first_error, label_values
from segpipe.fetch.sample import BadSampleError, Problem, Sample, Split

_LINE_WIDTH, _POINT_RADIUS = 10, 5
_HEAD = 1 << 16
"""Bytes in which a file shows what it is: it may hold the whole image."""

Point = tuple[float, float]


class Shape(pydantic.BaseModel):
    """One shape with its label."""

    label: str
    points: list[Point]
    shape_type: str | None = "polygon"
    mask: str | None = None


class Annotation(pydantic.BaseModel):
    """What of a file is read."""

    shapes: list[Shape]
    imagePath: str = ""
    imageHeight: int | None = None
    imageWidth: int | None = None


@dataclass(frozen=True)
class Labelled:
    """Content whose mask is drawn where it is read."""

    image: Path
    annotation: Path
    values: dict[str, int]
    file: str

    def read(self) -> tuple[bytes, bytes]:
        """Return the image's bytes, and the mask as PNG.

        Raises:
            BadSampleError: the JSON is not Labelme's, a label is no class, or a shape cannot be drawn.
        """
        image = self.image.read_bytes()
        annotation = read_annotation(self.annotation, self.file)
        size = canvas_size(image, annotation.imageHeight, annotation.imageWidth, self.file)
        if size is None:
            return image, b""
        labels = [*dict.fromkeys(shape.label for shape in annotation.shapes)]
        canvas = Image.new("I", size[::-1])
        for number, shape in enumerate(annotation.shapes, 1):
            try:
                _draw(canvas, shape, labels.index(shape.label) + 1)
            except (ValueError, OSError) as error:
                what = f"{shape.shape_type} of {len(shape.points)} points"
                raise BadSampleError(self.file, f"shape {number}, a {what}", str(error)) from None
        return image, encode_labels(np.asarray(canvas), labels, self.values, self.file)


def read_annotation(path: Path, file: str) -> Annotation:
    """Read one JSON file, which errors call `file`.

    Raises:
        BadSampleError: it is not Labelme's.
    """
    try:
        return Annotation.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        raise BadSampleError(file, f"not Labelme's JSON ({first_error(error)})", "shapes") from None


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    first = next(annotation_files(root), None)
    return f"Labelme's JSON beside each image, as {relative(root, first)}" if first else None


def samples(root: Path, test_share: float, table: ClassTable) -> Iterator[Sample | Problem]:
    """Yield the samples.

    Raises:
        UserError: there is no such file.
    """
    values = label_values(table)
    images = {path.with_suffix(""): path for path in sorted(root.rglob("*")) if is_image(path)}
    found: dict[str, Labelled | Problem] = {}
    for path in sorted(annotation_files(root)):
        name, file = _name(root, path), relative(root, path)
        image = images.pop(path.with_suffix(""), None) or _named_in(path)
        if image and image.is_file():
            found[name] = Labelled(image.resolve(), path.resolve(), values, file)
        else:
            found[name] = Problem(
                file, "no image for its partner", "the image beside it, of the same stem"
            )
        images.pop(image.with_suffix("") if image else path, None)
    if not found:
        raise UserError(f"{root}: no JSON file of Labelme's in it")
    for path in images.values():
        found[_name(root, path)] = Problem(
            relative(root, path), "no annotation for its partner",
            f"{path.stem}.json beside it; one without shapes, where there is nothing",
        )  # fmt: skip
    for split, names in _listed(found, test_share).items():
        for name in sorted(names):
            item = found[name]
            yield item if isinstance(item, Problem) else _sample(root, name, split, item)


def labels_in(path: Path) -> set[str]:
    """The labels of one JSON file; none where it cannot be read, which `samples` reports."""
    try:
        return {shape.label for shape in read_annotation(path, path.name).shapes}
    except BadSampleError:
        return set()


def annotation_files(root: Path) -> Iterator[Path]:
    """The JSON files that hold shapes."""
    for path in root.rglob("*.json"):
        with path.open("rb") as opened:
            if b'"shapes"' in opened.read(_HEAD):
                yield path


def _named_in(path: Path) -> Path | None:
    """The image that a JSON file names, whichever way its slashes lean; None where it is unreadable."""
    try:
        named = read_annotation(path, str(path)).imagePath
    except BadSampleError:
        return None
    return Path(path.parent, named.replace("\\", "/")).resolve()


def _listed(found: Iterable[str], test_share: float) -> Listed:
    """Names by split: by the folders that are called so, else by hash."""
    words = {name.partition("/")[0] for name in found}
    if len(words) < 2 or not words <= SPLIT_WORDS.keys():
        return by_hash(found, test_share)
    splits = splits_of(words)
    listed: Listed = {"test": [], "train": []}
    for name in found:
        listed[splits[name.partition("/")[0]]].append(name)
    return listed


def _sample(root: Path, name: str, split: Split, content: Labelled) -> Sample:
    image = content.image
    inside = image.is_relative_to(root.resolve())
    return Sample(
        name, split, relative(root.resolve(), image) if inside else image.name, content.file, content
    )


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _draw(canvas: Image.Image, shape: Shape, number: int) -> None:
    """Draw one shape as Labelme does.

    Raises:
        ValueError: of what kind it is, and with how many points, does not go together.
    """
    pen, points, kind = ImageDraw.Draw(canvas), shape.points, shape.shape_type or "polygon"
    if kind == "polygon" and len(points) >= 3:
        pen.polygon(points, fill=number, outline=number)
    elif kind == "rectangle" and len(points) == 2:
        (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*points, strict=True))
        pen.rectangle((x0, y0, x1, y1), fill=number, outline=number)
    elif kind == "circle" and len(points) == 2:
        _disc(pen, points[0], math.dist(*points), number)
    elif kind in ("line", "linestrip") and len(points) >= 2:
        pen.line(points, fill=number, width=_LINE_WIDTH)
    elif kind == "point" and len(points) == 1:
        _disc(pen, points[0], _POINT_RADIUS, number)
    elif kind == "mask" and len(points) == 2 and shape.mask:
        stencil = Image.open(io.BytesIO(base64.b64decode(shape.mask)), formats=("PNG",)).convert("1")
        canvas.paste(number, (round(points[0][0]), round(points[0][1])), stencil)
    else:
        raise ValueError(
            "a polygon (3 points or more), rectangle (2), circle (2), line or linestrip (2 or more), "
            "point (1) or mask"
        )


def _disc(pen: ImageDraw.ImageDraw, centre: Point, radius: float, number: int) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=number, outline=number)
