"""Runs the stages of experiments without DVC. Experiments with equal params share a folder."""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import yaml
from _results import ROOT, outcome

from segpipe.common import git
from segpipe.common.errors import UserError
from segpipe.common.files import read_json, replaces, sha256, write_json, write_text
from segpipe.common.nested import changed, flat
from segpipe.evaluate.counts import Counts, decode

SCRATCH = ROOT / ".experiments"
CODE = SCRATCH / "code"
OF_DATA = ("data.", "model.encoder.name", "model.encoder.alpha", "model.encoder.weights")
"""How the keys of the params begin that decide the content of `data`."""
OF_TRAINING = ("seed", "data", "model", "train")
"""The sections of the params that decide the trained model."""
LOG = "logs/train.json"
"""The last file that the stage `train` writes."""


def copy_code() -> str | None:
    """Copy the code, which may then be edited; return its commit, or None where files differ from it."""
    shutil.rmtree(CODE, ignore_errors=True)
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, CODE / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", CODE)
    changes = ["status", "--porcelain", "src", "stages", "dvc.yaml"]
    is_committed = git.output(*changes, folder=ROOT) == ""
    return git.output("rev-parse", "HEAD", folder=ROOT) if is_committed else None


def lock() -> TextIO:
    """Return a locked file. Stages inherit it, and keep it locked when this process alone is killed."""
    SCRATCH.mkdir(exist_ok=True)
    file = (SCRATCH / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for an experiment that runs in {SCRATCH} already", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    os.set_inheritable(file.fileno(), True)
    return file


class Stages:
    """Runs the stages of experiments, also from several threads."""

    def __init__(self, side_by_side: bool) -> None:
        """`side_by_side`: experiments share the machine, so that their seconds mean nothing."""
        self.side_by_side = side_by_side
        self.locks: dict[str, threading.Lock] = {}
        self.prepared: set[Path] = set()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def run(self, params: dict[str, Any], log: Path, init: Path | None = None) -> dict[str, Any]:
        """Run the stages that have not run yet for these params; return what they gave.

        `init` is a model to start from.

        Raises:
            UserError: a stage failed; the message is its error, and where the log is.
        """
        with self._trained(params, log, init) as folder:
            self._stage("evaluate", folder, log)
            trained = read_json(folder / LOG, "train")
            return outcome(folder) | {key: trained[key] for key in ("seconds", "device")}

    def model(self, params: dict[str, Any], log: Path) -> Path:
        """Run the stages up to `train` that have not run yet; return the model. Raises as `run`."""
        with self._trained(params, log) as folder:
            return folder / "models/model.keras"

    def counts(self, params: dict[str, Any], log: Path) -> Counts:
        """Run the stages that have not run yet; return the test images' counts. Raises as `run`."""
        with self._trained(params, log) as folder:
            self._stage("evaluate", folder, log)
            return decode((folder / "results/evaluate/counts.json").read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def _trained(self, params: dict[str, Any], log: Path, init: Path | None = None) -> Iterator[Path]:
        """Train, unless it was done; yield the folder, which is this thread's alone meanwhile."""
        content = _with_absolute_paths(params)
        write_text(log, "")
        data = self._data(content, log)
        if init:
            content = changed(content, {"model.init": _given(init, data)})
        deciding = {name: content[name] for name in OF_TRAINING}
        folder = SCRATCH / f"train-{_digest([deciding, _backend(), _checksums(data)])}"
        with self.locks.setdefault(folder.name, threading.Lock()):
            _prepare(folder, content)
            if not (folder / "data").is_symlink():
                (folder / "data").symlink_to(data / "data")
            if not (folder / LOG).is_file():
                self._stage("train", folder, log)
                if self.side_by_side:
                    write_json(folder / LOG, read_json(folder / LOG, "train") | {"seconds": None})
            yield folder

    def stop(self) -> None:
        """End what runs; nothing starts any more."""
        self.stopped = True
        for process in self.running.copy():
            process.terminate()

    def _data(self, content: dict[str, Any], log: Path) -> Path:
        """Return a folder with the records and the encoder.

        Every start of the runner makes them anew: the pictures may have changed.
        """
        deciding = {key: value for key, value in flat(content).items() if key.startswith(OF_DATA)}
        folder = SCRATCH / f"data-{_digest(deciding)}"
        with self.locks.setdefault(folder.name, threading.Lock()):
            if folder not in self.prepared:
                _prepare(folder, content)
                for stage in ("fetch", "fetch_encoder", "preprocess"):
                    self._stage(stage, folder, log)
                self.prepared.add(folder)
        return folder

    def _stage(self, name: str, folder: Path, log: Path) -> None:
        with log.open("ab") as file:
            file.write(f"Running stage {name!r} in {folder}\n".encode())
            file.flush()
            process = subprocess.Popen(
                [sys.executable, f"stages/{name}.py"], cwd=folder, env=self._environment(folder),
                stdout=file, stderr=file, close_fds=False,  # it holds the lock, too
            )  # fmt: skip
            self.running.add(process)
            if self.stopped:
                process.terminate()
            process.wait()
            self.running.remove(process)
        if process.returncode:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            said = next((line for line in lines if line.startswith("error: ")), lines[-1])
            raise UserError(f"{said.removeprefix('error: ')} (all of it: {log})")

    def _environment(self, folder: Path) -> dict[str, str]:
        own = {
            "KERAS_BACKEND": _backend(),
            "DVC_ROOT": str(folder),  # where unfinished runs are kept
            # Seeds of a row compile the same step.
            "JAX_COMPILATION_CACHE_DIR": str(SCRATCH / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        if self.side_by_side:  # on one GPU: without a cache of its own each would wait for the others
            own |= {"XDG_CACHE_HOME": str(folder / "cache"), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        return os.environ | own


def _backend() -> str:
    """Return what Keras computes with where `train.backend` is auto."""
    installed = "tensorflow" if importlib.util.find_spec("tensorflow") else "jax"
    return os.environ.get("KERAS_BACKEND", installed)


def _with_absolute_paths(params: dict[str, Any]) -> dict[str, Any]:
    folder, weights = params["data"]["folder"]["path"], params["model"]["encoder"]["weights"]
    paths = {"data.folder.path": str(ROOT / folder)}
    if weights not in ("imagenet", "none"):
        paths["model.encoder.weights"] = str(ROOT / weights)
    return changed(params, paths | {"train.previews.every": 0})  # a picture changes no result


def _given(init: Path, data: Path) -> str:
    """Copy a model to where `model.init` looks for it; return its name, which stands for its content."""
    name = f"{sha256(init)[:12]}.keras"
    with replaces(data / "data/init" / name) as partial:
        shutil.copy(init, partial)
    return name


def _checksums(data: Path) -> dict[str, str]:
    """Return the checksums of the training's code, and of the descriptions of its data."""
    stages = yaml.safe_load((CODE / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = [CODE / dep for dep in stages["train"]["deps"] if not dep.startswith("data/")]
    code = [file for dep in deps for file in (dep, *dep.rglob("*.py")) if file.is_file()]
    return {str(file): sha256(file) for file in sorted([*code, *data.glob("data/*/*.json")])}


def _prepare(folder: Path, params: dict[str, Any]) -> None:
    """Make a folder that stages can run in."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "stages", "dvc.yaml"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(CODE / name)
    write_text(folder / "params.yaml", yaml.safe_dump(params))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
