"""A whole training run, as the stage runs it and, with it, each other host of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segpipe.common import traits
from segpipe.common.devices import take_gpus
from segpipe.common.quiet import quiet
from segpipe.common.records import Manifest
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.train import loop, mosaics
from segpipe.train.engine import current_engine
from segpipe.train.params import TrainParams
from segpipe.train.previews import Preview, drawer, sheet
from segpipe.train.resume import Progress, Run
from segpipe.train.samples import Arrays, Shards, preview_samples, read_samples


class Trained(NamedTuple):
    """The results of a job, besides the model's file."""

    device: str  # in words
    progress: Progress
    summary: dict[str, Any]  # the content of `summary.json`


@dataclass(frozen=True)
class Job:
    """The inputs of a training run, and the places of its files."""

    seed: int
    model: ModelParams
    params: TrainParams
    resolved: dict[str, Any]  # the params of `provenance.resolved`
    identity: dict[str, Any]  # everything that decides the run's result
    manifest: Manifest
    backbone: Backbone
    run: Run
    saved: Path  # the model's file
    previews: Path  # the folder of the pictures
    logs: Path
    located: Sequence[Shards] = ()  # both splits, where several hosts train

    @property
    def files(self) -> dict[str, Path]:
        """The files that the run reads, by their names for `with_copies`; no `located` shards."""
        shards = [] if self.located else [*self.manifest.shards("train"), *self.manifest.shards("val")]
        files = {f"records/{path.name}": path for path in shards}
        files |= {f"{self.run.fingerprint}/{name}": self.run.folder / name for name in self.run.names}
        if self.manifest.traits:
            files[f"records/{traits.FILE}"] = self.manifest.folder / traits.FILE
        if self.backbone.weights:
            files["backbone.weights.h5"] = self.backbone.weights
        if self.backbone.init:
            files["init.keras"] = self.backbone.init.path
        return files

    def with_copies(self, folder: Path, keeps: bool = False) -> "Job":
        """Return the job of another host: copies of the `files` lie in `folder`.

        It keeps checkpoints and previews there only if it is asked to.
        """
        backbone, run = self.backbone, self.run
        if backbone.weights:
            backbone = replace(backbone, weights=folder / "backbone.weights.h5")
        if backbone.init:
            backbone = replace(backbone, init=replace(backbone.init, path=folder / "init.keras"))
        params = self.params.model_copy(update={"tensorboard": False})
        return replace(
            self, params=params, backbone=backbone,
            manifest=replace(self.manifest, folder=folder / "records"),
            run=replace(run, folder=folder / run.fingerprint, keeps=keeps),
            saved=folder / "model.keras", previews=folder / "previews", logs=folder,
        )  # fmt: skip

    def check(self) -> None:
        """Raise UserError if the backend cannot train on as many devices and hosts as the params say."""
        current_engine().gpus(self.params)

    def train(self) -> Trained:
        """Train or resume, and save the model.

        Raises:
            UserError: as `loop.build_model`, `loop.prepare` and `loop.train`.
        """
        engine = current_engine()
        take_gpus(engine.gpus(self.params), self.params.batch_size)
        with quiet():  # TensorFlow looks for GPUs
            device = engine.prepare(self.params)
        print(device)
        training, validation = read_samples(self.manifest, self.params, self.located)
        choose = mosaics.tile_samples if self.manifest.tiles else preview_samples
        shown = choose(validation, self.params.previews.samples)
        draw = self._drawer(shown)
        network = loop.build_model(self.backbone, self.model, self.manifest, self.seed)
        start = loop.prepare(network, self.backbone, self.params, self.manifest, self.resolved["model"])
        setup = loop.TrainingSetup(
            identity=self.identity, manifest=self.manifest, params=self.params, seed=self.seed,
            training=training, validation=validation, engine=engine, run=self.run,
            previewed=shown.images, preview=draw, logs=self.logs, start=start,
        )  # fmt: skip
        progress = loop.train(network, setup)
        return Trained(device, progress, loop.save_calibrated(network, setup, progress, self.saved))

    def _drawer(self, shown: Arrays) -> Preview:
        """Return a function that draws the previews; nothing on a host that keeps no checkpoints."""
        if not self.run.keeps:
            return _draw_nothing
        # DVC empties the results before it runs the stage, but not the run's folder.
        draws_sheet = mosaics.sheet if self.manifest.tiles else sheet
        return drawer(shown, self.manifest.classes, self.run.previews, self.previews, draws_sheet)


def _draw_nothing(epoch: int, predictions: np.ndarray) -> None:
    """Draw no preview: this host predicted only because all hosts compute together."""
