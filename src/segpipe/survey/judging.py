"""Judges masks: whether they hold classes at all, as numbers or colours, and which values are void."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from segpipe.common.classes import MaskValue
from segpipe.common.errors import UserError
from segpipe.survey.masks import MANY, Counts, MaskStats

MOST_CLASSES = 255
_VOID_NAMES = re.compile(
    r"(?<![^\W\d_])(void|ignored?|unlabel+ed|unknown|dont_?care)(?![^\W\d_])", re.IGNORECASE
)  # not within a word: `avoid`
_VOID_VALUE, _VOID_COLOUR = 255, "#e0e0c0"  # around the objects of Pascal VOC
_DISTINCT = 48  # colours whose three channels differ by this sum can be told apart by eye
_SOFT = 64  # a mask of more values holds no classes
_TINY, _MANY_TINY = 0.002, 6  # a mask of so many values below this share of its pixels has soft edges
_RARE, _FEWEST_STEPS, _APART = 0.01, 3, 64  # steps of a soft edge: share of the pixels, count, distance


def by_colour(masks: Sequence[MaskStats]) -> bool:
    """Return whether to read masks by colour: their palettes disagree, or some have no numbers.

    A few masks without numbers are bad samples, unless all masks are RGB and the others happen to be
    grey.
    """
    only_colours = sum(mask.numbers is None for mask in masks)
    in_rgb = all(mask.colours and mask.kind.lower().endswith("rgb") for mask in masks)
    pairs = {pair for mask in masks for pair in mask.palette.items()}
    many = only_colours > (0 if in_rgb else 0.1 * len(masks))
    return many or len(pairs) > len({number for number, _ in pairs})


def palettes_differ(masks: Sequence[MaskStats]) -> str:
    """Return a note where palettes give one number several colours, and no colour several numbers."""
    pairs = {pair for mask in masks for pair in mask.palette.items()}
    numbers, colours = ({pair[side] for pair in pairs} for side in (0, 1))
    if len(colours) <= len(numbers):
        return ""
    count = f"palettes give {len(numbers)} numbers {len(colours)} colours, and the colours count"
    return f"{count}; if the numbers are the classes, save all masks with one palette"


def two_scales(counts: Sequence[Counts]) -> str:
    """Return a note where masks with the highest value share no value but 0 with the others.

    Some may hold classes as 0, 1, 2 and the others as 0, 127, 255, as tools stretch them for viewers.
    """
    held = [{int(value) for value in count} - {0} for count in counts]
    values = {value for of_mask in held for value in of_mask}
    top = max(values, default=0)
    high = {value for of_mask in held if top in of_mask for value in of_mask}
    low = sorted({value for of_mask in held if top not in of_mask for value in of_mask})
    if not low or high.intersection(low) or top <= 2 * len(values):
        return ""
    number = sum(top in of_mask for of_mask in held)
    others = ", ".join(map(str, low[:5])) + " ..." * (len(low) > 5)
    holding = f"{number} masks hold {top}, and none of the other masks' {others}"
    return f"{holding}; if some values mean the same, put them into one row of data.classes"


def refuse_soft(
    masks: Sequence[MaskStats],
    counts: Sequence[Counts | None],
    by_colour: bool,
    files: Sequence[str] = (),
) -> None:
    """Raise UserError where masks hold too many values to be classes; the error names one of `files`."""
    pixels, of_lossy = Counter[int | str](), set[int | str]()
    for mask, count in zip(masks, counts, strict=True):
        pixels.update(count or {})
        of_lossy |= {*(count or {})} if mask.lossy else set()
    many = statistics.median(10**6 if count is None else len(count) for count in counts) > _SOFT
    edges = statistics.median(map(_is_soft, counts)) > 0.5
    lossy = sum(mask.lossy for mask in masks)
    if not many and len(pixels) <= MOST_CLASSES and not edges and len(of_lossy) <= 2:
        return
    most = ", ".join(str(value) for value, _ in pixels.most_common(4))
    unit = "colours" if by_colour else "values"
    hold = f"{len(pixels)} {unit}, most often {most}" if most else f"more than {MANY} {unit} each"
    sizes = [10**6 if count is None else len(count) for count in counts]
    worst = f" (as {files[sizes.index(max(sizes))]})" if files else ""
    failed = f"the masks cannot be read{worst}"
    if lossy:
        kinds = " or ".join(sorted({mask.kind.rpartition(" ")[0] for mask in masks if mask.lossy}))
        raise UserError(
            f"{failed}: {lossy} of {len(masks)} are {kinds}, whose compression changes values ({hold}); "
            "save masks as PNG, after a threshold where they are noisy already"
        )
    raise UserError(
        f"{failed}: they hold {hold}; these are no classes but photographs, or masks with "
        "soft edges: save them without antialiasing, as PNG"
    )


def _is_soft(count: Counts | None) -> bool:
    """Return whether most values of a mask have next to no pixels, as those of soft edges do."""
    counts = [*(count or {}).values()]
    tiny = sum(pixels < _TINY * sum(counts) for pixels in counts)
    return (tiny >= _MANY_TINY and tiny > len(counts) / 2) or _has_steps(count or {})


def _has_steps(count: Counts) -> bool:
    """Return whether a mask has the steps that scaling puts between its two most frequent values.

    To half the size, these are a quarter, a half and three quarters of the way. Any such steps come in
    pairs, at equal distances from the two ends; rare classes in between do not.
    """
    if len(count) < 2 + _FEWEST_STEPS:
        return False
    ends = sorted(count, key=lambda value: -count[value])[:2]
    rare = [value for value in count if value not in ends and count[value] < _RARE * sum(count.values())]
    first, last = (np.array(_channels(value)) for value in ends)
    way = last - first
    if np.abs(way).max() < _APART:  # rounding makes steps of any numbers close to each other
        return False
    steps = np.array([_channels(value) for value in rare]).reshape(-1, len(way)) - first
    shares = steps @ way / (way @ way)
    between = (shares > 0) & (shares < 1) & (np.abs(steps - np.outer(shares, way)) <= 1).all(axis=1)
    steps = steps[between]
    mirrored = np.abs(steps[:, None] + steps[None] - way).max(axis=2, initial=0) <= 1
    return len(steps) >= _FEWEST_STEPS and bool(mirrored.any(axis=1).all())


def _channels(value: int | str) -> list[int]:
    return [*bytes.fromhex(value[1:])] if isinstance(value, str) else [value]


def refuse_few(values: Sequence[MaskValue], classes: int) -> None:
    """Raise UserError where the values of masks give fewer than two classes, or too many."""
    if not 2 <= classes <= MOST_CLASSES:
        raise UserError(
            f"the masks hold {len(values)} value{'s' * (len(values) != 1)} "
            f"({', '.join(map(str, values[:3]))}); expected 2 to {MOST_CLASSES} classes"
        )


def is_mixed_binary(counts: Sequence[Counts]) -> bool:
    """Return whether the foreground is 1 in some masks, and 255 in the others."""
    held = {frozenset(count) for count in counts}
    return (
        frozenset().union(*held) == {0, 1, 255}
        and {0, 1} in held
        and {0, 255} in held
        and not any({1, 255} <= values for values in held)
    )


def is_void(value: MaskValue, values: Sequence[MaskValue], named: Mapping[MaskValue, str]) -> bool:
    """Return whether a value means that the class is unknown."""
    if value in named:
        return bool(_VOID_NAMES.search(named[value]))
    if isinstance(value, str):
        return value == _VOID_COLOUR
    # 255 is void beside small or dense numbers; as one of two values, or after 0 and 127, it is a class.
    others = [int(v) for v in values if v != value]
    dense = bool(others) and (max(others) < 100 or 2 * len(others) > max(others))
    return value == _VOID_VALUE and len(values) > 2 and dense


def shown_palette(masks: Sequence[MaskStats]) -> dict[int, str]:
    """Return the palette's colours if they are meant for eyes: a grey ramp of 0, 1, 2 is not."""
    palette = {number: colour for mask in masks for number, colour in mask.palette.items()}
    rgb = [[*bytes.fromhex(colour[1:])] for colour in {*palette.values()}]
    apart = (sum(abs(x - y) for x, y in zip(a, b, strict=True)) for a, b in combinations(rgb, 2))
    return palette if min(apart, default=0) >= _DISTINCT else {}
