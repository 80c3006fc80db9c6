"""Checkpoints of unfinished runs, and how a run resumes from them.

A run has a folder under `.dvc/tmp/segpipe/runs`, named after its fingerprint, until it has succeeded.
The folder is no DVC out, since DVC deletes the outs of a stage before it runs the stage. `DVC_ROOT`
names the repository: the user's own, even while an experiment runs in a temporary copy of it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segpipe.common import locks
from segpipe.common.errors import UserError, brief
from segpipe.common.files import replaces, write_json
from segpipe.common.nested import flat
from segpipe.common.words import duration, few
from segpipe.train.params import TrainParams

if TYPE_CHECKING:  # Keras takes seconds, and `segpipe runs` needs none of it
    import keras

_IDENTITY = "identity.json"
_GONE = ".gone"

Row = dict[str, float]
"""An epoch of the history."""


@dataclass(frozen=True)
class Run:
    """A run that has not succeeded yet, and its folder."""

    folder: Path
    keeps: bool = True  # whether this process keeps its checkpoints: one host of several does

    @property
    def fingerprint(self) -> str:
        """The run's name: 16 hexadecimal digits."""
        return self.folder.name

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the run's result; empty where it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / _IDENTITY).read_text(encoding="utf-8"))
        return {}

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, the newest first."""
        return sorted(self.folder.glob("epoch-*.npz"), key=_number, reverse=True)

    @property
    def previews(self) -> Path:
        """The folder of the previews that survive a kill."""
        return self.folder / "previews"

    @property
    def names(self) -> list[str]:
        """The checkpoints and the previews, relative to the folder."""
        paths = [*self.checkpoints, *self.previews.glob("epoch-*.png")]
        return [path.relative_to(self.folder).as_posix() for path in paths]

    @property
    def epoch(self) -> int:
        """The last epoch that the run has finished."""
        return next(map(_number, self.checkpoints), 0)

    @property
    def history(self) -> list[Row]:
        """The epochs that the run has finished, a row each."""
        for path in self.checkpoints:
            unreadable = contextlib.suppress(OSError, ValueError, zipfile.BadZipFile, KeyError)
            with unreadable, np.load(path, allow_pickle=False) as archive:
                return json.loads(str(archive["progress"]))["history"]
        return []

    @property
    def age(self) -> float:
        """Seconds since the last checkpoint, or the start; 0 where the clock was set back since."""
        for path in (*self.checkpoints, self.folder / _IDENTITY):
            with contextlib.suppress(FileNotFoundError):  # the run may succeed, and go, meanwhile
                return max(0.0, time.time() - path.stat().st_mtime)
        return 0.0

    @property
    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
        return total

    @property
    def lock(self) -> Path:
        """The file that the process which trains this run holds a lock on."""
        return self.folder.with_suffix(".lock")

    @property
    def trained_by(self) -> str | None:
        """The process that trains this run now, in words; None where it has stopped."""
        return locks.holder(self.lock)

    def content(self, known: Collection[str]) -> dict[str, bytes]:
        """Return the checkpoints and previews that are not known, by name."""
        content = {}
        for name in {*self.names} - {*known}:
            with contextlib.suppress(FileNotFoundError):  # a newer checkpoint has replaced it
                content[name] = (self.folder / name).read_bytes()
        return content

    def take(self, content: Mapping[str, bytes]) -> None:
        """Keep the checkpoints and previews of a process elsewhere, which trains the run."""
        for name, data in content.items():
            with replaces(self.folder / name) as partial:
                partial.write_bytes(data)
        self.thin()

    def thin(self) -> None:
        """Remove all checkpoints but the last two."""
        for old in self.checkpoints[2:]:
            old.unlink()

    def remove(self) -> None:
        """Remove all of it. Call it only with the lock held."""
        gone = self.folder.with_suffix(_GONE)
        self.folder.replace(gone)  # in one step: a kill must not leave half a run to resume from
        shutil.rmtree(gone)
        locks.remove(self.lock)


def fingerprint(identity: dict[str, Any]) -> str:
    """Return a hash of everything that decides a run's result: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def root(repository: Path | None = None) -> Path:
    """Return the folder of all unfinished runs of a repository, by default of the one around."""
    if repository is None:
        here = Path.cwd()
        around = next((path for path in (here, *here.parents) if (path / ".dvc").is_dir()), here)
        repository = Path(os.environ.get("DVC_ROOT", around))
    return repository / ".dvc" / "tmp" / "segpipe" / "runs"


def unfinished_runs(repository: Path | None = None) -> list[Run]:
    """Return all unfinished runs, the latest first."""
    folders = [p for p in root(repository).glob("*") if p.is_dir() and p.suffix != _GONE]
    return sorted(map(Run, folders), key=lambda run: run.age)


@contextlib.contextmanager
def claim(identity: dict[str, Any]) -> Iterator[Run]:
    """Yield the run of an identity, for this process alone; it is removed when the block succeeds.

    Raises:
        UserError: another process trains the same run; the message says which.
    """
    for half_removed in root().glob(f"*{_GONE}"):
        shutil.rmtree(half_removed, ignore_errors=True)
    run = Run(root() / fingerprint(identity))
    lock = locks.take(run.lock, patience=2)  # `segpipe runs` holds it for a moment to see if it is free
    if lock is None:
        raise UserError(
            f"the run {run.fingerprint} is being trained already, by {run.trained_by}; "
            "wait for it to end or stop it, then run the same command again"
        )
    try:
        if not run.checkpoints:
            _say_why_not_resumed(identity)
        write_json(run.folder / _IDENTITY, identity)
        yield run
        run.remove()
    finally:
        lock.release()


def clear() -> list[tuple[Run, str | None]]:
    """Remove all unfinished runs but those in training; return each with the process that trains it."""
    cleared = []
    for run in unfinished_runs():
        trained_by = run.trained_by
        if trained_by is None and (lock := locks.take(run.lock)):
            run.remove()
            lock.release()
        cleared.append((run, trained_by))
    return cleared


def _number(checkpoint: Path) -> int:
    return int(checkpoint.stem.partition("-")[2])


def _say_why_not_resumed(identity: dict[str, Any]) -> None:
    """Print why the latest unfinished run cannot be resumed, if there is one."""
    stopped = [run for run in unfinished_runs() if run.checkpoints and not run.trained_by]
    if not stopped:
        return
    last = f"the last unfinished run, {stopped[0].fingerprint} after epoch {stopped[0].epoch}"
    before, now = flat(stopped[0].identity), flat(identity)
    if not before:
        print(f"starting afresh: {last}, has lost its description")
        return
    changed = [key for key in {**now, **before} if before.get(key) != now.get(key)]
    described = [_change(key, before.get(key), now.get(key)) for key in changed]
    print(f"starting afresh: {last}, differs in {few(described, 3)}")


def _change(key: str, before: Any, now: Any) -> str:
    if key.startswith(("code.", "records", "encoder")):  # digests tell a reader nothing
        return key.removeprefix("code.")
    return f"{key.removeprefix('params.')} ({before}, now {now})"


@dataclass
class Progress:
    """The state of a run, apart from the variables of the network and the optimizer."""

    epoch: int = 0  # epochs finished
    seconds: float = 0.0  # spent on them, in all the processes that took part
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_mean_iou: float = -1.0
    best_weights: list[np.ndarray] = field(default_factory=list)

    def summary(self, params: TrainParams) -> dict[str, Any]:
        """Return the epochs, the param that ended the run, and the scores of the best epoch."""
        best = self.history[self.best_epoch - 1]
        scores = {key: value for key, value in best.items() if key.startswith("val_")}
        stopped_by = self.why_stop(params)
        return {"epochs": self.epoch, "stopped_by": stopped_by, "best_epoch": self.best_epoch, **scores}

    def why_stop(self, params: TrainParams) -> str | None:
        """Return the param that ends the run after this epoch, or None.

        Depends only on this object and `params`, so that a resumed run stops in the same epoch.
        """
        patience = params.early_stopping.patience
        if self.epoch >= params.total_epochs:
            return "epochs"
        if patience and self.epoch - self.best_epoch >= patience:
            return "early_stopping.patience"
        if params.max_minutes and self.seconds >= 60 * params.max_minutes:
            return "max_minutes"
        return None


def checkpoints(run: Run, progress: Progress, params: TrainParams) -> "keras.callbacks.Callback":
    """Return a callback that saves every epoch's end, and stops training where `progress` says so.

    Where the run does not keep its checkpoints, it saves none.
    """
    import keras

    def after_epoch(epoch: int, logs: dict | None = None) -> None:
        if run.keeps:  # first: if killed here, the next process stops as well
            save(run, progress, callback.model)
        callback.model.stop_training = progress.why_stop(params) is not None

    callback = keras.callbacks.LambdaCallback(on_epoch_end=after_epoch)
    return callback


def save(run: Run, progress: Progress, network: "keras.Model") -> None:
    """Write a checkpoint, prove it readable, and only then remove the one before the last."""
    arrays = [*(variable.numpy() for variable in _variables(network)), *progress.best_weights]
    plain = asdict(replace(progress, best_weights=[])) | {"best": len(progress.best_weights)}
    path = run.folder / f"epoch-{progress.epoch:04d}.npz"
    with replaces(path) as partial:
        with partial.open("wb") as file:
            np.savez(file, *arrays, progress=np.array(json.dumps(plain)))
        with zipfile.ZipFile(partial) as written:
            if damaged := written.testzip():
                raise OSError(f"{path}: reads back damaged ({damaged})")
    run.thin()


def restore(run: Run, network: "keras.Model", compile_for: Callable[[int], None]) -> Progress:
    """Load the newest readable checkpoint into the network; without one, return a fresh start.

    One that is unreadable or does not fit is set aside with a warning. A checkpoint holds the
    optimizer's variables too, so `compile_for` must give the network the optimizer of an epoch, counted
    from 0.
    """
    for path in run.checkpoints:
        try:
            progress, values = _read(path)
        except Exception as error:  # a flipped bit in an archive can raise nearly anything
            _set_aside(path, error)
            continue
        compile_for(progress.epoch - 1)  # not guarded: a full GPU says nothing about the checkpoint
        try:
            _assign(network, values)
        except ValueError as error:
            _set_aside(path, error)
            continue
        return progress
    return Progress()


def describe_start(run: Run, progress: Progress, params: TrainParams) -> str:
    """Return one line that says where the run begins."""
    if not progress.epoch:
        return f"training run {run.fingerprint}, {params.total_epochs} epochs"
    return (
        f"resuming run {run.fingerprint} after epoch {progress.epoch} of {params.total_epochs}, "
        f"left {duration(run.age)} ago"
    )


def _variables(network: "keras.Model") -> "list[keras.Variable]":
    """Return all that training changes: weights, statistics, random states, the optimizer's slots."""
    return [*network.variables, *network.optimizer.variables]


def _set_aside(path: Path, error: Exception) -> None:
    path.replace(path.with_suffix(".unreadable"))
    print(f"warning: {path} cannot be read ({brief(error)}): set aside")


def _assign(network: "keras.Model", values: list[np.ndarray]) -> None:
    variables = _variables(network)
    for variable, value in zip(variables, values, strict=True):
        if variable.shape != value.shape:
            raise ValueError(f"{variable.path} has shape {variable.shape}, not {value.shape}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _read(path: Path) -> tuple[Progress, list[np.ndarray]]:
    with np.load(path, allow_pickle=False) as archive:
        plain: dict[str, Any] = json.loads(str(archive["progress"]))
        arrays = [archive[f"arr_{number}"] for number in range(len(archive.files) - 1)]
    values = len(arrays) - plain.pop("best")
    return Progress(**(plain | {"best_weights": arrays[values:]})), arrays[:values]
