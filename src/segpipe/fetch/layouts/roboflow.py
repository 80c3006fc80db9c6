"""Roboflow's "PNG Mask Semantic": `NAME.jpg`, `NAME_mask.png` and `_classes.csv` in a split's folder.

`train/`, `valid/` and `test/`, or one folder. `_classes.csv` names the values of the masks. All else is
as in `splits`.
"""

import csv
import re
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, pairs, texts
from segpipe.fetch.sample import Samples

_CLASSES = "_classes.csv"


def seen(root: Path) -> str | None:
    """Look for the names of the classes, and a mask beside them."""
    masks = (mask for file in _files(root) for mask in sorted(file.parent.glob("*_mask.png")))
    first = next(masks, None)
    return f"Roboflow's {_CLASSES}, and masks as {matching.relative(root, first)}" if first else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no picture has a mask, or the folders' names differ."""
    names(root)
    yield from pairs.samples(root, table)


def names(root: Path) -> dict[int, str]:
    """Return the names of the mask values. Raises UserError where two folders name one differently."""
    found: dict[int, str] = {}
    for file in _files(root):
        for number, row in enumerate(_rows(file), 1):
            value = row[0].strip() if len(row) > 1 else ""
            if number == 1 and not value.isdecimal():
                continue  # Pixel Value, Class
            if not re.fullmatch("[0-9]{1,3}", value) or int(value) > 255:
                raise UserError(f"{file}: line {number} is no value 0 to 255 and a name; mend it")
            name = ", ".join(row[1:]).strip() or f"class_{value}"  # a comma may be part of it
            if found.setdefault(int(value), name) != name:
                both = f"{value} is {name!r}, and {found[int(value)]!r} in another folder"
                raise UserError(
                    f"{file}: {both}; export all splits at once, so that masks mean the same"
                )
    return found


def _files(root: Path) -> list[Path]:
    parts = sorted(path for path in root.iterdir() if path.name.lower() in matching.SPLIT_WORDS)
    return [folder / _CLASSES for folder in (root, *parts) if (folder / _CLASSES).is_file()]


def _rows(file: Path) -> list[list[str]]:
    try:
        return [row for row in csv.reader(texts.read(file).splitlines(), skipinitialspace=True) if row]
    except csv.Error as error:
        raise UserError(f"{file}: not a table ({error}); export the data set again") from None
