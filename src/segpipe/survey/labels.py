"""A class table for labels, which have no values of their own."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.progress import track

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.parallel import ordered_map
from segpipe.fetch.layouts import coco, labelme
from segpipe.fetch.layouts.polygons import IGNORED, UNCOVERED
from segpipe.fetch.naming import GREY, class_name, free_colours
from segpipe.survey.names import Names

_BACKGROUND, _IGNORE = "_background_", "__ignore__"


def coco_table(root: Path) -> ClassTable:
    """The categories with their ids as values, or counted from 1 where ids do not fit into a mask."""
    ids, crowds = coco.labels(root)
    return _table(ids, crowds)


def labelme_table(root: Path, names: Names | None) -> ClassTable:
    """The labels, numbered from 1 in the order of `labels.txt`, or in that of the alphabet."""
    files = track([*labelme.annotation_files(root)], "Reading labels")
    found = {label for labels in ordered_map(labelme.labels_in, files) for label in labels}
    listed = names.in_order if names else []
    ordered = [label for label in listed if label in found] + sorted(found - {*listed})
    return _table(
        {label: 0 for label in ordered if label not in (_BACKGROUND, _IGNORE)}, _IGNORE in found
    )


def _table(ids: Mapping[str, int], ignores: bool) -> ClassTable:
    if not ids:
        raise UserError("no shape has a label; draw polygons with labels, or export them")
    if len(ids) > IGNORED - 1:
        raise UserError(f"{len(ids)} labels; a mask of one byte holds {IGNORED - 1} and the background")
    values = list(ids.values())
    fit = len({*values}) == len(values) and min(values) > UNCOVERED and max(values) < IGNORED
    _refuse_equal(ids)
    colours = free_colours()
    rows = [SegmentationClass("background", UNCOVERED, GREY)] * ("background" not in ids)
    rows += [
        SegmentationClass(class_name(label), value if fit else number, next(colours))
        for number, (label, value) in enumerate(ids.items(), 1)
    ]
    return ClassTable(tuple(rows), (IGNORED,) if ignores else ())


def _refuse_equal(labels: Iterable[str]) -> None:
    """Two labels that are one class once written as its name."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(class_name(label), label)
        if other != label:
            name = class_name(label)
            raise UserError(
                f"the labels {other!r} and {label!r} both give the class {name!r}; rename one"
            )
