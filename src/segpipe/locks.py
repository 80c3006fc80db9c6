"""Locks between processes: files whose lock the system drops when the holder dies, however it dies."""

import os
import platform
from pathlib import Path

import filelock


def take(path: Path, patience: float = 0) -> filelock.BaseFileLock | None:
    """Lock `path` and write into it who holds it; None where another does for `patience` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout:
        return None
    path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    return lock


def holder(path: Path) -> str:
    """Who holds a lock that `take` did not get, in words."""
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:  # let go of this very moment
        return "another process"
