"""Locks between processes: files whose lock the system releases when the holder dies."""

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock


def take(path: Path, patience: float = 0) -> filelock.BaseFileLock | None:
    """Lock `path`, and note who holds it; return None if it stays locked for `patience` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout:
        return None
    _note(path).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    return lock


def holder(path: Path) -> str | None:
    """Return the holder of a lock in words; None where nobody holds it."""
    try:
        if lock := take(path):
            lock.release()
            return None
        return _note(path).read_text(encoding="utf-8")
    except PermissionError:
        return "another user"
    except FileNotFoundError:  # released just now
        return "another process"


def remove(path: Path) -> None:
    """Remove a lock's files; only its holder may."""
    _note(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Yield a new folder in `root`, and remove it when the block ends.

    Remove the folders of killed processes too. `root` is for this user alone.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in root.glob("*.lock"):
        if lock := take(path):
            _discard(path.with_suffix(""), lock)
    folder = Path(tempfile.mkdtemp(dir=root))
    mine = take(folder.with_suffix(".lock"))
    assert mine, "no other process knows the name"
    try:
        yield folder
    finally:
        _discard(folder, mine)


def _discard(folder: Path, lock: filelock.BaseFileLock) -> None:
    """Remove a folder of `scratch` and its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    remove(folder.with_suffix(".lock"))
    lock.release()


def _note(path: Path) -> Path:
    return path.with_suffix(".holder")  # the lock file's own content belongs to filelock
