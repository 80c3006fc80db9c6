"""How far a training run has come: its state, and that state as checkpoint files that survive a kill."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segpipe.common.errors import brief
from segpipe.common.files import replaces
from segpipe.common.words import duration
from segpipe.train.params import TrainParams
from segpipe.train.unfinished import Unfinished

Row = dict[str, float]
"""An epoch of the history."""


@dataclass
class Progress:
    """What has happened so far, apart from the values of the network's and the optimizer's variables."""

    epoch: int = 0
    """Epochs finished."""
    seconds: float = 0.0
    """Time spent on them, in all the processes that took part."""
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_mean_iou: float = -1.0
    best_weights: list[np.ndarray] = field(default_factory=list)

    def summary(self, params: TrainParams) -> dict[str, Any]:
        """How the run went: epochs, the param that ended it, and the scores of the best epoch."""
        best = self.history[self.best_epoch - 1]
        scores = {key: value for key, value in best.items() if key.startswith("val_")}
        stopped_by = self.why_stop(params)
        return {"epochs": self.epoch, "stopped_by": stopped_by, "best_epoch": self.best_epoch, **scores}

    def why_stop(self, params: TrainParams) -> str | None:
        """The param that ends the run after this epoch, or None; all else it remembers nothing of."""
        patience = params.early_stopping.patience
        if self.epoch >= params.total_epochs:
            return "epochs"
        if patience and self.epoch - self.best_epoch >= patience:
            return "early_stopping.patience"
        if params.max_minutes and self.seconds >= 60 * params.max_minutes:
            return "max_minutes"
        return None


def save(run: Unfinished, progress: Progress, network: keras.Model) -> None:
    """Write a checkpoint, prove it readable, and only then remove the one before the last."""
    arrays = [*_values(network), *progress.best_weights]
    plain = asdict(replace(progress, best_weights=[])) | {"best": len(progress.best_weights)}
    path = run.folder / f"epoch-{progress.epoch:04d}.npz"
    with replaces(path) as partial:
        with partial.open("wb") as file:
            np.savez(file, *arrays, progress=np.array(json.dumps(plain)))
        with zipfile.ZipFile(partial) as written:
            if damaged := written.testzip():
                raise OSError(f"{path}: reads back damaged ({damaged})")
    for old in run.checkpoints[2:]:
        old.unlink()


def restore(run: Unfinished, network: keras.Model, compile_for: Callable[[int], None]) -> Progress:
    """Put the newest checkpoint that can be read into the network; a fresh start without one.

    One that cannot be read is set aside with a warning.

    Args:
        run: whose checkpoints.
        network: gets the values of its variables and of its optimizer's.
        compile_for: gives the network the optimizer of an epoch, counted from 0.
    """
    for path in run.checkpoints:
        try:
            progress, values = _read(path)
            compile_for(progress.epoch - 1)
            _assign(network, values)
        except Exception as error:  # there is no end to what a flipped bit can make of an archive
            path.replace(path.with_suffix(".unreadable"))
            print(f"warning: {path} cannot be read ({brief(error)}): set aside")
            continue
        return progress
    return Progress()


def _variables(network: keras.Model) -> list[keras.Variable]:
    """All that training changes: weights, moving statistics, random states, the optimizer's slots."""
    return [*network.variables, *network.optimizer.variables]


def _values(network: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in _variables(network)]


def _assign(network: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(_variables(network), values, strict=True):
        if variable.shape != value.shape:
            raise ValueError(f"{variable.path} has shape {variable.shape}, not {value.shape}")
    for variable, value in zip(_variables(network), values, strict=True):
        variable.assign(value)


def _read(path: Path) -> tuple[Progress, list[np.ndarray]]:
    with np.load(path, allow_pickle=False) as archive:
        plain: dict[str, Any] = json.loads(str(archive["progress"]))
        arrays = [archive[f"arr_{number}"] for number in range(len(archive.files) - 1)]
    values = len(arrays) - plain.pop("best")
    return Progress(**(plain | {"best_weights": arrays[values:]})), arrays[:values]


def describe_start(run: Unfinished, progress: Progress, params: TrainParams) -> str:
    """One line on where the run begins."""
    if not progress.epoch:
        return f"training run {run.fingerprint}, {params.total_epochs} epochs"
    ago = duration(run.age)
    return (
        f"resuming run {run.fingerprint} after epoch {progress.epoch} of {params.total_epochs}, "
        f"left {ago} ago"
    )
