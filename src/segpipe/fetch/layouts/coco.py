"""COCO's JSON: `images`, `annotations` with polygons or run lengths, `categories`.

The format of https://cocodataset.org/#format-data, as `annotations/instances_train2017.json`, as
`_annotations.coco.json` in the folder of each split, or as any one JSON file. The split of a file is the
word `train`, `val` or `test` in its name or folder; one file alone is split by hash of the image's name.
Objects lie over crowd regions, which are ignored, and small objects over large ones.
"""

import functools
import posixpath
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.fields import first_error
from segpipe.fetch.layouts import matching, polygons, streams, texts
from segpipe.fetch.layouts.coco_objects import Annotated, box_of, is_empty
from segpipe.fetch.layouts.coco_pictures import Named, located, unnamed
from segpipe.fetch.sample import Note, Problem, Samples, Split

_KEYS = ("images", "annotations", "categories")
_MOST = 600  # MB of a file: its annotations stay in memory as text, 1.4 bytes a byte


class Picture(pydantic.BaseModel):
    """One image."""

    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class Category(pydantic.BaseModel):
    """A kind of object."""

    id: int | str
    name: str


@dataclass
class Dataset:
    """The parts of a file that are read; ids are texts, as some tools write 7 and '7' for one thing."""

    pictures: list[Picture] = field(default_factory=list)
    categories: dict[str, Category] = field(default_factory=dict)
    annotations: dict[str, list[bytes]] = field(default_factory=dict)  # JSON, by the image's id
    used: Counter[str] = field(default_factory=Counter)  # annotations by category, without crowds
    boxes: dict[str, array] = field(default_factory=dict)  # of polygons, four numbers each, likewise
    crowds: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def seen(root: Path) -> str | None:
    """Look for the JSON files."""
    files = ", ".join(matching.relative(root, file) for file in _files(root))
    return f"COCO's JSON: {files}" if files else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no file is COCO's, or none is for training."""
    splits, notes = _splits(root)
    yield from notes
    named, moved = Named(set), list[str]()
    for file, (part, split) in splits.items():
        contents = _contents(root, file, table, named, moved)
        named_contents = ((split, f"{part}{stem}", content) for stem, content in contents)
        yield from polygons.drawn(root, named_contents)
        yield from read_dataset(root, file).notes
    if moved:
        found = f"{len(moved)} pictures are found by the end of the path in the JSON file"
        yield Note(f"{found}, as {moved[0]}: look at one, if that is no path of another machine")
    yield from unnamed(root, named)


def labels(root: Path) -> dict[str, int]:
    """Return the ids of the categories that objects have (see `segpipe.fetch.layouts`).

    Raises UserError where there are crowd regions alone.
    """
    ids: dict[str, int] = {}
    datasets = [read_dataset(root, file) for file in _splits(root)[0]]
    if (crowds := sum(dataset.crowds for dataset in datasets)) and not any(d.used for d in datasets):
        raise UserError(f"{root}: holds no object, as {_crowded(crowds)}")
    for dataset in datasets:
        for number, category in dataset.categories.items():
            if dataset.used[number]:
                ids.setdefault(category.name, int(number) if number.isdecimal() else 0)
        if dataset.crowds or dataset.used.keys() - dataset.categories.keys():
            ids[polygons.IGNORE_LABEL] = 0
    return ids


def read_dataset(root: Path, file: Path) -> Dataset:
    """Read a JSON file, once for each state of it. Raises UserError where it is not COCO's."""
    stat = file.stat()
    if stat.st_size > _MOST * 10**6:
        size = f"{stat.st_size / 1e6:,.0f} MB"
        raise UserError(f"{file}: {size}; expected at most {_MOST} MB; split it into several files")
    return _read(root, file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read(root: Path, file: Path, size: int, modified: int) -> Dataset:
    dataset, name = Dataset(), matching.relative(root, file)
    counted = Counter[str]()
    try:
        for key, value, text in streams.elements(file, _KEYS):
            if key == "annotations":
                _take_annotation(dataset, value, text, counted)
            elif key == "categories":
                _take_category(dataset, value)
            else:
                _take_picture(dataset, value, name)
    except streams.MalformedError as error:
        raise UserError(f"{file}: not COCO's annotations ({error})") from None
    known = {str(picture.id) for picture in dataset.pictures}
    orphans = sum(len(shapes) for image, shapes in dataset.annotations.items() if image not in known)
    if orphans and orphans == sum(map(len, dataset.annotations.values())) and known:
        raise UserError(
            f"{file}: none of its {orphans} annotations is of one of its {len(known)} images"
        )
    dataset.notes += [Note(f"{name}: {remark}") for remark in _remarks(dataset, orphans, counted)]
    return dataset


def _take_annotation(dataset: Dataset, value: Any, text: str, counted: Counter[str]) -> None:
    if not isinstance(value, dict):
        raise streams.MalformedError(f"an annotation that is no object: {text[:40]}")
    if "segments_info" in value:
        mend = "use the files of instances"
        raise streams.MalformedError(f"panoptic, with its segments in PNG files; {mend}")
    if is_empty(value):
        counted["empty"] += 1
        return
    if _id(value.get("iscrowd") or 0) != "0":  # some tools write it as text
        dataset.crowds += 1
    elif "category_id" in value:
        dataset.used[_id(value["category_id"])] += 1
    image = _id(value.get("image_id"))
    dataset.annotations.setdefault(image, []).append(text.encode())
    dataset.boxes.setdefault(image, array("d")).extend(box_of(value))


def _id(value: Any) -> str:
    """Return an id as text; pandas writes whole numbers as 7.0 beside empty cells."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _take_category(dataset: Dataset, value: Any) -> None:
    try:
        category = Category.model_validate(value)
    except pydantic.ValidationError as error:
        raise streams.MalformedError(f"categories: {first_error(error)}") from None
    if str(category.id) in dataset.categories:
        raise streams.MalformedError(f"two categories of id {category.id}")
    dataset.categories[str(category.id)] = category


def _take_picture(dataset: Dataset, value: Any, file: str) -> None:
    try:
        picture = Picture.model_validate(value)
    except pydantic.ValidationError as error:
        number = len(dataset.pictures) + len(dataset.problems) + 1
        found = f"no image of COCO's ({first_error(error)})"
        dataset.problems.append(Problem(f"{file} (`images`, {number})", found, "id and file_name"))
    else:
        dataset.pictures.append(picture)


def _remarks(dataset: Dataset, orphans: int, counted: Counter[str]) -> Iterator[str]:
    """Yield remarks on what is left out, guessed or merged."""
    if bare := sum(str(picture.id) not in dataset.annotations for picture in dataset.pictures):
        yield f"{bare} of {len(dataset.pictures)} images have no annotation: nothing is on them"
    if orphans:
        yield f"{orphans} annotations are of images that `images` lacks; they are left out"
    if counted["empty"]:
        yield f"{counted['empty']} annotations cover nothing (fewer than three points)"
    if dataset.crowds:
        yield _crowded(dataset.crowds)
    if outside := sum(_outside(dataset, picture) for picture in dataset.pictures):
        yield f"{outside} annotations lie outside of their images: they cover nothing"
    if lost := dataset.used.keys() - dataset.categories.keys():
        count, ids = sum(dataset.used[number] for number in lost), ", ".join(sorted(lost)[:10])
        yield f"{count} annotations are of categories that `categories` lacks ({ids}); they are ignored"
    names = Counter(category.name for category in dataset.categories.values())
    for name in (name for name, count in names.items() if count > 1):
        same = (n for n, category in dataset.categories.items() if category.name == name)
        yield f"the categories {', '.join(same)} are all called {name!r}: they are one class"


def _crowded(count: int) -> str:
    mend = "CVAT marks every mask so: set iscrowd to 0 where they are objects"
    return f"{count} annotations are crowd regions (iscrowd is 1), which are ignored; {mend}"


def _outside(dataset: Dataset, picture: Picture) -> int:
    """Count the annotations of a picture that lie wholly outside of it."""
    boxes = np.array(dataset.boxes.get(str(picture.id), ())).reshape(-1, 4)
    return polygons.outside(boxes, picture.height, picture.width)


def _files(root: Path) -> list[Path]:
    """Return the JSON files with objects; files beside `instances_*` are of the same images."""
    files = [*filter(is_coco, _json_files(root))]
    return [file for file in files if _of_instances(file)] or files


def _json_files(root: Path) -> list[Path]:
    known = ("annotations", *matching.SPLIT_WORDS)
    below = sorted(path for path in root.iterdir() if path.name.lower() in known and path.is_dir())
    listed = (file for folder in (root, *below) for file in sorted(folder.iterdir()))
    return [file for file in listed if file.suffix.lower() == ".json" and not file.name.startswith(".")]


def _of_instances(file: Path) -> bool:
    return file.name.lower().startswith("instances")


def is_coco(file: Path) -> bool:
    """Return whether a JSON file has lists of images, annotations or categories, and not of shapes.

    Other tools write one file a picture, with `annotations` of their own that name no image.
    """
    key = streams.first_list(file, ("shapes", *_KEYS))
    if key != "annotations":
        return key in _KEYS
    try:
        first = next((value for _, value, _ in streams.elements(file, (key,))), {"image_id": 0})
    except streams.MalformedError:
        return True
    return isinstance(first, dict) and "image_id" in first


def _splits(root: Path) -> tuple[dict[Path, tuple[str, Split | None]], list[Note]]:
    """Return the prefix of sample names and the split of each file, and notes on files left out."""
    candidates = _files(root)
    if not candidates:
        for file in _json_files(root):
            if reason := streams.lost(file):
                raise UserError(f"{file}: {reason}")
        places = "here, in annotations/ or in the folder of a split"
        raise UserError(f"{root}: no JSON file with images, annotations and categories, {places}")
    _refuse_lost(root, candidates)
    files = _annotated(root, candidates)
    unused = [matching.relative(root, file) for file in candidates if file not in files]
    notes = [Note(f"{file}: not used, as none of its images has an annotation") for file in unused]
    if len(files) == 1:
        return {files[0]: ("", None)}, notes
    words = {file: word for file in files if (word := _word(root, file))}
    splits = matching.splits_of(words.values())
    if len(splits) < 2 or len(splits) < len(words) or "train" not in splits.values():
        names = ", ".join(matching.relative(root, file) for file in files)
        mend = "have one file each with train, val or test in its name"
        raise UserError(f"{root}: cannot tell the splits of {names}; {mend}")
    others = ", ".join(matching.relative(root, file) for file in files if file not in words)
    notes += [Note(f"{others} has no train, val or test in its name; it is left out")] if others else []
    return {file: (f"{word}/", splits[word]) for file, word in words.items()}, notes


def _word(root: Path, file: Path) -> str:
    """Return the word for a split in the name of a file, or of its folder."""
    return matching.split_word(file.stem, *([file.parent.name] if file.parent != root else []))


def _annotated(root: Path, files: list[Path]) -> list[Path]:
    """Return the files without splits that have no annotation: their pictures would be background."""
    bare = {file for file in files if _word(root, file) and not read_dataset(root, file).annotations}
    return [file for file in files if file not in bare] or files


def _refuse_lost(root: Path, files: list[Path]) -> None:
    """Raise UserError where the file of a split is damaged: its pictures would vanish with it."""
    for file in _json_files(root):
        beside = _of_instances(file) or not _of_instances(files[0])
        if file not in files and beside and _word(root, file) and (reason := streams.lost(file)):
            raise UserError(f"{file}: {reason}")


def _contents(
    root: Path, file: Path, table: ClassTable, named: Named, moved: list[str]
) -> Iterator[tuple[str, Annotated | Problem]]:
    """Yield each image of a JSON file by its path without suffix; add those that exist to `named`.

    Paths of which only the end is there are added to `moved`.
    """
    dataset, called = read_dataset(root, file), matching.relative(root, file)
    categories = {number: category.name for number, category in dataset.categories.items()}
    part = file.stem.removeprefix("instances").strip("_")  # such as train2017
    folders = [file.parent, root / part, root / "images" / part, root / "images", root,
               file.parent / "images", root / "data", file.parent / "data"]  # fmt: skip
    yield from (("", problem) for problem in dataset.problems)
    ids, stems = set[str](), dict[str, str]()
    paths = [texts.local(picture.file_name) for picture in dataset.pictures]
    for picture, (name, images) in zip(dataset.pictures, located(paths, folders), strict=True):
        stem, number = posixpath.splitext(name)[0], str(picture.id)
        where = f"{called} (image {number})"
        image = images[0] if images else None
        is_moved = name != texts.local(picture.file_name).as_posix()
        twice = is_moved and any(path.name in named[path.parent] for path in images)
        for path in images:
            named[path.parent].add(path.name)
        moved += [picture.file_name] * is_moved
        item: Annotated | Problem
        if number in ids:
            item = Problem(f"{where}: {name}", "the id of another image too", "an id for each image")
        elif stem in stems:
            item = Problem(f"{where}: {name}", f"a duplicate name, as {stems[stem]}", "every name once")
        elif twice:
            item = Problem(
                f"{where}: {picture.file_name}", f"{name}, as another image", "one of its own"
            )
        elif len(images) > 1:
            several = " and ".join(matching.relative(root, path) for path in images)
            item = Problem(f"{where}: {picture.file_name}", several, "one picture whose path ends so")
        elif image:
            shapes = tuple(dataset.annotations.get(number, ()))
            item = Annotated(
                image.resolve(), picture.height, picture.width, shapes, categories, table, where
            )
        else:
            expected = f"it beside the JSON file, in {root} or in its images/"
            item = Problem(f"{where}: {picture.file_name}", "no such image", expected)
        ids.add(number)
        stems.setdefault(stem, name)
        yield stem, item
