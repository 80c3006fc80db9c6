"""Keeps people's own rows of a class table when the same folder is surveyed again."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from segpipe.common.classes import REST, ClassTable, MaskValue, SegmentationClass, class_name, is_colour
from segpipe.fetch.layouts.polygons import UNCOVERED
from segpipe.fetch.naming import free_colours

_MADE_UP = re.compile("class_[0-9a-f]+")  # the names of `init-data` for classes without a name


def keep_values(proposed: ClassTable, before: ClassTable, all_seen: bool = True) -> ClassTable:
    """Return a proposed table for masks with the rows and ignored values of an earlier one.

    A row is kept where the masks hold one of its values, or where not all masks were seen. Values
    without such a row keep the proposed ones.
    """
    before = _in_small_letters(before)
    values = {*proposed.values}
    if not values.intersection(before.values):
        return proposed
    kept = [
        row
        for row in before.classes
        if not all_seen or REST in row.values or values.intersection(row.values)
    ]
    name_of = {value: row.name for row in proposed.classes for value in row.values}
    kept_names = {row.name for row in kept}
    kept = [
        row if (name := name_of.get(row.values[0])) is None or name in kept_names else _named(row, name)
        for row in kept
    ]
    known = {value for row in kept for value in row.values} | {*before.ignore}
    left = ((row, tuple(v for v in row.values if v not in known)) for row in proposed.classes)
    new = [dataclasses.replace(row, value=v if len(v) > 1 else v[0]) for row, v in left if v]
    ignore = [*before.ignore, *(value for value in proposed.ignore if value not in known)]
    return _joined(kept, [] if before.rest is not None else new, ignore)


def keep_labels(proposed: ClassTable, before: ClassTable) -> ClassTable:
    """Return a proposed table for labels of shapes with the rows of an earlier one.

    A row is kept if its name or one of its values is a label. A row without a label counts as renamed
    if one of its values is the number of a proposed row: it gets that row's label as a value.
    """
    before = _in_small_letters(before)
    rows_before = {row.name: _row_of(row.name, before) for row in proposed.classes}
    kept = {row.name for row in rows_before.values() if row}
    ignored = {class_name(value) for value in before.ignore if isinstance(value, str)}
    renamed: dict[str, SegmentationClass] = {}
    new = []
    for row in proposed.classes:
        numbered = next((b for b in before.classes if row.value in b.values), None)
        if rows_before[row.name] or row.name in ignored:
            continue
        if numbered and numbered.name not in kept:
            label = (row.name,) if row.value != UNCOVERED else ()
            so_far = renamed.get(numbered.name, numbered)
            renamed[numbered.name] = dataclasses.replace(so_far, value=(*so_far.values, *label))
        elif before.rest is None:
            new.append(row)
    if not kept | renamed.keys():
        return proposed
    rows = [renamed.get(row.name, row) for row in before.classes]
    rows = [row for row in rows if row.name in kept | renamed.keys() or REST in row.values]
    known = {value for row in rows for value in row.values} | {*before.ignore}
    free = (number for number in range(1, 255) if number not in known and number not in proposed.values)
    new = [row if row.value not in known else dataclasses.replace(row, value=next(free)) for row in new]
    ignore = [*before.ignore, *(value for value in proposed.ignore if value not in known)]
    return _joined(rows, new, ignore)


def _row_of(name: str, table: ClassTable) -> SegmentationClass | None:
    """Return the row whose name, or one of whose values, is a label."""
    for row in table.classes:
        if name in (row.name, *(class_name(value) for value in row.values if isinstance(value, str))):
            return row
    return None


def _in_small_letters(table: ClassTable) -> ClassTable:
    """Return a table with its colours in small letters, as proposed ones are."""

    def lower(value: MaskValue) -> MaskValue:
        return str(value).lower() if is_colour(value) else value

    rows = []
    for row in table.classes:
        values = tuple(map(lower, row.values))
        value = values if isinstance(row.value, tuple) else values[0]
        rows.append(SegmentationClass(row.name, value, row.colour.lower()))
    return ClassTable(tuple(rows), tuple(map(lower, table.ignore)))


def _named(row: SegmentationClass, name: str) -> SegmentationClass:
    return dataclasses.replace(row, name=name) if _MADE_UP.fullmatch(row.name) else row


def _joined(
    kept: Sequence[SegmentationClass], new: Iterable[SegmentationClass], ignore: Sequence[MaskValue]
) -> ClassTable:
    """Return a table of kept rows and new ones; a new row gets a name and a colour that are free."""
    rows = [*kept]
    colours = free_colours([row.colour for row in (*kept, *new)])
    for row in new:
        names = {other.name for other in rows}
        numbered = (f"{row.name}_{number}" for number in range(2, len(names) + 3))
        name = next(name for name in (row.name, *numbered) if name not in names)
        is_taken = row.colour in {other.colour for other in rows}
        colour = next(colours) if is_taken else row.colour
        rows.append(dataclasses.replace(row, name=name, colour=colour))
    return ClassTable(tuple(rows), tuple(ignore))
