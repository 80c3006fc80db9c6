"""Words for people."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


def duration(seconds: float) -> str:
    """Return a time span in the largest unit that fits twice: `90 s`, `12 min`, `3 hours`, `2 days`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent: `12.3 %`."""
    return f"{100 * share:.{digits}f} %"


def score(value: Any, without: str = "absent") -> str:
    """Return a score with four decimals, other values as they are, `without` for None and NaN."""
    if value is None or value != value:
        return without
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def extent(size: tuple[int, int]) -> str:
    """Return a picture's size as `128 x 128 px`; unless it is square, say which edge is which."""
    height, width = size
    which = "" if height == width else " (height x width)"
    return f"{height} x {width} px{which}"


def width_by_height(size: tuple[int, int]) -> str:
    """Return a size (height, width) as `640x480`, width first as file managers show it."""
    return f"{size[1]}x{size[0]}"


def few(items: Sequence[object], most: int = 5, between: str = ", ") -> str:
    """Return the first `most` items on one line, and how many more there are; `none` without items."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return (between.join(map(str, items[:most])) or "none") + more


def listed(heading: str, items: Sequence[object], most: int = 20) -> str:
    """Return a heading and the first `most` items below it, a line each, and how many more there are."""
    lines = [f"  {item}" for item in items[:most]]
    more = [f"  ... and {len(items) - most} more"] if len(items) > most else []
    return "\n".join([heading, *lines, *more])
