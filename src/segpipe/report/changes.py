"""Scores and params before and after a change, by name."""

from dataclasses import dataclass
from typing import Any

MISSING = "missing"


@dataclass(frozen=True)
class Change:
    """A value before and after; `missing` or None where a side does not have it."""

    name: str
    before: Any
    after: Any

    @property
    def difference(self) -> float | None:
        """How much a number grew; None where a side is no number."""
        sides = (self.before, self.after)
        if any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
            return None
        return self.after - self.before


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """The names whose values differ, in the order of `after`, those of `before` alone last."""
    names = [*after, *(name for name in before if name not in after)]
    compared = (Change(name, before.get(name, MISSING), after.get(name, MISSING)) for name in names)
    return [change for change in compared if change.before != change.after]
