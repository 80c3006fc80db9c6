"""Pieces of Markdown text."""

import re
from collections.abc import Iterable, Sequence


def escaped(text: object) -> str:
    """Escape text so that it cannot end its line or table cell, or become a link, picture or tag."""
    line = re.sub(r"\s", " ", str(text))
    return re.sub(r"[\\`*_{}\[\]()<>#+!|~$&]", r"\\\g<0>", line)


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of escaped cells; all columns but the first are aligned right."""
    rule = "|".join(["---", *["---:"] * (len(head) - 1)])
    lines = [" | ".join(map(escaped, cells)) for cells in (head, *rows)]
    first, *others = (f"| {line} |" for line in lines)
    return "\n".join([first, f"|{rule}|", *others])
