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
        return self.after - self.before if is_number(self.before) and is_number(self.after) else None


def is_number(value: Any) -> bool:
    """Return whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return the values that differ, in the order of `after`, then those that only `before` has."""
    compared = (Change(n, before.get(n, MISSING), after.get(n, MISSING)) for n in {**after, **before})
    return [change for change in compared if change.before != change.after]
