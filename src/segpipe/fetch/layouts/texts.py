"""Shared by the layouts: text files as people's tools write them, and which files count at all."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pydantic

from segpipe.common.errors import UserError

Model = TypeVar("Model", bound=pydantic.BaseModel)

SPLIT_LISTS = ("train", "val", "test")
_MOST = 200  # MB of a text file
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_TOOLS_OWN = {"@eaDir", "__MACOSX", "__pycache__"}  # folders that are no data


def content(path: Path) -> bytes:
    """Return a text file as UTF-8 bytes. Raises UserError where it is missing, too large or no text."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the layout needs it")
    if path.stat().st_size > _MOST * 10**6:
        size = f"{path.stat().st_size / 1e6:,.0f} MB"
        raise UserError(f"{path}: {size}; a text file has at most {_MOST} MB; split it into several")
    data = path.read_bytes()
    if data[:2] in _BOMS:
        try:
            return data.decode(_BOMS[data[:2]]).encode()
        except UnicodeError:
            raise UserError(f"{path}: broken UTF-16 text; save it as UTF-8") from None
    return data.removeprefix(b"\xef\xbb\xbf")


def read(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16. Raises UserError as `content` does."""
    try:
        return content(path).decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it in that encoding") from None


def model(path: Path, kind: type[Model]) -> Model:
    """Return what a JSON file holds. Raises UserError where it is not of that kind."""
    try:
        return kind.model_validate_json(content(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: not as expected ({first_error(error)})") from None


def first_error(error: pydantic.ValidationError) -> str:
    """Return the first error in a JSON file, with its place, in a few words."""
    first: Any = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def lines(path: Path) -> list[str]:
    """Return a list's lines without comments. Raises UserError as `content` does."""
    stripped = (line.strip() for line in read(path).splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def split_lists(folder: Path) -> dict[str, list[str]]:
    """Return the lines of `train.txt` (or `train_list.txt`), of `val.txt` and of `test.txt`."""
    names = ((word, f"{word}{end}.txt") for word in SPLIT_LISTS for end in ("_list", ""))
    files = {word: folder / name for word, name in names if (folder / name).is_file()}
    return {word: lines(file) for word, file in files.items()}


def local(path: str) -> PurePosixPath:
    """Return a path that another machine wrote, in this one's form: slashes, no `./`, NFC."""
    return PurePosixPath(unicodedata.normalize("NFC", path.replace("\\", "/")))


def visible(root: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the files in a folder and below, sorted, without hidden ones and what tools leave behind.

    Links to folders are followed, each folder once.
    """
    seen: set[Path] = set()
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        folders[:] = [n for n in folders if not (_hidden(n) or (here / n).resolve() in seen)]
        seen |= {(here / name).resolve() for name in folders}
        found += [here / name for name in names if not _hidden(name)]
    return (path for path in sorted(found) if path.match(pattern))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _TOOLS_OWN
