"""The text files of YOLO data sets: `data.yaml`, and a file of polygons for each picture."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.sample import BadSampleError

_MOST_YAML, _MOST_LABELS = 0.1, 20  # MB of a file
_MOST_CLASSES = 10_000
_OUTSIDE = 1.0  # how far corners may lie outside, in widths and heights; pixel coordinates lie farther
_NOTHING = ["", "~", "null", "None"]  # no path
_BOX = 5  # numbers of a line: class, centre, width and height
_POLYGON = "lines of a class and three corners or more (7, 9, 11 ... numbers)"


@dataclass(frozen=True)
class Config:
    """The content of `data.yaml`; all of it may be missing."""

    file: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    count: int = 255  # of classes, where they have no names
    entries: dict[str, list[str]] = field(default_factory=dict)  # folders and lists by split

    def name(self, number: int) -> str | None:
        """Return the name of a class, Ultralytics' default if it has none; None beyond the classes."""
        if self.names:
            return self.names.get(number)
        return f"class_{number}" if number < self.count else None


def read_config(root: Path) -> Config:
    """Read `data.yaml`, or any other YAML file with names and folders; else names in `classes.txt`.

    They lie in the folder itself, or in the only one below that has some, as archives unpack. Raises
    UserError where `data.yaml` cannot be read, or holds keypoints.
    """
    root = _place(root)
    for file in _yaml_files(root):
        try:
            content = _content(file)
        except UserError:
            if file.stem != "data":
                continue  # any program may have left it there
            raise
        if isinstance(content, dict) and {"names", "nc"} & content.keys():
            return _config(file, content)
    lists = [root / "classes.txt", root / "labels" / "classes.txt"]
    # A comment has a space after its `#`: a name left out would give its number to the next one.
    read = functools.partial(texts.lines, is_name=lambda line: not line.startswith("# "))
    found = next((read(file) for file in lists if file.is_file()), [])
    return Config(names=dict(enumerate(found)))


def _place(root: Path) -> Path:
    """Return the folder of `data.yaml`, or else of `classes.txt`, if it is the only one below."""
    lists = root / "classes.txt", root / "labels" / "classes.txt"
    if _yaml_files(root) or any(file.is_file() for file in lists):
        return root
    below = [*texts.visible(root)]
    for names in (("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"), ("classes.txt",)):
        if folders := {file.parent for file in below if file.name in names}:
            return folders.pop() if len(folders) == 1 else root
    return root


def _yaml_files(root: Path) -> list[Path]:
    files = [path for pattern in ("*.yaml", "*.yml") for path in root.glob(pattern) if path.is_file()]
    return sorted(files, key=lambda path: (path.stem not in ("data", "dataset"), path))


def _content(file: Path) -> Any:
    """Return the content of a YAML file, all scalars as text: YAML would read `no` as false."""
    if file.stat().st_size > _MOST_YAML * 10**6:
        size = f"{file.stat().st_size / 1e6:.1f} MB"
        raise UserError(f"{file}: {size}; names and folders take {_MOST_YAML} MB at most")
    try:
        return yaml.load(texts.read(file), yaml.BaseLoader)  # libyaml's crashes where it nests deeply
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(getattr(error, "problem", "") or "it is nested too deeply")
        raise UserError(f"{file}: not YAML ({reason}); export the data set again, or mend it") from None


def _config(file: Path, content: dict) -> Config:
    if "kpt_shape" in content:
        raise UserError(f"{file}: kpt_shape is for keypoints; export the polygons of segmentation")
    entries: dict[str, list[str]] = {}
    for key, split in matching.SPLIT_WORDS.items():
        listed = content.get(key, _NOTHING)
        for entry in listed if isinstance(listed, list) else [listed]:
            if not isinstance(entry, str):
                raise UserError(f"{file}: {key} holds no path; expected a folder, a list or several")
            if entry not in _NOTHING:
                entries.setdefault(split, []).append(f"{_text(content.get('path'))}/{entry}")
    names = content.get("names") or {}
    count = _number(content["nc"]) if "nc" in content else 255
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    numbered = {_number(n): name for n, name in pairs.items()} if isinstance(pairs, dict) else {None: ""}
    if count is None or None in numbered or not all(isinstance(n, str) for n in numbered.values()):
        expected = "names as a list or as `0: cat`, and nc, if it is there, as their number"
        raise UserError(f"{file}: the classes cannot be read; expected {expected}")
    named = {n: name.strip() or f"class_{n}" for n, name in numbered.items() if n is not None}
    return Config(file, named, count, entries)


def _text(value: Any) -> str:
    """Return a text; nothing for a list or mapping, which may be endless where it holds itself."""
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    """Return a count or the number of a class; None where it is no such number."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= _MOST_CLASSES else None


def read_polygons(path: Path, file: str) -> list[tuple[int, np.ndarray]]:
    """Return the class and the corners of each line: float64 [n, 2], as parts of width and height.

    Raises BadSampleError, which names `file`, where a line is no polygon.
    """
    rows, boxes = [], 0
    for number, words in _rows(path, file):
        try:
            values = np.fromiter(map(float, words), np.float64, len(words))
        except ValueError:
            raise BadSampleError(file, f"line {number} holds other than numbers", _POLYGON) from None
        if len(values) == _BOX:
            boxes += 1
            continue
        if len(values) < 7 or not len(values) % 2:
            raise BadSampleError(file, f"line {number} has {len(values)} numbers", _POLYGON)
        if not (0 <= values[0] <= _MOST_CLASSES and values[0].is_integer()):
            raise BadSampleError(
                file, f"line {number} is of class {words[0][:20]}", "a whole number from 0"
            )
        inside = (values[1:] >= -_OUTSIDE) & (values[1:] <= 1 + _OUTSIDE)
        if not inside.all():
            found = f"line {number} has a coordinate of {values[1:][~inside][0]:.6g}"
            raise BadSampleError(file, found, "parts of width and height, 0 to 1")
        rows.append((int(values[0]), values[1:].reshape(-1, 2)))
    if boxes:
        found = f"{boxes} boxes and {len(rows)} polygons"
        expected = "polygons alone, as a box has no outline (Ultralytics leaves such pictures out, too)"
        raise BadSampleError(file, found, expected)
    return rows


def classes_in(path: Path) -> tuple[set[int], bool]:
    """Return the classes in a file, and whether a line is no box; one that cannot be read has none."""
    try:
        firsts = [(float(words[0]), len(words)) for _, words in _rows(path, path.name)]
    except (BadSampleError, ValueError):
        return set(), True
    classes = {int(value) for value, _ in firsts if value.is_integer()}
    return classes, any(count != _BOX for _, count in firsts)


def looks_like_labels(path: Path) -> bool:
    """Return whether a file begins with a class and at least four coordinates."""
    words = next((line.split() for line in texts.head(path).splitlines() if line.strip()), [])
    try:
        return len([float(word) for word in words[:_BOX]]) == _BOX and float(words[0]).is_integer()
    except ValueError:
        return False


def _rows(path: Path, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each line that is not empty, with its number."""
    if (size := path.stat().st_size) > _MOST_LABELS * 10**6:
        raise BadSampleError(file, f"{size / 1e6:.0f} MB of text", f"{_MOST_LABELS} MB at most")
    try:
        lines = texts.read(path).splitlines()
    except UserError as error:
        raise BadSampleError(file, str(error).removeprefix(f"{path}: "), _POLYGON) from None
    rows = ((number, line.split()) for number, line in enumerate(lines, 1))
    yield from ((number, words) for number, words in rows if words)
