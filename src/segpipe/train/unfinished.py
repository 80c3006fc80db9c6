"""Unfinished training runs: where their checkpoints lie until the run has succeeded.

They are no DVC out, since DVC deletes the outs of a stage before it runs the stage. Each run has a
folder under `.dvc/tmp/segpipe/runs`, named after its fingerprint, in the repository that `DVC_ROOT`
names: the user's own while an experiment runs in a temporary copy, which vanishes when the run fails.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.common import locks
from segpipe.common.errors import UserError
from segpipe.common.files import write_json
from segpipe.common.nested import flat

_IDENTITY = "identity.json"
_GONE = ".gone"


@dataclass(frozen=True)
class Unfinished:
    """A run that has not succeeded yet, and its folder."""

    folder: Path

    @property
    def fingerprint(self) -> str:
        """What names the run: 16 hexadecimal digits."""
        return self.folder.name

    @property
    def identity(self) -> dict[str, Any]:
        """All that the fingerprint stands for; empty where it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / _IDENTITY).read_text(encoding="utf-8"))
        return {}

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, the newest first."""
        return sorted(self.folder.glob("epoch-*.npz"), key=_number, reverse=True)

    @property
    def epoch(self) -> int:
        """The last epoch that the run has finished."""
        return next(map(_number, self.checkpoints), 0)

    @property
    def age(self) -> float:
        """Seconds since the last checkpoint, or the start; 0 where the clock has gone back since."""
        for path in (*self.checkpoints, self.folder / _IDENTITY):
            with contextlib.suppress(FileNotFoundError):  # a run may end, and go, while it is looked at
                return max(0.0, time.time() - path.stat().st_mtime)
        return 0.0

    @property
    def size(self) -> int:
        """Bytes that the run takes up."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
        return total

    @property
    def lock(self) -> Path:
        """The file whose lock the process that trains this run holds."""
        return self.folder.with_suffix(".lock")

    @property
    def trained_by(self) -> str | None:
        """The process that trains this run now, in words; None where it has stopped."""
        return locks.holder(self.lock)

    def remove(self) -> None:
        """Remove all of it; only for the holder of its lock."""
        gone = self.folder.with_suffix(_GONE)
        self.folder.replace(gone)  # at once: half a run must not be gone on with
        shutil.rmtree(gone)
        locks.remove(self.lock)


def root() -> Path:
    """The folder of all unfinished runs."""
    here = Path.cwd()
    repository = next((path for path in (here, *here.parents) if (path / ".dvc").is_dir()), here)
    return Path(os.environ.get("DVC_ROOT", repository), ".dvc", "tmp", "segpipe", "runs")


def unfinished() -> list[Unfinished]:
    """All unfinished runs, the latest first."""
    found = [p for p in root().glob("*") if p.is_dir() and p.suffix != _GONE]
    return sorted(map(Unfinished, found), key=lambda run: run.age)


@contextlib.contextmanager
def claim(fingerprint: str, identity: dict[str, Any]) -> Iterator[Unfinished]:
    """The run's folder, for this process alone, until the block ends; then removed, without an error.

    Raises:
        UserError: another process trains the same run; the message says which.
    """
    for killed_while_it_was_removed in root().glob(f"*{_GONE}"):
        shutil.rmtree(killed_while_it_was_removed, ignore_errors=True)
    run = Unfinished(root() / fingerprint)
    lock = locks.take(run.lock, patience=2)  # `segpipe runs` holds it for a moment to see if it is free
    if lock is None:
        raise UserError(
            f"the run {fingerprint} is being trained already, by {run.trained_by}; "
            "wait for it to end or stop it, then run the same command again"
        )
    try:
        if not run.checkpoints:
            _say_why_fresh(identity)
        write_json(run.folder / _IDENTITY, identity)
        yield run
        run.remove()
    finally:
        lock.release()


def clear() -> list[tuple[Unfinished, str | None]]:
    """Remove all unfinished runs; with each, who trains it where it was left alone for that."""
    cleared = []
    for run in unfinished():
        trained_by = run.trained_by
        if trained_by is None and (lock := locks.take(run.lock)):
            run.remove()
            lock.release()
        cleared.append((run, trained_by))
    return cleared


def _number(checkpoint: Path) -> int:
    return int(checkpoint.stem.partition("-")[2])


def _say_why_fresh(identity: dict[str, Any]) -> None:
    """Print what keeps the latest unfinished run from being gone on with, if there is one."""
    stopped = [run for run in unfinished() if run.checkpoints and not run.trained_by]
    if not stopped:
        return
    last = f"the last unfinished run, {stopped[0].fingerprint} after epoch {stopped[0].epoch}"
    before, now = flat(stopped[0].identity), flat(identity)
    if not before:
        print(f"starting afresh: {last}, has lost its description")
        return
    changed = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    described = ", ".join(_change(key, before.get(key), now.get(key)) for key in changed[:3])
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    print(f"starting afresh: {last}, differs in {described}{more}")


def _change(key: str, before: Any, now: Any) -> str:
    if key.startswith(("code.", "records", "encoder")):  # digests tell a reader nothing
        return key.removeprefix("code.")
    return f"{key.removeprefix('params.')} ({before}, now {now})"
