"""Locks between processes: files whose lock the system releases when the holder dies."""

import os
import platform
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


def _note(path: Path) -> Path:
    return path.with_suffix(".holder")  # the lock file's own content belongs to filelock
