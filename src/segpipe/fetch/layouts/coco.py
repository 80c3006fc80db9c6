"""COCO's JSON: `images`, `annotations` with polygons or run lengths, `categories`.

The format of https://cocodataset.org/#format-data, as `annotations/instances_train2017.json`, as
`_annotations.coco.json` in the folder of each split, or as any one JSON file. The split of a file is the
word `train`, `val` or `test` in its name or folder; one file alone is split by hash of the image's name.
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
from segpipe.fetch.layouts import matching, polygons, texts
from segpipe.fetch.sample import BadSampleError, Mask, Problem, Samples, Split


class Runs(pydantic.BaseModel):
    """A mask by run lengths, plain or compressed."""

    size: tuple[int, int]
    counts: list[int] | str

    def lengths(self) -> list[int]:
        """Return the lengths of runs of 0 and of 1 in turn, 0 first, down the columns.

        pycocotools decodes the compressed form too, but returns uninitialised memory for one that ends
        early (seen with 2.0.11): decode it here and check the sum first.
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
    """A kind of object."""

    id: int
    name: str


class Dataset(pydantic.BaseModel):
    """The parts of a file that are read."""

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
    table: ClassTable
    file: str

    def mask_size(self) -> tuple[int, int] | None:
        """Return the height and width that the file gives the picture, if it does."""
        height, width = self.picture.height, self.picture.width
        return (height, width) if height and width else None

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask.

        Raises BadSampleError where a category is no class, or an annotation cannot be drawn.
        """
        image = self.image.read_bytes()
        size = polygons.canvas_size(image, self.picture.height, self.picture.width, self.file)
        if size is None:
            return image, b""
        labels = [self._label(annotation) for annotation in self.annotations]
        runs = [self._runs(annotation, size) for annotation in self.annotations]

        def over(n: int) -> tuple[bool, int]:
            return labels[n] != polygons.IGNORE_LABEL, -int(mask.area(runs[n]))

        drawing = np.zeros(size, np.int32)
        for n in sorted(range(len(runs)), key=over):
            drawing[mask.decode(runs[n]) == 1] = n + 1
        return image, polygons.indices(drawing, labels, self.table, self.file)

    def _label(self, annotation: Annotation) -> str:
        if annotation.category_id not in self.categories:
            raise self._bad(annotation, f"category {annotation.category_id}", "one of `categories`")
        return polygons.IGNORE_LABEL if annotation.iscrowd else self.categories[annotation.category_id]

    def _runs(self, annotation: Annotation, size: tuple[int, int]) -> dict:
        """Return the shape as pycocotools' run lengths."""
        shape = annotation.segmentation
        if not shape:
            raise self._bad(annotation, "no segmentation", "polygons or run lengths, not a box alone")
        if isinstance(shape, Runs):
            lengths = shape.lengths()
            if shape.size != size or min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
                found = f"run lengths of {sum(lengths)} pixels for a size of {shape.size}"
                raise self._bad(annotation, found, f"the image's, {size}")
            return mask.frPyObjects({"size": size, "counts": lengths}, *size)
        if any(len(polygon) % 2 for polygon in shape):
            raise self._bad(annotation, "a polygon of an odd number of numbers", "pairs of x and y")
        try:
            clipped = [polygons.outline(polygon, size) for polygon in shape]
        except ValueError as error:
            raise self._bad(annotation, str(error), "finite numbers near the picture") from None
        outlines = [corners.ravel().tolist() for corners in clipped if len(corners) >= 3]
        if not outlines:  # one or two points cover nothing
            return mask.encode(np.zeros(size, np.uint8, order="F"))
        return mask.merge(mask.frPyObjects(outlines, *size))

    def _bad(self, annotation: Annotation, found: str, expected: str) -> BadSampleError:
        return BadSampleError(self.file, f"annotation {annotation.id} has {found}", expected)


def seen(root: Path) -> str | None:
    """Look for the JSON files."""
    files = ", ".join(matching.relative(root, file) for file in _files(root))
    return f"COCO's JSON: {files}" if files else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no file is COCO's, or none is for training."""
    files = _files(root)
    if not files:
        places = "here, in annotations/ or in the folder of a split"
        raise UserError(f"{root}: no JSON file with images, annotations and categories, {places}")
    splits = _splits(root, files)
    found: list[tuple[Split | None, str, Annotated | Problem]] = []
    for file in files:
        part, split = splits.get(file, ("", None))
        found += [(split, f"{part}{stem}", item) for stem, item in _contents(root, file, table)]
    return polygons.drawn(root, found)


def labels(root: Path) -> dict[str, int]:
    """Return the ids of the categories that objects have (see `segpipe.fetch.layouts`)."""
    ids: dict[str, int] = {}
    for dataset in map(read_dataset, _files(root)):
        used = {annotation.category_id for annotation in dataset.annotations if not annotation.iscrowd}
        ids |= {category.name: category.id for category in dataset.categories if category.id in used}
        if any(annotation.iscrowd for annotation in dataset.annotations):
            ids[polygons.IGNORE_LABEL] = 0
    return ids


def read_dataset(file: Path) -> Dataset:
    """Read a JSON file. Raises UserError where it is not COCO's."""
    try:
        return Dataset.model_validate_json(texts.content(file))
    except pydantic.ValidationError as error:
        raise UserError(f"{file}: not COCO's annotations ({texts.first_error(error)})") from None


def _files(root: Path) -> list[Path]:
    """Return the JSON files with objects; files beside `instances_*` are of the same images."""
    folders = [root, root / "annotations", *(root / word for word in matching.SPLIT_WORDS)]
    found = [file for folder in folders for file in sorted(folder.glob("*.json")) if _is_coco(file)]
    return [file for file in found if file.name.startswith("instances")] or found


def _is_coco(file: Path) -> bool:
    start = polygons.head(file)
    keys = (b'"images"', b'"annotations"', b'"categories"')
    is_object = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")  # Label Studio's is a list
    return is_object and b'"shapes"' not in start and any(key in start for key in keys)


def _splits(root: Path, files: list[Path]) -> dict[Path, tuple[str, Split]]:
    """Return the prefix of sample names and the split of each file; nothing for a file alone."""
    if len(files) == 1:
        return {}
    words = {}
    for file in files:
        telling = [file.stem, *([file.parent.name] if file.parent != root else [])]
        tokens = re.findall("[a-z]+", " ".join(telling).lower())
        words[file] = next((token for token in tokens if token in matching.SPLIT_WORDS), "")
    splits = matching.splits_of(word for word in words.values() if word)
    if "" in words.values() or len({*words.values()}) < len(files) or "train" not in splits.values():
        names = ", ".join(matching.relative(root, file) for file in files)
        mend = "have one file each with train, val or test in its name"
        raise UserError(f"{root}: cannot tell the splits of {names}; {mend}")
    return {file: (f"{word}/", splits[word]) for file, word in words.items()}


def _contents(
    root: Path, file: Path, table: ClassTable
) -> Iterator[tuple[PurePosixPath, Annotated | Problem]]:
    """Yield each image of a JSON file by its path without suffix."""
    dataset = read_dataset(file)
    categories = {category.id: category.name for category in dataset.categories}
    of_image: dict[int | str, list[Annotation]] = {picture.id: [] for picture in dataset.images}
    for annotation in dataset.annotations:
        if annotation.image_id not in of_image:
            raise UserError(f"{file}: annotation {annotation.id} is of image {annotation.image_id}, "
                            "which `images` does not have")  # fmt: skip
        of_image[annotation.image_id].append(annotation)
    part = file.stem.removeprefix("instances").strip("_")  # such as train2017
    folders = [file.parent, root / part, root / "images" / part, root / "images", root,
               file.parent / "images"]  # fmt: skip
    for picture in dataset.images:
        paths = (folder / picture.file_name for folder in folders)
        image = next((path.resolve() for path in paths if path.is_file()), None)
        called = f"{matching.relative(root, file)} (image {picture.id})"
        item: Annotated | Problem
        if image:
            item = Annotated(image, picture, of_image[picture.id], categories, table, called)
        else:
            expected = f"it beside the JSON file, in {root} or in its images/"
            item = Problem(f"{called}: {picture.file_name}", "no such image", expected)
        yield PurePosixPath(picture.file_name).with_suffix(""), item
