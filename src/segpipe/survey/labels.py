"""Proposes a class table for shapes with labels."""

from collections.abc import Mapping

from segpipe.common.classes import ClassTable, MaskValue, SegmentationClass, class_name, is_label
from segpipe.common.errors import UserError
from segpipe.fetch.layouts.polygons import IGNORE_LABEL, IGNORED, UNCOVERED, ids_fit
from segpipe.fetch.naming import GREY, free_colours
from segpipe.survey.names import Names


def label_table(ids: Mapping[str, int], names: Names) -> ClassTable:
    """Return a class table for labels, from the layout's `labels` and the names in a file.

    Values are the ids where they fit into a mask, else the labels themselves, so that a class may be
    renamed: in the order of `names`, then in that of `ids`. A label that can be no value (`#1`) gets its
    place in that order. Raises UserError where there is no label, too many, or two give one class.
    A label of spaces is no class: `fetch` refuses the pictures that have it.
    """
    others = ("_background_", IGNORE_LABEL)
    labels = [label for label in ids if label.strip() and label not in others]
    if not labels:
        raise UserError("no shape has a label; draw polygons with labels, or export them")
    if len(labels) > IGNORED - 1:
        raise UserError(f"{len(labels)} labels; a one-byte mask holds {IGNORED - 1} and the background")
    values: dict[str, MaskValue] = {label: ids[label] for label in labels}
    if not ids_fit([ids[label] for label in labels]):
        ordered = [n for n in dict.fromkeys((*names.in_order, *labels)) if n in values]
        values = {n: n if is_label(n) else place for place, n in enumerate(ordered, 1)}
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
