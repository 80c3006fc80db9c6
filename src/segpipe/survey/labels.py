"""Proposing a class table for shapes with labels."""

from collections.abc import Mapping

from segpipe.common.classes import ClassTable, SegmentationClass, class_name
from segpipe.common.errors import UserError
from segpipe.fetch.layouts.polygons import IGNORE_LABEL, IGNORED, UNCOVERED
from segpipe.fetch.naming import GREY, free_colours
from segpipe.survey.names import Names


def label_table(ids: Mapping[str, int], names: Names) -> ClassTable:
    """Return a class table for labels, from the layout's `labels` and the names in a file.

    Values are the ids. Where ids do not fit into a mask, values count from 1: in the order of `names`,
    then in that of `ids`. Raises UserError where there is no label, too many, or two give one class.
    """
    labels = [label for label in ids if label not in ("_background_", IGNORE_LABEL)]
    if not labels:
        raise UserError("no shape has a label; draw polygons with labels, or export them")
    if len(labels) > IGNORED - 1:
        raise UserError(f"{len(labels)} labels; a one-byte mask holds {IGNORED - 1} and the background")
    values = {label: ids[label] for label in labels}
    valid = range(UNCOVERED + 1, IGNORED)
    if len({*values.values()}) < len(labels) or not all(value in valid for value in values.values()):
        ordered = [n for n in dict.fromkeys((*names.in_order, *labels)) if n in values]
        values = {label: number for number, label in enumerate(ordered, 1)}
    label_of: dict[str, str] = {}
    for label in values:
        name = class_name(label)
        if (other := label_of.setdefault(name, label)) != label:
            both = f"the labels {other!r} and {label!r}"
            raise UserError(f"{both} both give the class {name!r}; rename one")
    rows = [SegmentationClass("background", UNCOVERED, GREY)] * ("background" not in label_of)
    for (name, label), colour in zip(label_of.items(), free_colours(), strict=False):
        rows.append(SegmentationClass(name, values[label], colour))
    return ClassTable(tuple(rows), (IGNORED,) if IGNORE_LABEL in ids else ())
