"""Scores and params before and after a change, by name."""

from dataclasses import dataclass
from typing import Any

MISSING = "missing"


@dataclass(frozen=True)
class Change:
    """A value before and after; a side without one is `missing` or None."""

    name: str
    before: Any
    after: Any

    @property
    def difference(self) -> float | None:
        """How much a number grew; None unless both sides are numbers."""
        sides = (self.before, self.after)
        if any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
            return None
        return self.after - self.before


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return the values that differ, in the order of `after`, then those that only `before` has."""
    compared = (Change(n, before.get(n, MISSING), after.get(n, MISSING)) for n in {**after, **before})
    return [change for change in compared if change.before != change.after]
