"""Nested settings and scores by dotted key, as DVC names them."""

import copy
import functools
from collections.abc import Container, Mapping
from typing import Any


def flat(nested: Mapping[str, Any], leaves: Container[str] = (), prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists, and mappings at a key in `leaves`, stay values."""
    by_key: dict[str, Any] = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        is_section = isinstance(value, dict) and key not in leaves
        by_key |= flat(value, leaves, f"{key}.") if is_section else {key: value}
    return by_key


def changed(nested: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested mappings with other values at dotted keys, whose sections must exist."""
    result = copy.deepcopy(dict(nested))
    for key, value in values.items():
        *sections, name = key.split(".")
        functools.reduce(dict.__getitem__, sections, result)[name] = copy.deepcopy(value)
    return result
