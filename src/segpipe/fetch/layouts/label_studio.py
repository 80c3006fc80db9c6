"""Label Studio's export as JSON or JSON_MIN, with the pictures in the folder (https://labelstud.io).

Regions are drawn in the order of the results, later over earlier, as Label Studio lists them. If a task
has several annotations, the ground truth counts, else the latest; cancelled ones, drafts and predictions
do not. An annotation without regions says that nothing is there; a task without annotation is left out.
Pictures are found by their names, with or without the prefix of an upload. The split is the word
`train`, `val` or `test` in the name of the JSON file or of the picture's folder.
"""

import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.fields import first_error
from segpipe.fetch.layouts import matching, regions, streams, texts
from segpipe.fetch.layouts.brush import Region
from segpipe.fetch.sample import Note, Problem, Samples

_KEYS = ('"completed_by"', '"was_cancelled"', '"annotator"', '"annotation_id"', '"original_width"',
         '"completions"', '"rle"')  # fmt: skip
_USUAL = "image"  # the key of a picture, where nothing else tells it
_BETWEEN = re.compile(r"[\s,]*")

_NOTES = {
    "unlabelled": "tasks without an annotation, left out (predictions and drafts are none): {}",
    "several": "tasks with several annotations, of which the ground truth or the latest counts: {}",
    "empty": "annotations without a region, so nothing is on their pictures: {}",
    "points": "regions that cover no pixels and are not drawn (key points, lines): {}",
    "nameless": "regions without a label, not drawn: {}",
    "labels": "regions with several labels, of which the first counts: {}",
    "open": "polygons that are not closed, filled as if they were: {}",
}


class Result(pydantic.BaseModel):
    """One region of an annotation, or a choice or a text, about the region of its id or the picture."""

    id: int | str | None = None
    to_name: str | None = None  # the tag of the picture
    value: Region = Region()
    original_width: int | None = None
    original_height: int | None = None


class Annotation(pydantic.BaseModel):
    """The regions that one person drew."""

    result: list[Result] | None = None
    was_cancelled: bool | None = False
    skipped: bool | None = False
    ground_truth: bool | None = False
    created_at: str | int | float | None = None
    updated_at: str | int | float | None = None

    @property
    def size(self) -> tuple[int | None, int | None]:
        """The height and width of the picture that was drawn on."""
        sized = [part for result in self.result or () for part in (result, result.value)]
        sizes = [(part.original_height, part.original_width) for part in sized if part.original_width]
        return sizes[0] if sizes else (None, None)


class Task(pydantic.BaseModel):
    """One picture with its annotations."""

    id: int | str | None = None
    data: dict[str, str]  # its texts alone
    annotations: list[Annotation]

    def chosen(self) -> Annotation | None:
        """Return the annotation that counts."""
        kept = [drawn for drawn in self.annotations if not (drawn.was_cancelled or drawn.skipped)]

        def order(n: int) -> tuple[bool, str, int]:
            return bool(kept[n].ground_truth), str(kept[n].updated_at or kept[n].created_at), n

        return kept[max(range(len(kept)), key=order)] if kept else None


def seen(root: Path) -> str | None:
    """Look for the JSON files."""
    files = ", ".join(matching.relative(root, file) for file in _files(root))
    return f"Label Studio's JSON: {files}" if files else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no JSON file is Label Studio's, or one is damaged."""
    pictures, counts = regions.Pictures(root), Counter[str]()
    contents: list[regions.Content] = []
    for file, task in _tasks(root):
        if isinstance(task, Problem):
            contents.append(("", task.file, task))
        elif annotation := task.chosen():
            counts["several"] += len(task.annotations) > 1
            contents.append(_content(file, task, annotation, counts, pictures, table))
        else:
            counts["unlabelled"] += 1
    yield from (Note(text.format(counts[kind])) for kind, text in _NOTES.items() if counts[kind])
    yield from pictures.unused("task of Label Studio's")
    yield from regions.samples(root, contents)


def labels(root: Path) -> dict[str, int]:
    """Return the labels of regions, in alphabetical order (see `segpipe.fetch.layouts`)."""
    tasks = (task for _, task in _tasks(root) if isinstance(task, Task))
    chosen = (annotation for task in tasks if (annotation := task.chosen()))
    used = {area.label for annotation in chosen for area in _areas(annotation, Counter())}
    return dict.fromkeys(sorted(used), 0)


def _files(root: Path) -> Iterator[Path]:
    """Yield Label Studio's files, in the folder itself or one below."""
    for file in texts.visible(root, "*.json"):
        start = texts.head(file) if root in (file.parent, file.parent.parent) else ""
        if any(key in start for key in _KEYS) and '"categories"' not in start:
            yield file


def _tasks(root: Path) -> Iterator[tuple[Path, Task | Problem]]:
    """Yield each task with its file. Raises UserError where a file is damaged, or there is none."""
    files = [*_files(root)]
    if not files:
        raise UserError(f"{root}: no JSON of Label Studio's; export the project as JSON to this folder")
    folders = {file.parent for file in files}
    for file in texts.visible(root, "*.json"):
        if file.parent in folders and file not in files and (reason := streams.lost(file)):
            raise UserError(f"{file}: {reason}")
    for file in files:
        rows: dict[str, Task] = {}  # of JSON_MIN, which has one for each annotation of a task
        for number, entry in enumerate(_entries(file)):
            is_task = isinstance(entry.get("data"), dict)
            try:
                task = Task.model_validate(_of_json(entry) if is_task else _of_row(entry))
            except pydantic.ValidationError as error:
                called = f"{matching.relative(root, file)} (task {entry.get('id')})"
                expected = "a task as Label Studio exports it"
                yield file, Problem(called, first_error(error), expected)
                continue
            if is_task:
                yield file, task
            else:
                key = f"row {number}" if task.id is None else str(task.id)
                rows.setdefault(key, task.model_copy(update={"annotations": []}))
                rows[key].annotations.extend(task.annotations)
        yield from ((file, task) for task in rows.values())


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a list in a JSON file one by one: all at once take ten times its size."""
    text, decoder = texts.read(file), json.JSONDecoder()
    start = _next(text, 0)
    if text[start : start + 1] != "[":  # a task alone
        text = f"[{text}]"
    position = start + 1
    try:
        while text[(position := _next(text, position)) : position + 1] != "]":
            entry, position = decoder.raw_decode(text, position)
            if not isinstance(entry, dict):
                raise ValueError(f"{type(entry).__name__} in place of a task")
            yield entry
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: no whole list of tasks in JSON ({error}); export it again") from None


def _next(text: str, position: int) -> int:
    """Return the position of the next entry, behind spaces and commas."""
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _of_json(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a task of the JSON export in the form of `Task`; old versions say `completions`."""
    annotations = entry.get("annotations", entry.get("completions")) or []
    return {"id": entry.get("id"), "data": _texts(entry["data"]), "annotations": annotations}


def _of_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a row of JSON_MIN, which has regions in lists beside the task's data, likewise."""
    lists = [value for value in entry.values() if isinstance(value, list)]
    values = [element for elements in lists for element in elements]
    result = [{"value": value} for value in values if isinstance(value, dict)]
    times = {key: entry.get(key) for key in ("created_at", "updated_at")}
    is_annotated = entry.get("annotation_id", "") is not None
    annotations = [{"result": result, **times}] if is_annotated else []
    return {"id": entry.get("id"), "data": _texts(entry), "annotations": annotations}


def _texts(data: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in data.items() if isinstance(value, str)}


def _areas(annotation: Annotation, counts: Counter[str]) -> list[Region]:
    """Return the regions that are drawn, in their order, and count what the notes tell."""
    results = annotation.result or []
    labelled = {result.id for result in results if result.value.labels} - {None}
    areas = []
    for result in results:
        region = result.value
        if not region.labels:  # `Labels` beside `Brush` repeat a region, with its id and the label
            counts["nameless"] += region.is_area and result.id not in labelled
        elif not region.is_area:
            counts["points"] += 1
        else:
            counts["labels"] += len(region.labels) > 1
            counts["open"] += region.points is not None and region.closed is False
            areas.append(region)
    counts["empty"] += not areas
    return areas


def _content(
    file: Path,
    task: Task,
    annotation: Annotation,
    counts: Counter[str],
    pictures: regions.Pictures,
    table: ClassTable,
) -> regions.Content:
    called = f"{matching.relative(pictures.root, file)} (task {task.id})"
    areas, (height, width) = _areas(annotation, counts), annotation.size
    named = {key: _path(text) for key, text in task.data.items()}
    paths = {key: path for key, path in named.items() if matching.is_image(Path(path.name))}
    places = {key: pictures.one(path, file.parent, called) for key, path in paths.items()}
    drawn_on = {r.to_name for r in annotation.result or () if r.value.labels and r.value.is_area}
    image = _drawn_on(places, drawn_on, called)
    if isinstance(image, Problem):
        return "", called, image
    stem = matching.without_suffix(pictures.root, image)
    word = matching.split_word(file.stem) or matching.split_word(*stem.split("/")[:-1])
    return word, stem, regions.Annotated(image.resolve(), height, width, areas, table, called)


def _drawn_on(
    places: Mapping[str, Path | Problem], names: set[str | None], called: str
) -> Path | Problem:
    """Return the picture of a task that regions are on, which call it by `names`.

    They give the name of its tag in the labelling interface, which an export lacks: it tells one of
    several pictures only where it is also the key of one, as in Label Studio's own templates.
    """
    if not places:
        return Problem(called, "no name of a picture in its data", "one picture a task")
    if len(names) > 1:
        return Problem(called, f"regions on {len(names)} pictures", "one picture a task")
    name = next(iter(names), None)
    if (key := name or _USUAL) in places:
        return places[key]
    there = {place: None for place in places.values() if isinstance(place, Path)}
    if len(there) > 1:
        on = f"regions on {name!r}" if name else "nothing that says which was drawn on"
        found = f"{len(there)} pictures ({', '.join(places)}), and {on}"
        return Problem(called, found, "one picture a task, or regions on one of these names")
    return next(iter(there or places.values()))


def _path(text: str) -> PurePosixPath:
    """Return the path in an address: `/data/upload/1/...`, `/data/local-files/?d=...`, `s3://...`."""
    try:
        address = urllib.parse.urlsplit(text)
        paths = urllib.parse.parse_qs(address.query).get("d", [])
    except ValueError:  # no address after all
        return texts.local(text)
    return texts.local(paths[0] if paths else urllib.parse.unquote(address.path))
