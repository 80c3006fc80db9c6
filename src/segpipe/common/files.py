"""Write files and folders whole or not at all."""

import contextlib
import hashlib
import heapq
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from segpipe.common.errors import UserError

Item = TypeVar("Item")

_LONGEST = 240  # bytes of a name, so that one with 13 more is no longer than the usual 255

UNFETCHED = b"version https://git-lfs"
"""The beginning of the pointer that Git LFS leaves in place of a file."""


@contextlib.contextmanager
def replaces(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which becomes `path` if the block succeeds.

    The block writes a file or a folder there. On an error it is removed, and `path` stays as it was. The
    content is synced to the disk: a power cut leaves the old or the new, whole.
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    temporary, aside = (path.with_name(f".{name}.{end}") for end in ("partial", "partial.old"))
    _remove(temporary)  # left behind by a killed process
    if path.exists():  # else the folder aside is the old content
        _remove(aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _sync(written)
        if path.is_dir():  # a folder that is not empty cannot be replaced in one step
            path.replace(aside)
        temporary.replace(path)
        _sync(path.parent)  # a rename is on the disk only when its folder is
    except OSError as error:
        if error.errno:  # an error without a number is not the system's, and says what is wrong
            error.filename = error.filename or str(path)  # failed writes carry no path
        raise
    finally:
        if aside.exists() and not path.exists():
            aside.replace(path)
        _remove(aside)
        _remove(temporary)


def target_of(folder: Path) -> Path:
    """Return a folder, or where a link leads that stands in its place: `replaces` would end the link."""
    return folder.resolve() if folder.is_symlink() else folder


def replace_together(contents: Mapping[Path, bytes], scratch: Path) -> None:
    """Replace files by new contents: an error or Ctrl-C changes all of them or none.

    All contents are written to the folder `scratch`, which must lie on the disk of the files. Then the
    files are replaced by renaming, which takes no time; a kill right there leaves some replaced.
    """
    _remove(scratch)  # left behind by a killed process
    scratch.mkdir(parents=True)
    try:
        for number, content in enumerate(contents.values()):
            (scratch / str(number)).write_bytes(content)
            _sync(scratch / str(number))
        with _uninterrupted():
            for number, path in enumerate(contents):
                (scratch / str(number)).replace(path)
        for folder in {path.parent for path in contents}:
            _sync(folder)
    finally:
        _remove(scratch)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread alone
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with `\\n` line ends, atomically."""
    with replaces(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON in the order of its keys, atomically; raise ValueError for NaN, which is not JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, writer: str) -> dict[str, Any]:
    """Read a JSON object that an earlier stage wrote; raise a UserError if it is missing or damaged."""
    mend = f"`dvc repro --force {writer}` writes it"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro` writes it") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {mend}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds nothing of use; {mend}")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def name_hash(name: str, purpose: str = "") -> float:
    """Return a number in [0, 1) that depends only on the two strings.

    It splits and chooses samples: adding or removing others never moves one. File names that are not
    UTF-8 have one too.
    """
    digest = hashlib.sha256(f"{purpose}/{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def first_by_hash(
    items: Iterable[Item], count: int, purpose: str = "", name: Callable[[Item], str] = str
) -> list[Item]:
    """Return the `count` items with the lowest `name_hash`, lowest first."""
    return heapq.nsmallest(count, items, key=lambda item: name_hash(name(item), purpose))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
