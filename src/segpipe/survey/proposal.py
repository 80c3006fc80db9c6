"""Proposes a class table for masks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segpipe.common.classes import ClassTable, MaskValue, SegmentationClass, class_name
from segpipe.fetch.layouts.polygons import IGNORED
from segpipe.fetch.naming import GREY, free_colours
from segpipe.survey import judging, public
from segpipe.survey.masks import Counts, MaskStats
from segpipe.survey.names import Names

_MIXED = "no mask holds both 1 and 255: both are taken as one class"


@dataclass(frozen=True)
class Occurrence:
    """A mask value's share of all pixels, and how many masks hold it."""

    share: float
    masks: int


@dataclass(frozen=True)
class Proposal:
    """A class table for the masks that were decoded."""

    kind: str  # how the masks hold classes, for people
    table: ClassTable
    occurrences: dict[MaskValue, Occurrence]
    notes: tuple[str, ...] = ()  # what was merged or guessed, for people


def propose(
    masks: Sequence[MaskStats], names: Names, all_seen: bool, files: Sequence[str] = ()
) -> Proposal:
    """Propose a table for masks in `files`, with the names of a file that came with them.

    Unless the masks are `all_seen`, the table also has the named classes that none of them holds. Values
    of equal names are one class, and so are those that public tables merge. Raises UserError where no
    table can be made of such masks.
    """
    by_colour = judging.by_colour(masks)
    counts = [mask.colours if by_colour else mask.numbers for mask in masks]
    judging.refuse_soft(masks, counts, by_colour, files)
    known = [count for count in counts if count is not None]
    occurrences = _occurrences(known)
    values = sorted(occurrences, key=str if by_colour else None)
    kind = "colours" if by_colour else "two values" if len(values) == 2 else "class numbers"
    kinds = " or ".join(kind for kind, _ in Counter(mask.kind for mask in masks).most_common(3))
    if not by_colour:
        names = names.in_palette({n: colour for mask in masks for n, colour in mask.palette.items()})
    named = names.of(values) or public.names_by_file(files)
    if not all_seen:
        values += [value for value in named if value not in occurrences]
    table = public.recognised(named)
    mixed = judging.is_mixed_binary(known) and 255 not in named
    if mixed and 1 in named:
        named = {**named, 255: named[1]}
    ignored = [v for v in values if not mixed and _is_ignored(v, values, named, table)]
    if len(values) - len(ignored) < 2:
        ignored = []
    classes = [value for value in values if value not in ignored]
    binary = not named and 0 in classes and (mixed or len(classes) == 2)
    class_of = {value: _class_of(value, named, table, binary) for value in classes}
    rows = _rows(class_of, table, {} if by_colour or binary else judging.shown_palette(masks))
    judging.refuse_few(values, len(rows))
    on_values = (
        _MIXED if mixed else judging.palettes_differ(masks) if by_colour else judging.two_scales(known)
    )
    notes = [*filter(None, [names.remark(values), on_values])]
    if table:
        ignored += [v for v in named if v not in values and not table.class_of(named[v])]
        notes.append(table.note)
    return Proposal(f"{kind} ({kinds})", ClassTable(rows, tuple(ignored)), occurrences, tuple(notes))


def propose_drawn(masks: Sequence[MaskStats], table: ClassTable) -> Proposal:
    """Propose the table with which the masks, of class indices, were drawn from labels.

    All pixels of a class count for its first value.
    """
    values = dict(enumerate(row.values[0] for row in table.classes)) | {IGNORED: IGNORED}
    counts = [mask.numbers for mask in masks if mask.numbers is not None]
    occurrences = _occurrences(
        [{values[int(index)]: n for index, n in count.items()} for count in counts]
    )
    return Proposal("shapes with labels, drawn where they are read", table, occurrences)


def _occurrences(counts: Sequence[Counts]) -> dict[MaskValue, Occurrence]:
    pixels, masks = Counter[MaskValue](), Counter[MaskValue]()
    for count in counts:
        pixels.update(count)
        masks.update(count.keys())
    total = pixels.total()
    return {value: Occurrence(pixels[value] / total, masks[value]) for value in pixels}


def _is_ignored(
    value: MaskValue,
    values: Sequence[MaskValue],
    named: Mapping[MaskValue, str],
    table: public.PublicTable | None,
) -> bool:
    """Return whether a value's class is unknown, or is not scored."""
    if table and value in named:
        return not table.class_of(named[value])
    return judging.is_void(value, values, named)


def _class_of(
    value: MaskValue, named: Mapping[MaskValue, str], table: public.PublicTable | None, binary: bool
) -> str:
    """Return the name of a value's class."""
    if binary:
        return "foreground" if value else "background"
    label = named.get(value, f"class_{str(value).lstrip('#')}")
    return (table and table.class_of(label)) or class_name(label)


def _rows(
    class_of: Mapping[MaskValue, str], table: public.PublicTable | None, palette: Mapping[int, str]
) -> tuple[SegmentationClass, ...]:
    """Return a class for each name, in the order of the values or the public table.

    A class has a distinct colour: that of the public table, of its first value or of the palette.
    """
    values: dict[str, list[MaskValue]] = {name: [] for name in (table.classes if table else ())}
    for value, name in class_of.items():
        values.setdefault(name, []).append(value)
    values = {name: of_class for name, of_class in values.items() if of_class}
    # Ignored pixels are white.
    shown = {value: colour for value, colour in palette.items() if colour != "#ffffff"}
    own = {n: v[0] if isinstance(v[0], str) else shown.get(v[0], "") for n, v in values.items()}
    own |= table.colours if table else {}
    free, rows = free_colours(own.values()), list[SegmentationClass]()
    for name, of_class in values.items():
        used = {row.colour for row in rows}
        grey = GREY if name.strip("_") == "background" and GREY not in used else None
        colour = own[name] if own[name] and own[name] not in used else grey or next(free)
        value_or_values = tuple(of_class) if len(of_class) > 1 else of_class[0]
        rows.append(SegmentationClass(name, value_or_values, colour))
    return tuple(rows)
