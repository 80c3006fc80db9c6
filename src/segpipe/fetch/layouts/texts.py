"""Shared by the layouts: text files as people's tools write them, and which files count at all."""

import csv
import fnmatch
import io
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pydantic

from segpipe.common.errors import UserError
from segpipe.common.fields import first_error
from segpipe.common.files import UNFETCHED

Model = TypeVar("Model", bound=pydantic.BaseModel)

POINTER = "a pointer of Git LFS, not the file itself; run `git lfs pull`"
_MOST, _MOST_LIST = 200, 20  # MB of a text file, and of a list or table of names
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_TOOLS_OWN = {"@eaDir", "__MACOSX", "__pycache__"}  # folders that are no data


def content(path: Path, most: int = _MOST) -> bytes:
    """Return a text file as UTF-8 bytes.

    Raises UserError where it is missing, has more than `most` MB, or is no text.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; the layout needs it")
    if path.stat().st_size > most * 10**6:
        size = f"{path.stat().st_size / 1e6:,.0f} MB"
        raise UserError(f"{path}: {size}; one like this has at most {most} MB; split it into several")
    data = path.read_bytes()
    if data.startswith(UNFETCHED):
        raise UserError(f"{path}: {POINTER}")
    if data[:2] in _BOMS:
        try:
            return data.decode(_BOMS[data[:2]]).encode()
        except UnicodeError:
            raise UserError(f"{path}: broken UTF-16 text; save it as UTF-8") from None
    return data.removeprefix(b"\xef\xbb\xbf")


def head(path: Path) -> str:
    """Return enough of a text file to tell its format; a whole file may be long, with images inside."""
    with path.open("rb") as opened:
        data = opened.read(1 << 16)
    return data.decode(_BOMS.get(data[:2], "utf-8-sig"), "replace")


def lost(path: Path) -> str | None:
    """Return, in words for an error, why a file has no content; None where it has some."""
    start = head(path).lstrip()
    if start.startswith(UNFETCHED.decode()):
        return POINTER
    return None if start else "an empty file; fetch or export it again, or remove it"


def read(path: Path, most: int = _MOST) -> str:
    """Return the text of a file in UTF-8 or UTF-16. Raises UserError as `content` does."""
    try:
        return content(path, most).decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it in that encoding") from None


def model(path: Path, kind: type[Model]) -> Model:
    """Return the content of a JSON file. Raises UserError where it is not of that kind."""
    try:
        return kind.model_validate_json(content(path, _MOST_LIST))
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: not as expected ({first_error(error)})") from None


def lines(path: Path, is_name: Callable[[str], bool] = lambda line: False) -> list[str]:
    """Return a list's lines without comments. Raises UserError as `content` does.

    A line that begins with `#` is a comment unless `is_name` says otherwise.
    """
    stripped = (line.strip() for line in read(path, _MOST_LIST).splitlines())
    return [line for line in stripped if line and (not line.startswith("#") or is_name(line))]


def table(text: str) -> Iterator[list[str]]:
    """Yield the rows of a table, parted by what its first line has most of: commas, `;` or tabs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    head = text.partition("\n")[0]
    return csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))


def local(path: str) -> PurePosixPath:
    """Return a path that another machine wrote, in this one's form: slashes, no `./`, NFC."""
    return PurePosixPath(unicodedata.normalize("NFC", path.replace("\\", "/")))


def visible(root: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the files in a folder and below, sorted, without hidden ones and what tools leave behind.

    `pattern` and names are compared in small letters. Links to folders are followed, each folder once.
    """
    seen = {root.resolve()}
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        here, kept = Path(folder), []
        # In an order of our own: it decides under which name a folder counts that a link shows again.
        for name in sorted(folders, key=lambda name: ((here / name).is_symlink(), name)):
            if not _hidden(name) and (real := (here / name).resolve()) not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        found += [here / name for name in names if not _hidden(name)]
    return (path for path in sorted(found) if fnmatch.fnmatchcase(path.name.lower(), pattern))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _TOOLS_OWN
