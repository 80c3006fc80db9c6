"""COCO's JSON: `images`, `annotations` with polygons or run lengths, `categories`.

The format of https://cocodataset.org/#format-data, as `annotations/instances_train2017.json`, as
`_annotations.coco.json` in the folder of each split, or as any one JSON file. Files and folders are told
apart by `train`, `val` and `test` in their names; one file alone is split by hash of the image's name.
Objects lie over crowd regions, which are ignored, and small objects over large ones.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pydantic
from pycocotools import mask

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts.matching import SPLIT_WORDS, relative, split_by_hash, splits_of
from segpipe.fetch.layouts.polygons import canvas_size, encode_labels, first_error, label_values
from segpipe.fetch.sample import BadSampleError, Problem, Sample, Split

_CROWD = "__ignore__"
_HEAD = 1 << 16
"""Bytes in which a file shows what it is: one with pictures inside is long to read."""


class Runs(pydantic.BaseModel):
    """A mask by run lengths, plain or compressed."""

    size: tuple[int, int]
    counts: list[int] | str

    def lengths(self) -> list[int]:
        """The lengths of runs of 0 and of 1 in turn, 0 first, down the columns.

        pycocotools reads the compressed form too, but of one that ends early it gives what chance left
        in memory (seen with 2.0.11).
        """
        if isinstance(self.counts, list):
            return self.counts
        found: list[int] = []
        number = shift = 0
        for code in (ord(letter) - 48 for letter in self.counts):  # five bits a letter, low ones first
            number |= (code & 31) << shift
            shift += 5
            if code & 32:
                continue
            if code & 16:
                number -= 1 << shift
            found.append(number + (found[-2] if len(found) > 2 else 0))
            number = shift = 0
        return found


class Annotation(pydantic.BaseModel):
    """One object, or a region of many (`iscrowd`)."""

    id: int | str = "?"
    image_id: int | str
    category_id: int
    segmentation: list[list[float]] | Runs | None = None
    iscrowd: int = 0


class Picture(pydantic.BaseModel):
    """One image."""

    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class Category(pydantic.BaseModel):
    """What an object may be."""

    id: int
    name: str


class Dataset(pydantic.BaseModel):
    """What of a file is read."""

    images: list[Picture]
    annotations: list[Annotation]
    categories: list[Category]


@dataclass(frozen=True)
class Annotated:
    """Content whose mask is drawn where it is read."""

    image: Path
    picture: Picture
    annotations: list[Annotation]
    categories: dict[int, str]
    values: dict[str, int]
    file: str

    def read(self) -> tuple[bytes, bytes]:
        """Return the image's bytes, and the mask as PNG.

        Raises:
            BadSampleError: a category is no class, or an annotation cannot be drawn.
        """
        image = self.image.read_bytes()
        size = canvas_size(image, self.picture.height, self.picture.width, self.file)
        if size is None:
            return image, b""
        labels = [*dict.fromkeys(self._label(a) for a in self.annotations)]
        crowd = labels.index(_CROWD) + 1 if _CROWD in labels else 0
        crowd = labels.index(_CROWD) + 1 if _CROWD in labels else 0
        shapes = [(labels.index(self._label(a)) + 1, self._lengths(a, size)) for a in self.annotations]
        shapes.sort(key=lambda shape: (shape[0] != crowd, -sum(shape[1][1::2])))
        columns = np.zeros(size[0] * size[1], np.uint16)
        for number, lengths in shapes:
            ends = np.cumsum(lengths)
            for start, end in zip(ends[::2], ends[1::2], strict=False):
                columns[start:end] = number
        drawing = columns.reshape(size[::-1]).T
        return image, encode_labels(drawing, labels, self.values, self.file)

    def _label(self, annotation: Annotation) -> str:
        if annotation.category_id not in self.categories:
            raise self._bad(annotation, f"category {annotation.category_id}", "one of `categories`")
        return _CROWD if annotation.iscrowd else self.categories[annotation.category_id]

    def _lengths(self, annotation: Annotation, size: tuple[int, int]) -> list[int]:
        """The shape as run lengths; polygons of one or two points cover nothing."""
        shape = annotation.segmentation
        if not shape:
            raise self._bad(annotation, "no segmentation", "polygons or run lengths, not a box alone")
        if isinstance(shape, Runs):
            lengths = shape.lengths()
            if shape.size != size or min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
                found = f"run lengths of {sum(lengths)} pixels for a size of {shape.size}"
                raise self._bad(annotation, found, f"the image's, {size}")
            return lengths
        if any(len(polygon) % 2 for polygon in shape):
            raise self._bad(annotation, "a polygon of an odd number of numbers", "pairs of x and y")
        polygons = [polygon for polygon in shape if len(polygon) >= 6]
        if not polygons:
            return []
        packed = mask.merge(mask.frPyObjects(polygons, *size))
        return Runs(size=size, counts=packed["counts"].decode()).lengths()

    def _bad(self, annotation: Annotation, found: str, expected: str) -> BadSampleError:
        return BadSampleError(self.file, f"annotation {annotation.id} has {found}", expected)


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    files = _files(root)
    return f"COCO's JSON: {', '.join(relative(root, file) for file in files)}" if files else None


def samples(root: Path, test_share: float, table: ClassTable) -> Iterator[Sample | Problem]:
    """Yield the samples.

    Raises:
        UserError: there is no such file, one is not COCO's, or none is for training.
    """
    files = _files(root)
    if not files:
        raise UserError(
            f"{root}: no JSON file with images, annotations and categories, here, in annotations/ or in "
            "the folder of a split"
        )
    splits = _splits(root, files)
    values = label_values(table)
    found: dict[Split, list[tuple[str, Sample | Problem]]] = {"test": [], "train": []}
    for file in files:
        part, split = splits.get(file, ("", None))
        for picture, annotated in _contents(root, file, values):
            name = f"{part}{PurePosixPath(picture.file_name).with_suffix('')}"
            where = split or split_by_hash(name, test_share)
            found[where].append((name, _sample(root, name, where, picture, annotated)))
    for pairs in found.values():
        yield from (item for _, item in sorted(pairs, key=lambda pair: pair[0]))


def labels(root: Path) -> tuple[dict[str, int], bool]:
    """The categories that objects have, with their ids, and whether there are regions to ignore."""
    ids: dict[str, int] = {}
    crowds = False
    for dataset in map(read_dataset, _files(root)):
        used = {annotation.category_id for annotation in dataset.annotations if not annotation.iscrowd}
        crowds = crowds or any(annotation.iscrowd for annotation in dataset.annotations)
        ids |= {c.name: c.id for c in dataset.categories if c.id in used}
    return ids, crowds


def read_dataset(file: Path) -> Dataset:
    """Read a JSON file.

    Raises:
        UserError: it is not COCO's.
    """
    try:
        return Dataset.model_validate_json(file.read_bytes())
    except pydantic.ValidationError as error:
        raise UserError(f"{file}: not COCO's annotations ({first_error(error)})") from None


def _files(root: Path) -> list[Path]:
    """The JSON files with annotations of objects; what is beside `instances_*` is of the same images."""
    folders = [root, root / "annotations", *(root / word for word in SPLIT_WORDS)]
    found = [file for folder in folders for file in sorted(folder.glob("*.json")) if _is_coco(file)]
    return [file for file in found if file.name.startswith("instances")] or found


def _is_coco(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    return b'"shapes"' not in head and any(
        word in head for word in (b'"images"', b'"annotations"', b'"categories"')
    )


def _splits(root: Path, files: list[Path]) -> dict[Path, tuple[str, Split]]:
    """What names of a file's samples begin with, and their split; nothing for a file alone."""
    if len(files) == 1:
        return {}
    words = {}
    for file in files:
        telling = [file.stem, *([file.parent.name] if file.parent != root else [])]
        tokens = re.findall("[a-z]+", " ".join(telling).lower())
        words[file] = next((token for token in tokens if token in SPLIT_WORDS), "")
    splits = splits_of(word for word in words.values() if word)
    if "" in words.values() or len({*words.values()}) < len(files) or "train" not in splits.values():
        names = ", ".join(relative(root, file) for file in files)
        raise UserError(
            f"{root}: cannot tell the splits of {names}; have one file each with train, val or test in "
            "its name"
        )
    return {file: (f"{word}/", splits[word]) for file, word in words.items()}


def _contents(root: Path, file: Path, values: dict[str, int]) -> Iterator[tuple[Picture, Annotated]]:
    dataset = read_dataset(file)
    categories = {category.id: category.name for category in dataset.categories}
    of_image: dict[int | str, list[Annotation]] = {picture.id: [] for picture in dataset.images}
    for annotation in dataset.annotations:
        if annotation.image_id not in of_image:
            raise UserError(f"{file}: annotation {annotation.id} is of image {annotation.image_id}, "
                            "which `images` does not have")  # fmt: skip
        of_image[annotation.image_id].append(annotation)
    folders = _image_folders(root, file)
    for picture in dataset.images:
        paths = [folder / picture.file_name for folder in folders]
        image = next((path for path in paths if path.is_file()), paths[0])
        called = f"{relative(root, file)} (image {picture.id})"
        yield (
            picture,
            Annotated(image.resolve(), picture, of_image[picture.id], categories, values, called),
        )


def _image_folders(root: Path, file: Path) -> list[Path]:
    """Where the images of a JSON file may lie: beside it, or in a folder of its part (`train2017`)."""
    part = file.stem.removeprefix("instances").strip("_")
    return [
        file.parent,
        root / part,
        root / "images" / part,
        root / "images",
        root,
        file.parent / "images",
    ]


def _sample(
    root: Path, name: str, split: Split, picture: Picture, annotated: Annotated
) -> Sample | Problem:
    if not annotated.image.is_file():
        return Problem(f"{annotated.file}: {picture.file_name}", "no such image",
                       f"it beside the JSON file, in {root} or in its images/")  # fmt: skip
    image = annotated.image
    called = relative(root.resolve(), image) if image.is_relative_to(root.resolve()) else image.name
    return Sample(name, split, called, annotated.file, annotated)
