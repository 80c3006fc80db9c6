"""Kaggle's run lengths: a CSV file with a row an object, or a row a class, of a picture.

The columns are found by their names: `ImageId, EncodedPixels`, with `ClassId` or without, or one column
for both, `Image_Label` (`x.jpg_Fish`) or `ImageId_ClassId` (`x.jpg_1`). Run lengths are pairs of a first
pixel and a length, counted from 1 down the columns; an empty field and -1 cover nothing. `Height` and
`Width` say which size was drawn on. The class that stands later in the class table lies over the others.
Pictures that no row names are not used.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import lists, matching, pairs, polygons, texts
from segpipe.fetch.layouts.layers import CLASS_ORDER, OBJECT, label_in
from segpipe.fetch.layouts.matching import relative
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import BadSampleError, Mask, Note, Problem, Sample, Samples, Split

csv.field_size_limit(1 << 28)  # a field holds all runs of an object

_COLUMNS = {
    "image": ("imageid", "image_id", "img", "image", "filename", "id"),
    "runs": ("encodedpixels", "encoded_pixels", "rle_mask", "rle"),
    "label": ("classid", "class_id", "class", "label"),
    "both": ("image_label", "imageid_classid"),
    "height": ("height", "image_height", "img_height"),
    "width": ("width", "image_width", "img_width"),
}
"""The usual names of columns, in small letters."""

Row = tuple[str, str]  # a label and run lengths
Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class RunLengths:
    """Content whose mask is drawn where it is read."""

    image: Path
    rows: tuple[Row, ...]
    table: ClassTable
    file: str
    size: Size | None = None  # of the picture, as the CSV file says

    def mask_size(self) -> Size | None:
        """Return the height and width that the file gives the picture, if it does."""
        return self.size

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask. Raises BadSampleError for malformed run lengths."""
        image = self.image.read_bytes()
        height, width = self.size or (None, None)
        size = polygons.canvas_size(image, height, width, self.file)
        if size is None:
            return image, b""
        rows = sorted(self.rows, key=lambda row: self.table.index_of(row[0]) or 0)
        drawing = np.zeros(size[0] * size[1], np.int32)
        for number, (_, runs) in enumerate(rows, 1):
            for start, end in self._spans(runs, len(drawing)):
                drawing[start:end] = number
        down = drawing.reshape(size[::-1]).T
        return image, polygons.indices(down, [label for label, _ in rows], self.table, self.file)

    def _spans(self, runs: str, area: int) -> np.ndarray:
        """Return the first pixel of each run, and the one after the last: int64 [n, 2]."""
        if not re.fullmatch(r"[\d\s]*", runs, re.ASCII):
            raise BadSampleError(self.file, f"run lengths with {runs[:20]!r}", "numbers")
        words = runs.split()
        if any(len(word) > 12 for word in words):
            raise BadSampleError(self.file, "a run beyond the picture", f"pixels 1 to {area}")
        if len(words) % 2:
            raise BadSampleError(self.file, f"{len(words)} numbers", "pairs of first pixel and length")
        starts, lengths = np.array(words, np.int64).reshape(-1, 2).T
        ends = starts - 1 + lengths
        if len(starts) and (starts.min() < 1 or ends.max() > area):
            found = f"a run of pixels {starts.min()} to {ends.max()}"
            raise BadSampleError(self.file, found, f"pixels 1 to {area}, those of the picture")
        if (order := np.argsort(starts)).size and (ends[order][:-1] > (starts - 1)[order][1:]).any():
            expected = "runs apart from each other, each counted from the first pixel"
            raise BadSampleError(self.file, "runs that overlap", expected)
        return np.stack([starts - 1, ends], axis=1)


@dataclass
class _Picture:
    """The rows of one picture."""

    file: str
    rows: list[Row] = field(default_factory=list)
    sizes: set[Size | None] = field(default_factory=set)


def seen(root: Path) -> str | None:
    """Look for a CSV file with run lengths."""
    names = ", ".join(relative(root, path) for path in _files(root))
    return f"run lengths in {names}" if names else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where there is no such CSV file, or one is malformed."""
    if not (files := _files(root)):
        raise UserError(f"{root}: no CSV file with the columns ImageId and EncodedPixels, or the like")
    pictures = _pictures(root)
    parts, drawn, missing = _matched(root, files, pictures)
    if not parts:
        raise UserError(f"{root}: holds none of the {len(missing)} pictures that {files[0].name} names")
    for picture, path in missing.items():
        yield Problem(f"{relative(root, path)} ({picture})", "no such picture", f"it below {root.name}/")
    unused = {path for images in pictures.values() for path in images} - drawn.keys()
    next(iter(parts.values())).unused["pictures that no row names"] = len(unused)
    labels_used = _numbers(label for picture in drawn.values() for label, runs in picture.rows if runs)
    numbers = labels_used if polygons.ids_fit(labels_used.values()) else {}

    def to_sample(
        root: Path, name: str, split: Split | None, image: list[Path], masks: list[Path]
    ) -> Sample | Problem:
        if problem := pairs.incomplete(root, name, image, masks):
            return problem
        picture = drawn[image[0]]
        if len(sizes := picture.sizes - {None}) > 1:
            expected = "one Height and Width for a picture"
            return Problem(picture.file, f"rows of {len(sizes)} sizes", expected)
        labelled = tuple(
            (label_in(table, label, numbers.get(label)), runs) for label, runs in picture.rows if runs
        )
        content = RunLengths(image[0].resolve(), labelled, table, picture.file, next(iter(sizes), None))
        return Sample(name, split, relative(root, image[0]), picture.file, content)

    if len(labels_used) > 1:
        yield Note(CLASS_ORDER)
    yield from pairs.of_parts(root, parts, lists.lists_in(root), to_sample)


def _matched(
    root: Path, files: Sequence[Path], pictures: Mapping[str, list[Path]]
) -> tuple[dict[str, Matched], dict[Path, _Picture], dict[str, Path]]:
    """Return the pictures with rows by part, the rows of each, and the CSV file of each missing one."""
    parts, drawn = dict[str, Matched](), dict[Path, _Picture]()
    missing, parsed = dict[str, Path](), dict[str, matching.File]()
    for path in files:
        for name, row, size in _rows(path, pictures):
            if not (images := _called(pictures, name)):
                missing.setdefault(name, path)
                continue
            if (file := parsed.get(name)) is None:
                file = parsed[name] = matching.parsed(root, images[0])
            part = parts.setdefault(file.part, Matched())
            for side, paths in ((part.images, images), (part.masks, [path])):
                known = side.setdefault(file.name, [])
                known += [other for other in paths if other not in known]
            picture = drawn.setdefault(images[0], _Picture(f"{relative(root, path)} ({name})"))
            picture.rows.append(row)
            picture.sizes.add(size)
    return parts, drawn, missing


def labels(root: Path) -> dict[str, int]:
    """Return the labels of rows with run lengths, with the number of their class."""
    pictures = _pictures(root)
    rows = (row for path in _files(root) for _, row, _ in _rows(path, pictures))
    return _numbers(label for label, runs in rows if runs)


def _numbers(labels: Iterable[str]) -> dict[str, int]:
    """Return the labels in alphabetical order, with the n of `class_n`; other labels have 0."""
    matches = {label: re.fullmatch(r"class_(\d{1,9})", label) for label in sorted({*labels})}
    return {label: int(match[1]) if match else 0 for label, match in matches.items()}


def _pictures(root: Path) -> dict[str, list[Path]]:
    """Return the pictures by each name that a row may use: with folders, with suffix and without."""
    pictures: dict[str, list[Path]] = {}
    for path in filter(matching.is_image, texts.visible(root)):
        if matching.parsed(root, path).word not in matching.MASK_WORDS:
            for name in {relative(root, path), path.name, path.stem}:
                pictures.setdefault(matching.normal(name), []).append(path)
    return pictures


def _called(pictures: Mapping[str, list[Path]], name: str) -> list[Path]:
    """Return the pictures that a row means: another machine's path, or a suffix in other letters."""
    path = texts.local(name)
    ends = ["/".join(path.parts[n:]) for n in range(len(path.parts))]
    bare = [path.stem] if matching.is_image(Path(path)) else []
    return next((pictures[end] for end in (*ends, *bare) if end in pictures), [])


def _files(root: Path) -> list[Path]:
    """Return the CSV files with the columns, without submissions, whose run lengths are not true."""
    tables = (path for path in texts.visible(root, "*.csv") if "submission" not in path.name.lower())
    return [path for path in tables if _columns(next(texts.table(texts.head(path)), []))]


def _columns(header: list[str]) -> dict[str, int]:
    """Return the positions of the columns in a table; nothing where some are missing."""
    words = [word.strip().lower() for word in header]
    positions = {
        column: [words.index(name) for name in names if name in words]
        for column, names in _COLUMNS.items()
    }
    columns = {column: places[0] for column, places in positions.items() if places}
    return columns if "runs" in columns and ("image" in columns or "both" in columns) else {}


def _rows(path: Path, pictures: Mapping[str, list[Path]]) -> Iterator[tuple[str, Row, Size | None]]:
    """Yield what each row calls its picture, its label and run lengths, and the picture's size."""
    try:
        rows = texts.table(texts.read(path))
        columns = _columns(next(rows, []))
        for row in filter(any, rows):
            cells = {column: row[n].strip() for column, n in columns.items() if n < len(row)}
            picture, label = cells.get("image", ""), cells.get("label", "")
            if "both" in cells:
                picture, label = _split(cells["both"], pictures)
            runs = cells.get("runs", "")
            size = _length(cells.get("height", "")), _length(cells.get("width", ""))
            row_of_label = _label(label), "" if runs in ("-1", "nan") else runs
            yield matching.normal(picture), row_of_label, size if all(size) else None
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None


def _split(both: str, pictures: Mapping[str, list[Path]]) -> tuple[str, str]:
    """Split `x.jpg_Sugar_cane` into picture and label, both of which may hold `_` too."""
    places = [place for place, letter in enumerate(both) if letter == "_"]

    def likely(place: int) -> tuple[bool, bool, int]:
        name = matching.normal(both[:place])
        return bool(_called(pictures, name)), matching.is_image(Path(name)), place

    place = max(places, key=likely, default=0)
    return both[:place], both[place:].removeprefix("_")


def _label(text: str) -> str:
    """Return the label of a class; pandas writes the number 1 as `1.0` beside empty cells."""
    match = re.fullmatch(r"(\d+)(\.0*)?", text)
    return f"class_{match[1]}" if match else text or OBJECT


def _length(text: str) -> int:
    """Return a height or width, 0 where there is none; pandas writes `600.0` beside empty cells."""
    match = re.fullmatch(r"(\d{1,6})(\.0*)?", text, re.ASCII)
    return int(match[1]) if match else 0
