"""Proposing a class table for masks."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from segpipe.common.classes import ClassTable, MaskValue, SegmentationClass, class_name
from segpipe.common.errors import UserError
from segpipe.fetch.layouts.polygons import IGNORE_LABEL, IGNORED, UNCOVERED
from segpipe.fetch.naming import GREY, free_colours
from segpipe.survey.names import Names
from segpipe.survey.stats import MANY, Counts, SampleStats

_VOID_NAMES = re.compile(r"void|ignored?|unlabel+ed|unknown|dont_?care", re.IGNORECASE)
_VOID_VALUE, _VOID_COLOUR = 255, "#e0e0c0"  # around the objects of Pascal VOC
_DISTINCT = 48  # colours whose three channels differ by this sum can be told apart by eye
_SOFT = 64  # a mask of more values holds no classes
_MOST_CLASSES = 255


@dataclass(frozen=True)
class Found:
    """A mask value: its share of all pixels, and how many masks hold it."""

    share: float
    masks: int


@dataclass(frozen=True)
class Proposal:
    """A class table for the masks that were decoded."""

    kind: str  # how the masks hold classes, for people
    table: ClassTable
    found: dict[MaskValue, Found]


def propose(stats: Sequence[SampleStats], names: Names, all_seen: bool) -> Proposal:
    """Propose a table for masks in files, with the names of a file that came with them.

    Unless the masks are `all_seen`, the table also has the named classes that none of `stats` holds.
    Raises UserError where no table can be made of such masks.
    """
    by_colour = _by_colour(stats)
    counts = [one.colours if by_colour else one.numbers for one in stats]
    _refuse_soft(stats, counts, by_colour)
    found = _found([count for count in counts if count is not None])
    values = sorted(found, key=str if by_colour else None)
    kind = "colours" if by_colour else "two values" if len(values) == 2 else "class numbers"
    files = " or ".join(file for file, _ in Counter(one.kind for one in stats).most_common(3))
    named = {v: class_name(n) for v, n in names.of(values).items()}
    if not all_seen:
        values += [value for value in named if value not in found]
    ignored = [v for v in values if _is_void(v, values, named)]
    classes = [value for value in values if value not in ignored]
    if len(classes) < 2:
        classes, ignored = values, []
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise UserError(
            f"the masks hold {len(classes)} value{'s' * (len(classes) != 1)} "
            f"({', '.join(map(str, classes[:3]))}); expected 2 to {_MOST_CLASSES} classes"
        )
    rows = _rows(classes, named, {} if by_colour else _palette(stats))
    return Proposal(f"{kind} ({files})", ClassTable(tuple(rows), tuple(ignored)), found)


def propose_drawn(stats: Sequence[SampleStats], table: ClassTable) -> Proposal:
    """Propose the table with which the masks, of class indices, were drawn from labels."""
    values = dict(enumerate(table.file_values)) | {IGNORED: IGNORED}
    counts = [one.numbers for one in stats if one.numbers is not None]
    found = _found([{values[int(index)]: n for index, n in one.items()} for one in counts])
    return Proposal("shapes with labels, drawn where they are read", table, found)


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


def _by_colour(stats: Sequence[SampleStats]) -> bool:
    """Return whether to read masks by colour: many have no numbers, or their palettes disagree."""
    only_colours = sum(one.numbers is None for one in stats)
    pairs = {pair for one in stats for pair in one.palette.items()}
    return only_colours > 0.1 * len(stats) or len(pairs) > len({number for number, _ in pairs})


def _refuse_soft(stats: Sequence[SampleStats], counts: Sequence[Counts | None], by_colour: bool) -> None:
    """Raise UserError where masks hold so many values that these cannot be classes."""
    lossy = sum(one.lossy for one in stats)
    what = "colours" if by_colour else "values"
    typical = statistics.median(10**6 if count is None else len(count) for count in counts)
    pixels = Counter[int | str]()
    for count in counts:
        pixels.update(count or {})
    total = len(pixels)
    if typical <= _SOFT and total <= _MOST_CLASSES and not (lossy and total > 32):
        return
    most = ", ".join(str(value) for value, _ in pixels.most_common(4))
    hold = f"{total} {what}, most often {most}" if most else f"more than {MANY} {what} each"
    if lossy:
        raise UserError(
            f"the masks cannot be read: {lossy} of {len(stats)} are JPEG, whose compression changes "
            f"values ({hold}); save masks as PNG, after a threshold where they are noisy already"
        )
    raise UserError(
        f"the masks cannot be read: they hold {hold}; these are no classes but photographs, or masks "
        "with soft edges: save them without antialiasing, as PNG"
    )


def _found(counts: Sequence[Counts]) -> dict[MaskValue, Found]:
    pixels, masks = Counter[MaskValue](), Counter[MaskValue]()
    for count in counts:
        pixels.update(count)
        masks.update(count.keys())
    total = pixels.total()
    return {value: Found(pixels[value] / total, masks[value]) for value in pixels}


def _is_void(value: MaskValue, values: Sequence[MaskValue], named: dict[int | str, str]) -> bool:
    """Return whether a value means that nobody knows what is there."""
    if value in named:
        return bool(_VOID_NAMES.search(named[value]))
    if isinstance(value, str):
        return value == _VOID_COLOUR
    # 255 is void beside small or dense numbers; as one of two values, or after 0 and 127, it is a class.
    others = [int(v) for v in values if v != value]
    dense = bool(others) and (max(others) < 100 or 2 * len(others) > max(others))
    return value == _VOID_VALUE and len(values) > 2 and dense


def _palette(stats: Sequence[SampleStats]) -> dict[int, str]:
    """Return the palette's colours if they are meant for eyes: a grey ramp of 0, 1, 2 is not."""
    palette = {number: colour for one in stats for number, colour in one.palette.items()}
    rgb = [[*bytes.fromhex(colour[1:])] for colour in {*palette.values()}]
    apart = (sum(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in combinations(rgb, 2))
    return palette if min(apart, default=0) >= _DISTINCT else {}


def _rows(
    values: Sequence[MaskValue], named: dict[int | str, str], palette: dict[int, str]
) -> list[SegmentationClass]:
    """Return classes with distinct names and colours."""
    rows: list[SegmentationClass] = []
    binary = len(values) == 2 and 0 in values and not named
    shown = {} if binary else {v: c for v, c in palette.items() if c != "#ffffff"}  # white is ignored
    own = {v: v if isinstance(v, str) else shown.get(v, "") for v in values}
    free = free_colours(own.values())
    for value in values:
        name = named.get(value) or f"class_{str(value).lstrip('#')}"
        if binary:
            name = "background" if value == 0 else "foreground"
        taken = {row.colour for row in rows}
        grey = GREY if name.strip("_") == "background" and GREY not in taken else None
        colour = own[value] if own[value] and own[value] not in taken else grey or next(free)
        names = {row.name for row in rows}
        numbered = (f"{name}_{number}" for number in range(2, len(names) + 2))
        unique = next(one for one in (name, *numbered) if one not in names)
        rows.append(SegmentationClass(unique, value, colour))
    return rows
