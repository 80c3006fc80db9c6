"""From what masks hold to a class table."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from segpipe.common.classes import ClassTable, MaskValue, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch.naming import GREY, class_name, free_colours
from segpipe.survey.looks import MANY, Counts, Look
from segpipe.survey.names import Names, is_void

_VOID_VALUE = 255
_VOID_COLOUR = "#e0e0c0"
"""Around the objects of Pascal VOC."""
_TELLING = 48
"""Sum of the differences of three channels from which colours are told apart."""
_SOFT = 64
"""Values in one mask of which more are no classes."""
_MOST_CLASSES = 255


@dataclass(frozen=True)
class Found:
    """A mask value: its share of all pixels, and how many masks hold it."""

    share: float
    masks: int


@dataclass(frozen=True)
class Proposal:
    """A class table for the masks that were looked at."""

    kind: str
    """How the masks hold classes, for people."""
    table: ClassTable
    found: dict[MaskValue, Found]


def propose(looks: Sequence[Look], names: Names | None, all_seen: bool) -> Proposal:
    """Propose a table for masks in files.

    Args:
        looks: one a mask.
        names: what a file says of the classes.
        all_seen: whether there are no more masks; else named classes count that no mask here holds.

    Raises:
        UserError: no table can be made of such masks.
    """
    by_colour = _by_colour(looks)
    counts = [look.colours if by_colour else look.numbers for look in looks]
    _refuse_soft(looks, counts, by_colour)
    found = _found([count for count in counts if count is not None])
    values = sorted(found, key=str if by_colour else None)
    kind = "colours" if by_colour else "two values" if len(values) == 2 else "class numbers"
    named = {v: class_name(n) for v, n in names.of(values).items()} if names else {}
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
    table = ClassTable(tuple(_rows(classes, named, _palette(looks, by_colour))), tuple(ignored))
    return Proposal(f"{kind} ({_kinds(looks)})", table, found)


def share_out(looks: Sequence[Look], table: ClassTable) -> Proposal:
    """The proposal for masks that were drawn from labels with a table made of these."""
    found = _found([look.numbers for look in looks if look.numbers is not None])
    return Proposal("shapes with labels, drawn where they are read", table, found)


def _by_colour(looks: Sequence[Look]) -> bool:
    """Whether masks are to be read by colour: some can only be, or their palettes disagree."""
    only_colours = sum(look.numbers is None for look in looks)
    colours_of: dict[int, set[str]] = {}
    for look in looks:
        for number, colour in look.palette.items():
            colours_of.setdefault(number, set()).add(colour)
    return only_colours > 0.1 * len(looks) or any(len(found) > 1 for found in colours_of.values())


def _refuse_soft(looks: Sequence[Look], counts: Sequence[Counts | None], by_colour: bool) -> None:
    """Raise UserError where masks hold so many values that these cannot be classes."""
    readable = [count for count in counts if count is not None]
    lossy = sum(look.lossy for look in looks)
    what = "colours" if by_colour else "values"
    typical = statistics.median(len(c) if c is not None else 10**6 for c in counts)
    total = len({value for count in readable for value in count})
    if typical <= _SOFT and total <= _MOST_CLASSES and not (lossy and total > 32):
        return
    tops = Counter[int | str]()
    for count in readable:
        tops.update(count)
    most = ", ".join(str(value) for value, _ in tops.most_common(4))
    hold = f"{total} {what}, most often {most}" if most else f"more than {MANY} {what} each"
    if lossy:
        raise UserError(
            f"the masks cannot be read: {lossy} of {len(looks)} are JPEG, whose compression changes "
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
    """Whether a value says that nobody knows what is there."""
    if value in named:
        return is_void(named[value])
    if isinstance(value, str):
        return value == _VOID_COLOUR
    # 255 beside small or dense numbers; of two values, or of levels such as 0, 127, 255, it is a class.
    others = [int(v) for v in values if v != value]
    dense = bool(others) and (max(others) < 100 or 2 * len(others) > max(others))
    return value == _VOID_VALUE and len(values) > 2 and dense


def _palette(looks: Sequence[Look], by_colour: bool) -> dict[int, str]:
    """The palette's colours, where they are meant for eyes: a grey ramp of 0, 1, 2 is not."""
    palette = {} if by_colour else {n: c for look in looks for n, c in look.palette.items()}
    rgb = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in {*palette.values()}]
    apart = (sum(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in combinations(rgb, 2))
    return palette if min(apart, default=0) >= _TELLING else {}


def _rows(
    values: Sequence[MaskValue], named: dict[int | str, str], palette: dict[int, str]
) -> list[SegmentationClass]:
    """Classes with distinct names and colours."""
    rows: list[SegmentationClass] = []
    binary = len(values) == 2 and 0 in values and not named
    own = {v: v if isinstance(v, str) else palette.get(v, "") for v in values}
    for value, colour in own.items():
        if binary or (colour == "#ffffff" and isinstance(value, int)):  # white: what is ignored
            own[value] = ""
    free = free_colours(own.values())
    for value in values:
        name = named.get(value) or f"class_{str(value).lstrip('#')}"
        if binary:
            name = "background" if value == 0 else "foreground"
        taken = {row.colour for row in rows}
        grey = GREY if name.strip("_") == "background" and GREY not in taken else None
        colour = own[value] if own[value] and own[value] not in taken else grey or next(free)
        rows.append(SegmentationClass(unique(name, [row.name for row in rows]), value, colour))
    return rows


def unique(name: str, taken: Sequence[str]) -> str:
    """The name, with a number where it is taken."""
    number, made = 2, name
    while made in taken:
        number, made = number + 1, f"{name}_{number}"
    return made


def _kinds(looks: Sequence[Look]) -> str:
    return " or ".join(kind for kind, _ in Counter(look.kind for look in looks).most_common(3))
