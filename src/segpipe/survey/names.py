"""Names of classes, from the files that data sets bring along."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import yaml

from segpipe.common.classes import BACKGROUND
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts

FILES = (
    "classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "label_colors.txt",
    "label_colours.txt", "labelmap.txt", "codes.txt", "obj.names", "class_dict.csv", "classes.csv",
    "_classes.csv", "labels.csv", "data.yaml", "dataset.yaml", "dataset.json",
    "obj_class_to_machine_color.json", "meta.json", "classes.json", "label_map.json", "id2label.json",
    "config.json",
)  # fmt: skip

_MOST = 10**6  # bytes
_KEYS = ("names", "labels", "classes", "categories")  # of the names in JSON and YAML
_NAME_KEYS = ("title", "readable", "name", "label")  # of one class there
_HEADER = {
    "name", "names", "class", "class_name", "label", "pixel", "value", "id", "index", "color", "colour",
    "hex", "r", "g", "b", "alpha", "red", "green", "blue",
}  # fmt: skip
_HEADER_ALONE = {"name", "names", "class", "classes", "label", "labels", "category", "categories"}
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_NUMBER = re.compile(r"-?\d+")

Row = tuple[str, int | None, str | None]  # a name, its value, its colour


@dataclass(frozen=True)
class Names:
    """The names in one file, if there is one: by value, by colour, or in order."""

    file: Path | None = None
    by_value: dict[int | str, str] = field(default_factory=dict)  # by number, and by `#rrggbb`
    in_order: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # on the file

    def of(self, values: list[int | str]) -> dict[int | str, str]:
        """Return names of mask values: by value, else by position, else by rank if the counts agree."""
        kinds = {type(value) for value in values}
        known = {value: name for value, name in self.by_value.items() if type(value) in kinds}
        if known or str in kinds:
            return known
        positions: dict[int | str, str] = dict(enumerate(self.in_order))
        if self.in_order[:1] == ["__ignore__"]:  # Labelme's list begins with -1
            positions = dict(enumerate(self.in_order[1:]))
        unnamed = {255} if len(values) > 2 else set()  # 255 is a class only beside one other
        if {*values} - unnamed <= positions.keys():
            return positions
        if len(values) == len(self.in_order):
            return dict(zip(sorted(values), self.in_order, strict=True))
        return {}

    def in_palette(self, palette: Mapping[int, str]) -> "Names":
        """Return the names with those of numbers that a palette gives a named colour."""
        numbered: dict[int | str, str] = {
            number: self.by_value[colour]
            for number, colour in palette.items()
            if colour in self.by_value
        }
        return dataclasses.replace(self, by_value=numbered | self.by_value)

    def remark(self, values: list[int | str]) -> str:
        """Return what people should know about the names that `of` gives; empty for nothing."""
        named = self.of(values)
        if not self.file or not values:
            return ""
        if not (known := [value for value in values if value in named]):
            return f"{self.file.name}: its names are not used, as nothing says which values they are of"
        first = known[0]
        if first in self.by_value or named[first] in BACKGROUND:
            return ""
        return f"{self.file.name} gives its names no values: in their order, {first} is {named[first]}"


def find_names(root: Path) -> Names:
    """Read the first file with names in a folder or right below it."""
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    files = (place / name for place in places for name in FILES)
    # A larger file of such a name is no list of names.
    small = (file for file in files if file.is_file() and file.stat().st_size <= _MOST)
    lists = map(read_names, small)
    return next((names for names in lists if names.by_value or names.in_order), Names())


def read_names(file: Path) -> Names:
    """Read a list of classes: lines, JSON or YAML. A file of another kind gives no names."""
    try:
        text, notes = _text(file)
        if file.suffix == ".json":
            rows = _rows_in(json.loads(text))
        elif file.suffix == ".yaml":
            rows = _rows_in(yaml.load(text, yaml.BaseLoader))
        else:
            rows = _rows_of_lines(text)
    except (UserError, ValueError, RecursionError, yaml.YAMLError):
        return Names()
    names = Names(file, notes=notes)
    for name, value, colour in rows:
        if value is None and colour is None:
            names.in_order.append(name)
        if colour:
            names.by_value.setdefault(colour, name)
        if value is not None and 0 <= value <= 255:
            names.by_value.setdefault(value, name)
    return names


def _text(file: Path) -> tuple[str, list[str]]:
    """Return a file's text, and notes on its encoding."""
    data = texts.content(file)
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        note = f"{file.name} is not UTF-8: it is read as Latin-1; save it as UTF-8 if names are wrong"
        return data.decode("latin-1"), [note]


def _rows_of_lines(text: str) -> list[Row]:
    """Read lines such as `64 128 64 Animal`, `0,road,128,64,128`, `3: cat`, `#ff0000 fire` or `cat`.

    Numbers are values or colours only where all lines have them, first or last, and are part of the name
    otherwise: `grade 2`.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    table = _table(lines)
    if any(PurePath(cell.lower()).suffix in matching.SUFFIXES for row in table for cell in row):
        return []  # a row a picture, or its mask
    if table and _is_header(*table):
        unread = [n for n, title in enumerate(table[0]) if title.lower() == "alpha"]
        lines = [" ".join(cell for n, cell in enumerate(row) if n not in unread) for row in table[1:]]
    split = [words for words in map(_words, lines) if words]
    named = [words for words in split if any(not _NUMBER.fullmatch(word) for word in words)]
    first = min((_leading(words) for words in named), default=0)
    last = min((_leading(words[::-1]) for words in named), default=0)
    last = 0 if first and last < 3 else last  # `1: grade 2`
    rows = [_row(words, first, last) for words in named]
    if len({name for name, _, _ in rows}) < len(rows):  # `grade 1`, `grade 2`
        rows = [_row(words, 0, 0) for words in named]
    return rows


def _table(lines: list[str]) -> list[list[str]]:
    """Return the cells of lines; the first line decides between commas, semicolons and tabs."""
    separator = next((sign for sign in ",;\t" if lines and sign in lines[0]), "\n")
    return [[cell.strip("\"' ") for cell in line.split(separator)] for line in lines]


def _is_header(first: list[str], *rest: list[str]) -> bool:
    """Return whether a table's first row holds titles; a single word may be a class: `red`.

    It does if its words are usual titles, or if a column holds numbers in all rows but this one.
    """
    words = " ".join(first).lower().split()
    usual = _HEADER | _HEADER_ALONE if len(words) > 1 else _HEADER_ALONE
    if {part for word in words for part in word.split("_")} <= usual:
        return True
    if len(first) == 1 or {*map(len, rest)} != {len(first)}:
        return False
    columns = zip(first, zip(*rest, strict=True), strict=True)
    return any(_is_number(title) < all(map(_is_number, column)) for title, column in columns)


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text))


def _words(line: str) -> list[str]:
    if line.count(":") == 3:  # CVAT's `label:color_rgb:parts:actions`
        line = " ".join(line.split(":")[:2])
    words = (word.strip("\"'()[]{}") for word in re.split(r"[\s,;:]+", line))
    return [word for word in words if word]


def _leading(words: list[str]) -> int:
    """Return how many numbers the words begin with."""
    return next((n for n, word in enumerate(words) if not _NUMBER.fullmatch(word)), len(words))


def _row(words: list[str], first: int, last: int) -> Row:
    numbers = [int(word) for word in (*words[:first], *words[len(words) - last :])]
    middle = words[first : len(words) - last]
    codes = [word.lower() for word in middle if _COLOUR.fullmatch(word)]
    name = "_".join(word for word in middle if word.lower() not in codes)
    colour = codes[0] if codes else _colour(numbers[-3:])
    value = numbers[0] if numbers and (codes or len(numbers) != 3) else None
    return name, value, colour


def _rows_in(content: Any) -> list[Row]:
    """Read JSON and YAML: names by number, numbers or colours by name, or a list of classes."""
    inner = next((k for k in _KEYS if k in content), None) if isinstance(content, dict) else None
    content = content[inner] if inner else content
    if isinstance(content, list):
        return [row for entry in content for row in _listed(entry)]
    if not isinstance(content, dict):
        return []
    rows = [row for item in content.items() for row in _pair(*item)]
    # Without such a key, a dict with items that are no names configures something else.
    return rows if inner or len(rows) == len(content) else []


def _listed(entry: Any) -> Iterator[Row]:
    if isinstance(entry, str):
        yield entry, None, None
    elif isinstance(entry, dict) and (key := next((k for k in _NAME_KEYS if k in entry), None)):
        value = next((entry[k] for k in ("id", "value") if isinstance(entry.get(k), int)), None)
        colour = next((entry[k] for k in ("color", "colour") if k in entry), "")
        yield str(entry[key]), value, _colour(colour)


def _pair(key: Any, value: Any) -> Iterator[Row]:
    if isinstance(value, str) and _NUMBER.fullmatch(str(key)):
        yield value, int(key), None
    elif isinstance(value, str | int) and _NUMBER.fullmatch(str(value)):
        yield str(key), int(value), None
    elif colour := _colour(value):
        grey = value[0] if isinstance(value, list) and len({*value}) == 1 else None
        yield str(key), grey, colour


def _colour(value: str | Iterable[int]) -> str | None:
    """Return `#rrggbb` from such a text, or from three numbers; None for anything else."""
    if isinstance(value, str):
        return value.lower() if _COLOUR.fullmatch(value) else None
    rgb = list(value) if isinstance(value, list) else []
    is_colour = len(rgb) == 3 and all(type(v) is int and v in range(256) for v in rgb)
    return "#" + bytes(rgb).hex() if is_colour else None
