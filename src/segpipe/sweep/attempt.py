"""A trial of a sweep as a process: DVC runs its experiment in a clone of the repository.

The clone is at the commit that the sweep began with, so that people may go on working; it uses the
repository's own cache. It keeps the checkpoints of a killed trial, and is removed when the trial ends.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
from dvc.cli import main
from dvc.repo import Repo

from segpipe.common import git, locks
from segpipe.common.errors import UserError, brief
from segpipe.common.files import read_json, replaces
from segpipe.train.resume import Row, unfinished_runs

ROOT = Path(".dvc/tmp/segpipe/sweeps")
_GRACE = 60  # seconds for DVC to end in order


@dataclass(frozen=True)
class Attempt:
    """The process of a trial, its clone and its log."""

    name: str  # of the experiment
    commit: str
    log: Path
    process: BaseProcess

    @property
    def folder(self) -> Path:
        """The clone."""
        return ROOT / self.name

    @property
    def history(self) -> list[Row]:
        """The epochs of the running training; empty before and after it."""
        return next((run.history for run in unfinished_runs(self.folder)), [])

    @property
    def results(self) -> list[Row]:
        """The epochs of the finished training."""
        return pd.read_csv(self.folder / "results/train/history.csv").to_dict("records")

    @property
    def score(self) -> float:
        """The best validation mean IoU of the finished training."""
        return float(read_json(self.folder / "results/train/summary.json", "train")["val_mean_iou"])

    @property
    def error(self) -> str:
        """The last error in the log, or its last line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        written = [line for line in lines if line]
        return next(reversed(errors or written), "it said nothing")

    def stop(self) -> None:
        """End DVC and its stage, as Ctrl-C does."""
        for signal_number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid or 0, signal_number)
            except ProcessLookupError:  # it has ended, or has no process group yet
                self.process.terminate()
            self.process.join(_GRACE)
            if not self.process.is_alive():
                return

    def keep(self) -> None:
        """Copy the experiment into the repository. Raises UserError where DVC made none."""
        ref = _ref(self.name, self.commit)
        _git("fetch", "--quiet", str(self.folder), f"+{ref}:{ref}")

    def remove(self) -> None:
        """Remove the clone, with the checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)
        locks.remove(_lock(self.folder))


def clear(study: str, but: Collection[str]) -> None:
    """Remove the clones of a study's trials, except those of the experiments in `but`."""
    for folder in ROOT.glob(f"{study}-*/"):
        if folder.name not in but:
            shutil.rmtree(folder)


def start(
    name: str, commit: str, overrides: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Attempt:
    """Start an experiment of a commit, or resume a killed one."""
    folder = ROOT / name
    if not folder.is_dir():
        _clone(folder, commit)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["exp", "run", "--name", name]
    arguments += [part for override in overrides for part in ("-S", override)]
    # Spawned, since a fork of a process with Ray's threads can hang.
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(folder, _ref(name, commit), arguments, log.resolve(), dict(environment))
    )
    process.start()
    return Attempt(name, commit, log, process)


def _ref(name: str, commit: str) -> str:
    """Return where DVC keeps an experiment that started from a commit."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def _clone(folder: Path, commit: str) -> None:
    """Clone the repository at a commit, with its Git identity and DVC settings."""
    settings = []
    for key in ("user.name", "user.email"):
        value = (git.output("config", key) or "").strip()
        settings += ["-c", f"{key}={value}"] if value else []
    with replaces(folder) as partial:
        _git("clone", "--quiet", "--shared", "--no-checkout", *settings, ".", str(partial))
        _git("-C", str(partial), "checkout", "--quiet", "--detach", commit)
        if (local := Path(".dvc/config.local")).is_file():
            shutil.copy(local, partial / local)


def _git(*arguments: str) -> None:
    done = git.run(*arguments)
    if done.returncode:
        raise UserError(f"`git {' '.join(arguments)}` failed ({brief(done.stderr)})")


def _run(
    folder: Path, ref: str, arguments: list[str], log: Path, environment: Mapping[str, str]
) -> None:
    """Run DVC in the clone, in a process of its own that ends when the sweep is gone."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if (lock := locks.take(_lock(folder), patience=2 * _GRACE)) is None:
        sys.exit(f"error: this trial runs already, by {locks.holder(_lock(folder))}")
    with Repo() as repository:
        cache = str(repository.cache.local_cache_dir)
    os.chdir(folder)
    os.environ.update(environment)
    code = 0
    # The sweep may have been killed just when the experiment was there.
    if git.run("show-ref", "--verify", "--quiet", ref).returncode:
        main(["cache", "dir", "--quiet", "--local", cache])
        main(["checkout", "--quiet", "--allow-missing"])
        code = main(arguments)
    lock.release()
    sys.exit(code)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os.killpg(0, signal.SIGINT)
