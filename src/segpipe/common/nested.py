"""Nested settings and scores by dotted key, as DVC names them."""

import copy
from collections.abc import Mapping
from typing import Any


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; all else, lists too, is a value."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def changed(nested: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings with other values at dotted keys, whose sections must be there."""
    result = copy.deepcopy(dict(nested))
    for key, value in values.items():
        *sections, name = key.split(".")
        section = result
        for part in sections:
            section = section[part]
        section[name] = copy.deepcopy(value)
    return result
