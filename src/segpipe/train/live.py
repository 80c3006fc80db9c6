"""The live log of a training run, by DVCLive."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from segpipe.train.callbacks import Logs
from segpipe.train.resume import Progress, Row

if TYPE_CHECKING:
    import dvclive


@contextlib.contextmanager
def live_log(folder: Path, progress: Progress) -> Iterator[list[keras.callbacks.Callback]]:
    """Yield the callback that writes the log; none without DVCLive, as on a bare training machine."""
    try:
        import dvclive
    except ModuleNotFoundError as error:
        if error.name != "dvclive":
            raise
        log = contextlib.nullcontext()
    else:  # by default DVCLive would edit dvc.yaml and save an experiment
        log = dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report="html")
    with log as live:
        yield [] if live is None else [LiveLog(live, progress)]


class LiveLog(keras.callbacks.Callback):
    """Writes DVCLive's log and page during training; they are no out of the stage."""

    def __init__(self, live: "dvclive.Live", progress: Progress) -> None:
        super().__init__()
        self.live, self.progress = live, progress

    def on_train_begin(self, logs: Logs = None) -> None:
        """Log the history anew: an earlier process may have logged an epoch that has no checkpoint."""
        for step, row in enumerate(self.progress.history):
            self.live.step = step
            self._log(row)
        if self.progress.history:
            self.live.next_step()  # writes the page, once

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the epoch."""
        self._log(self.progress.history[-1])
        self.live.next_step()

    def _log(self, row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                self.live.log_metric(name, value)
