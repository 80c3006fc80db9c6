"""Numbers and names as the report and its kin write them."""

import json
from typing import Any


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


def some_of(shown: int, count: int, which: str, where: str) -> str:
    """What a caption adds where not all are shown; nothing where they are."""
    return "" if shown == count else f" (the {shown} {which} of {count}; {where} has all)"


def shortened(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= 28 else f"…{name[-27:]}"
