"""`data/raw/index.csv`: a row a sample of the shards, in their order."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from segpipe.common.errors import UserError

INDEX = "index.csv"


class Entry(NamedTuple):
    """The facts about a sample that decide its split."""

    name: str
    split: str
    group: str  # empty where the sample is a group of its own
    hash: str  # the perceptual hash of its picture, empty where it has none

    @property
    def key(self) -> str:
        """The text whose hash chooses the split; samples with equal keys stay together."""
        return self.group or self.name


def write_index(folder: Path, entries: Iterable[Entry]) -> None:
    """Write the index, equal bytes for equal entries."""
    with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Entry._fields)
        writer.writerows(entries)


def read_index(folder: Path) -> list[Entry]:
    """Read the index; raise a UserError where it is missing or damaged."""
    path = folder / INDEX
    if not path.is_file():
        raise UserError(f"{path}: no such file; `dvc repro` writes it")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        if tuple(head) == Entry._fields:
            return [Entry(*row) for row in rows]
    except (ValueError, TypeError, csv.Error):
        pass
    raise UserError(f"{path}: not as fetch wrote it; `dvc repro --force fetch` writes it")
