"""Format numbers and names for reports, comparisons and tables."""

import json
from typing import Any

MEAN_NAMES = {"mean_iou": "mean IoU", "mean_dice": "mean Dice", "pixel_accuracy": "pixel accuracy"}
"""Names for people of the scores of a whole data set, by key."""


def signed(difference: float | None) -> str:
    """A difference with its sign and the digits of a score; empty for None."""
    if difference is None:
        return ""
    return f"{difference:+.4f}" if isinstance(difference, float) else f"{difference:+d}"


def yaml_line(value: Any) -> str:
    """A param as in `params.yaml`, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def some_of(shown: int, count: int, which: str, where: str) -> str:
    """The end of a caption that says which of many are shown; empty if all are."""
    return "" if shown == count else f" (the {shown} {which} of {count}; {where} has all)"


def shortened(name: str) -> str:
    """The end of a long name, which is usually more distinctive than its beginning."""
    return name if len(name) <= 28 else f"…{name[-27:]}"
