"""Words for people."""

import difflib
import json
from collections.abc import Iterable
from typing import Any


def duration(seconds: float) -> str:
    """A time span in the largest unit that it holds twice: `90 s`, `12 min`, `3 hours`, `2 days`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def score(value: Any, without: str = "absent") -> str:
    """A score with four decimals, a count as it is; `without` where there is none."""
    if value is None:
        return without
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def signed(difference: float | None) -> str:
    """A difference with its sign, to the digits of a score; nothing where there is none."""
    if difference is None:
        return ""
    return f"{difference:+.4f}" if isinstance(difference, float) else f"{difference:+d}"


def yaml_line(value: Any) -> str:
    """A param as `params.yaml` says it, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(share: float) -> str:
    """A share in per cent: `12.3 %`."""
    return f"{100 * share:.1f} %"


def extent(size: tuple[int, int]) -> str:
    """A picture's size: `128 x 128 px`, and where it is no square, which edge is which."""
    height, width = size
    which = "" if height == width else " (height x width)"
    return f"{height} x {width} px{which}"


def some_of(shown: int, count: int, which: str, where: str) -> str:
    """What a caption adds where not all are shown; nothing where they are."""
    return "" if shown == count else f" (the {shown} {which} of {count}; {where} has all)"


def shortened(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= 28 else f"…{name[-27:]}"
