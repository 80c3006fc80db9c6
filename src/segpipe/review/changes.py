"""What differs between two revisions: scores and params, by name."""

import re
from dataclasses import dataclass
from typing import Any

MISSING = "missing"
MINOR = re.compile(r"^network\.|\.interval\.|dice|^val_(loss|accuracy)$")
"""Scores that follow others: whoever reviews a change looks at them last."""


@dataclass(frozen=True)
class Change:
    """A name's value at the base and here; `missing` where a side does not have it."""

    name: str
    base: Any
    here: Any

    @property
    def difference(self) -> float | None:
        """How much a number grew; None where a side is no number."""
        sides = (self.base, self.here)
        if any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
            return None
        return self.here - self.base

    def to_json(self) -> dict[str, Any]:
        """A plain form."""
        sides = {"name": self.name, "base": self.base, "here": self.here}
        return sides if self.difference is None else {**sides, "difference": self.difference}


def changes(base: dict[str, Any], here: dict[str, Any]) -> list[Change]:
    """The names whose values differ, in the order of `here`, those of the base alone last."""
    names = [*here, *(name for name in base if name not in here)]
    compared = (Change(name, base.get(name, MISSING), here.get(name, MISSING)) for name in names)
    return [change for change in compared if change.base != change.here]
