"""The live log of a training run, by DVCLive."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import keras

from segpipe.train.callbacks import Logs
from segpipe.train.progress import Progress

if TYPE_CHECKING:
    import dvclive


@contextlib.contextmanager
def live_log(folder: Path, progress: Progress) -> Iterator[list[keras.callbacks.Callback]]:
    """The callback that keeps the log; none where DVC is not installed, as on a bare training machine.

    The log leaves the pipeline alone: by default DVCLive would edit dvc.yaml and save an experiment.
    """
    dvclive = _dvclive()
    if dvclive is None:
        yield []
        return
    with dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report="html") as live:
        yield [LiveLog(live, progress)]


def _dvclive() -> ModuleType | None:
    try:
        import dvclive
    except ModuleNotFoundError as error:
        if error.name != "dvclive":
            raise
        return None
    return dvclive


class LiveLog(keras.callbacks.Callback):
    """Writes DVCLive's log and page while training goes on; no out of the stage."""

    def __init__(self, live: "dvclive.Live", progress: Progress) -> None:
        super().__init__()
        self.live, self.progress = live, progress

    def on_train_begin(self, logs: Logs = None) -> None:
        """Log anew what earlier processes did: they may have logged an epoch that was not kept."""
        for step, row in enumerate(self.progress.history):
            self.live.step = step
            self._log(row)
        if self.progress.history:
            self.live.next_step()  # writes the page, once

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch."""
        self._log(self.progress.history[-1])
        self.live.next_step()

    def _log(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self.live.log_metric(name, value)
