"""Groups that the user names: samples of one video, patient or place, which no split parts."""

import csv
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pydantic

from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.sample import Note, Problem, Sample

_NAME_COLUMNS = ("name", "image", "file")


class GroupFile(pydantic.BaseModel):
    """A CSV file in the folder, with a row a picture."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    file: str
    column: str  # of the groups


Group = str | GroupFile
"""The param `data.folder.group`: `none`, a regular expression with one group, or a file."""


def group_param(value: object) -> Group:
    """Check the value of `data.folder.group`; raises ValueError."""
    if value == "none" or isinstance(value, GroupFile):
        return value
    if isinstance(value, dict) and {*value} == {"file", "column"}:
        return GroupFile(**{key: str(text) for key, text in value.items()})
    if not isinstance(value, str):
        raise ValueError(
            "none, a regular expression with one group, or {file: groups.csv, column: NAME}"
        )
    try:
        count = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"no regular expression ({error})") from None
    if count != 1:
        raise ValueError(f"{count} groups in brackets; one is needed, such as '(seq\\d+)_'")
    return value


def assigned(samples: Sequence[Sample], group: Group, root: Path) -> tuple[list[Sample], list[Note]]:
    """Return the samples with the groups that the param `group` names, and notes.

    A sample that it does not name is a group of its own. With `none`, samples stay as they are.
    Raises UserError where it names the group of no sample, or its file in `root` cannot be used.
    """
    if group == "none" or not samples:
        return list(samples), []
    if isinstance(group, str):
        expression = re.compile(group)
        param, notes = f"data.folder.group = {group!r}", []
        groups = [_first(expression.search(sample.name)) for sample in samples]
    else:
        table = _Table(root, group)
        param = f"data.folder.group: column {group.column} of {group.file}"
        groups = [table.group_of(sample) for sample in samples]
        notes = table.notes()
    if not any(groups):
        names = ", ".join(sample.name for sample in samples[:3])
        raise UserError(f"{param}: it gives no picture a group; names are such as {names}")
    alone = [sample.name for sample, found in zip(samples, groups, strict=True) if not found]
    if alone:
        sentence = f"{param}: {len(alone)} of {len(samples)} pictures are groups of their own"
        notes = [Note(f"{sentence}, such as {alone[0]}"), *notes]
    return [dataclasses.replace(s, group=g) for s, g in zip(samples, groups, strict=True)], notes


def unparted(samples: Iterable[Sample]) -> Iterator[Sample | Problem]:
    """Yield samples, test before val before train; one in another split than its group is a problem."""
    splits: dict[str, str] = {}  # of the groups
    for sample in samples:
        first = splits.setdefault(sample.group, str(sample.split)) if sample.group else sample.split
        if first == sample.split:
            yield sample
        else:
            found = f"group {sample.group} in two splits, {first} and {sample.split}"
            yield Problem(sample.image, found, f"it in one of them, or this picture in {first}")


class _Table:
    """The groups in a CSV file, by the names of the pictures."""

    def __init__(self, root: Path, param: GroupFile) -> None:
        self._path = root / param.file
        try:
            rows = list(texts.table(texts.read(self._path)))
        except csv.Error as error:
            raise UserError(f"{self._path}: not a CSV file ({error})") from None
        head = [name.strip() for name in (rows[0] if rows else [])]
        if param.column not in head:
            hint = did_you_mean(param.column, head)
            raise UserError(
                f"{self._path}: no column {param.column}{hint}; it has {', '.join(head) or 'none'} "
                "(data.folder.group)"
            )
        of_group = head.index(param.column)
        named = [n for n, name in enumerate(head) if name.lower() in _NAME_COLUMNS]
        of_name = (named or [n for n in range(len(head)) if n != of_group] or [0])[0]
        self._groups = self._read(rows[1:], of_name, of_group)
        self._used: set[str] = set()

    def _read(self, rows: Iterable[list[str]], of_name: int, of_group: int) -> dict[str, str]:
        groups: dict[str, str] = {}
        for row in filter(any, rows):
            if len(row) <= max(of_name, of_group):
                found = ",".join(row)[:80]
                raise UserError(f"{self._path}: too few columns in the row {found}")
            name, group = _name(row[of_name].strip()), row[of_group].strip()
            if groups.setdefault(name, group) != group:
                both = f"{groups[name]} and {group}"
                raise UserError(f"{self._path}: {name} is in two groups, {both}; leave one of them")
        return groups

    def group_of(self, sample: Sample) -> str:
        """Return the group of a sample; empty where it has none."""
        file = _name(sample.image)
        names = (sample.name, file, file.rpartition("/")[2])
        found = next((name for name in names if name in self._groups), None)
        if found is None:
            return ""
        self._used.add(found)
        return self._groups[found]

    def notes(self) -> list[Note]:
        """Say which rows are of no picture."""
        unused = [name for name in self._groups if name not in self._used]
        if not unused:
            return []
        count = f"{len(unused)} of {len(self._groups)} names"
        return [Note(f"{self._path.name}: {count} are of no picture, such as {unused[0]}")]


def _name(file: str) -> str:
    """Return a picture's name without the suffix that it may have."""
    path = texts.local(file)
    named = path.with_suffix("") if path.suffix.lower() in matching.SUFFIXES else path
    return named.as_posix()


def _first(match: re.Match[str] | None) -> str:
    return (match[1] or "") if match else ""
