"""YOLO's polygons, as Ultralytics and Roboflow have them: a text file a picture, a line an object.

Pictures are in `images`, their labels at the same path in `labels`: `train/images/a.jpg` and
`train/labels/a.txt`, or `images/train/a.jpg` and `labels/train/a.txt`. `data.yaml` has the names of the
classes, and the folders or lists of the splits; else the folders' own names tell the split.

Masks are Ultralytics' own for semantic segmentation (`PolygonSemanticDataset`, 8.4): corners lie on
whole pixels of the upright picture, the outline belongs to the object, and small objects lie over large
ones. A picture with an empty label file, or with none, is background. One with boxes is a problem.
"""

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, polygons, yolotexts
from segpipe.fetch.layouts.yolosplits import Files, folders_of, label_of, splits
from segpipe.fetch.sample import BadSampleError, Mask, Note, Problem, Sample, Samples

_PEEKED = 20  # label files that `seen` looks into
_MOST_SECONDS = 5  # to draw a picture
_FEW = 16  # corners of a shape, up to which the areas of equal shapes are counted once


@dataclass(frozen=True)
class Outlined:
    """Content whose mask is drawn where it is read."""

    image: Path
    labels: Path | None
    config: yolotexts.Config
    table: ClassTable
    file: str

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask. Raises BadSampleError where a line is no polygon."""
        image = self.image.read_bytes()
        size = polygons.canvas_size(image, None, None, self.file, upright=True)
        if size is None:
            return image, b""
        rows = yolotexts.read_polygons(self.labels, self.file) if self.labels else []
        names = [self.config.name(number) or "" for number, _ in rows]
        if "" in names:
            found = f"class {rows[names.index('')][0]}, which has no name"
            where = self.config.file.name if self.config.file else "classes.txt"
            raise BadSampleError(self.file, found, f"one of the {len(self.config.names)} of {where}")
        drawing = draw([corners for _, corners in rows], size, self.file)
        return image, polygons.indices(drawing, names, self.table, self.file)


def draw(outlines: list[np.ndarray], size: tuple[int, int], file: str) -> np.ndarray:
    """Return int32 [height, width]: n where the n-th outline covers, smaller ones over larger ones.

    Raises BadSampleError where that would take minutes.
    """
    scale = np.array(size[::-1], np.float32)
    shapes = [_on_pixels(points.astype(np.float32) * scale) for points in outlines]
    if (seconds := sum(map(_seconds, shapes))) > _MOST_SECONDS:
        found = f"{len(shapes)} polygons that would take {seconds:,.0f} s to draw"
        raise BadSampleError(file, found, "outlines of objects")
    areas = np.array([_area(points, size) for points in shapes])
    canvas = Image.new("I", size[::-1])
    for index in np.argsort(-areas, kind="stable").tolist():
        _fill(canvas, shapes[index], index + 1)
    return np.asarray(canvas)


def _on_pixels(points: np.ndarray) -> np.ndarray:
    """Return the corners as whole pixels, as OpenCV's callers cut them, without repetitions."""
    whole = points.astype(np.int32)
    kept = np.ones(len(whole), bool)
    kept[1:] = (whole[1:] != whole[:-1]).any(axis=1)
    return whole[kept]


def _seconds(points: np.ndarray) -> float:
    """Return about how long Pillow draws a shape, twice: edges, where they cross a row, and pixels."""
    columns, rows = points.T.astype(float)
    width, height = columns.max() - columns.min(), rows.max() - rows.min()
    crossings = np.abs(rows[1:] - rows[:-1]).sum()
    return 2e-9 * len(points) * height + 9e-7 * crossings + 3e-9 * width * height


def _area(points: np.ndarray, size: tuple[int, int]) -> int:
    """Return how many pixels of the picture a shape covers."""
    low = points.min(axis=0).clip(0)
    width, height = np.minimum(points.max(axis=0) + 1, size[::-1]) - low
    if width <= 0 or height <= 0:
        return 0
    shape = points - low
    if len(shape) <= _FEW:
        return _area_of_few(shape.tobytes(), int(width), int(height))
    return _area_in(shape, int(width), int(height))


@functools.lru_cache(maxsize=1 << 14)
def _area_of_few(points: bytes, width: int, height: int) -> int:
    """Return the area of a shape of few corners; noise has thousands of them, and few different ones."""
    return _area_in(np.frombuffer(points, np.int32).reshape(-1, 2), width, height)


def _area_in(points: np.ndarray, width: int, height: int) -> int:
    stencil = Image.new("L", (width, height))
    _fill(stencil, points, 1)
    return stencil.histogram()[1]


def _fill(canvas: Image.Image, points: np.ndarray, number: int) -> None:
    pen, corners = ImageDraw.Draw(canvas), [*map(tuple, points.tolist())]
    if len(corners) > 2:
        pen.polygon(corners, fill=number)
    pen.line([*corners, corners[0]], fill=number)
    pen.point(corners[0], fill=number)


def seen(root: Path) -> str | None:
    """Look for labels beside pictures; files of another kind are none."""
    files = Files(root)
    pairs = ((picture, files.texts.get(label_of(picture))) for picture in files.pictures)
    labelled = ((p, label) for p, label in pairs if label and "images" in folders_of(p))
    with contextlib.suppress(OSError):
        filled = ((p, label) for p, label in labelled if label.stat().st_size)
        for picture, label in itertools.islice(filled, _PEEKED):
            if yolotexts.looks_like_labels(label):
                return f"YOLO's lines of numbers, as {matching.relative(root, label)} for {picture}"
    return None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no picture has labels, or `data.yaml` is malformed."""
    config, files = yolotexts.read_config(root), Files(root)
    pictures, notes = splits(files, config)
    labels = {p: files.texts.get(label_of(p)) for names in pictures.values() for p in names}
    if not any(labels.values()):
        places = "train/images and train/labels, or images/train and labels/train"
        raise UserError(f"{root}: no picture with a label file; this layout looks for {places}")
    yield from map(Note, notes)
    yield from map(Note, _remarks(config, labels))
    yield from _orphans(files, labels)
    words = matching.splits_of(filter(None, pictures))
    used = set[str]()
    for word in sorted(pictures, key=["test", "val", "train", ""].index):
        for picture in sorted(pictures[word] & used):
            yield Problem(picture, f"listed for {word} and for another split", "it in one of them")
        for picture in sorted(pictures[word] - used):
            file, name = label_of(picture), _name(picture)
            content = Outlined(files.pictures[picture].resolve(), labels[picture], config, table, file)
            split = words.get(word) if len(words) > 1 else None
            yield Sample(name, split, picture, file, content, upright=True)
        used |= pictures[word]


def labels(root: Path) -> dict[str, int]:
    """Return the names of the classes that occur, with their numbers from 1 on.

    Raises UserError where all labels are boxes.
    """
    config, files = yolotexts.read_config(root), Files(root)
    pictures, _ = splits(files, config)
    paths = {files.texts.get(label_of(picture)) for names in pictures.values() for picture in names}
    contents = [yolotexts.classes_in(path) for path in paths if path]
    if not any(outlined for _, outlined in contents) and any(classes for classes, _ in contents):
        raise UserError(
            f"{root}: the labels are boxes alone, for detection; segmentation needs polygons"
        )
    ids: dict[str, int] = {}
    for number in sorted({number for classes, _ in contents for number in classes}):
        if name := config.name(number):
            ids.setdefault(name, number + 1)
    return ids


def _name(picture: str) -> str:
    folders = folders_of(picture)
    if "images" in folders:
        del folders[len(folders) - 1 - folders[::-1].index("images")]
    return "/".join([*folders, PurePosixPath(picture).stem])


def _remarks(config: yolotexts.Config, labels: dict[str, Path | None]) -> Iterator[str]:
    if missing := sum(label is None for label in labels.values()):
        yield f"{missing} pictures have no label file: they are background"
    for name, count in Counter(config.names.values()).items():
        if count > 1:
            yield f"{name!r} is the name of {count} classes: they become one"


def _orphans(files: Files, labels: dict[str, Path | None]) -> Iterator[Problem]:
    """Yield the label files without a picture."""
    folders = {label_of(name).rpartition("/")[0] for name in labels if "images" in folders_of(name)}
    known = {label_of(name) for name in files.pictures}
    for name in sorted(files.texts.keys() - known):
        if name.rpartition("/")[0] in folders and PurePosixPath(name).name != "classes.txt":
            yield Problem(name, "no image for its partner", "a picture of the same stem in images/")
