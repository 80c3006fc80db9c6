"""`data/records/traits.csv`: a row a picture of training and validation, with its traits.

`preprocess/traits.py` measures them, on the pictures that the records were made from.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segpipe.common.errors import UserError
from segpipe.common.files import sha256

FILE = "traits.csv"
_DIGITS = 6  # significant ones


class Measured(NamedTuple):
    """A picture and its traits."""

    name: str
    split: str
    traits: Mapping[str, float]


def write_traits(folder: Path, measured: Iterable[Measured]) -> dict[str, Any]:
    """Write the table, equal bytes for equal rows; return its entry in the manifest.

    All pictures have the traits of the first.
    """
    rows = [*measured]
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "split", *rows[0].traits])
        for name, split, traits in rows:
            writer.writerow([name, split, *(f"{value:.{_DIGITS}g}" for value in traits.values())])
    return {"file": FILE, "sha256": sha256(folder / FILE)}


def read_traits(folder: Path, entry: Mapping[str, Any]) -> list[Measured]:
    """Read the table that the manifest lists; raise a UserError where it is missing or another one."""
    path = folder / entry["file"]
    if not path.is_file() or sha256(path) != entry["sha256"]:
        problem = "not the manifest's (sha256)" if path.is_file() else "missing, the manifest lists it"
        raise UserError(f"{path}: {problem}; `dvc repro --force preprocess` writes it")
    with path.open(encoding="utf-8", newline="") as file:
        (_, _, *names), *rows = csv.reader(file)
    return [
        Measured(name, split, dict(zip(names, map(float, values), strict=True)))
        for name, split, *values in rows
    ]
