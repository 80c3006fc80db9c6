"""Label Studio's export of brush labels as PNG, without its JSON: several masks a picture.

`task-12-annotation-7-by-NAME-tag-CLASS-0.png` is a region of task 12. The files do not say which picture
a task has: it is the one called `12` or `task-12` here. With the JSON export in the folder, the layout
`label_studio` reads the same masks from there, by the names that the pictures have. Only the latest
annotation of a task counts. The files do not say their order across classes either: regions are drawn by
the names of their classes, then by their numbers.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import brush, matching, regions, texts
from segpipe.fetch.sample import Note, Problem, Samples

_MASK = re.compile(r"task-(\d+)-annotation-(\d+)-by-[^-]*-[^-]+-(.+)-(\d+)\.png")
_PICTURE = re.compile(r"(?:task[-_ ]?)?0*(\d+)")
_MEND = "call each picture task-N, or export the project as JSON too, which says whose each task is"


@dataclass(frozen=True)
class Stencil:
    """A region in a file of its own."""

    path: Path
    label: str
    number: int  # among the regions of its label

    def draw(self, drawing: np.ndarray, number: int) -> None:
        """Set its pixels to `number` (see `regions.Region`)."""
        height, width = drawing.shape
        drawing[brush.stencil(self.path.read_bytes(), height, width)] = number


def seen(root: Path) -> str | None:
    """Look for masks of regions."""
    count = len(_masks(root))
    return f"Label Studio's masks in PNG, of {count} tasks" if count else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where there is no mask, or no picture of any task."""
    masks, images = _masks(root), defaultdict[int, list[Path]](list)
    pictures = list(regions.pictures_in(root))
    for path in pictures:
        if number := _PICTURE.fullmatch(path.stem):
            images[int(number[1])].append(path)
    if not masks:
        raise UserError(f"{root}: no mask task-N-annotation-N-by-NAME-TAG-CLASS-N.png of Label Studio's")
    if not masks.keys() & images.keys():
        raise UserError(f"{root}: no picture of task {min(masks)} or any other; {_MEND}")
    if several := sum(len(annotations) > 1 for annotations in masks.values()):
        yield Note(f"tasks with several annotations, of which the latest counts: {several}")
    if other := len(pictures) - sum(len(images[task]) for task in masks):
        yield Note(f"pictures of tasks without a mask, left out: {other}")
    contents: list[regions.Content] = []
    for task, annotations in masks.items():
        latest = annotations[max(annotations)]
        stencils = sorted(latest, key=lambda stencil: (stencil.label, stencil.number))
        called = matching.relative(root.resolve(), stencils[0].path)
        if len(images[task]) != 1:
            there = " and ".join(matching.relative(root, path) for path in images[task])
            problem = Problem(called, there or "no picture", f"one picture; {_MEND}")
            contents.append(("", called, problem))
            continue
        name = matching.without_suffix(root, images[task][0])
        content = regions.Annotated(images[task][0].resolve(), None, None, stencils, table, called)
        contents.append((matching.split_word(*name.split("/")[:-1]), name, content))
    yield from regions.samples(root, contents)


def labels(root: Path) -> dict[str, int]:
    """Return the labels, in alphabetical order (see `segpipe.fetch.layouts`)."""
    annotations = [task[max(task)] for task in _masks(root).values()]
    return dict.fromkeys(sorted({stencil.label for stencils in annotations for stencil in stencils}), 0)


def _masks(root: Path) -> dict[int, dict[int, list[Stencil]]]:
    """Return the masks by task and annotation."""
    found = defaultdict[int, dict[int, list[Stencil]]](lambda: defaultdict(list))
    for path in texts.visible(root, "task-*.png"):
        if match := _MASK.fullmatch(path.name):
            task, annotation, label, number = match.groups()
            found[int(task)][int(annotation)].append(Stencil(path.resolve(), label, int(number)))
    return found
