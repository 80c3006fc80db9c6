"""One training run, from records and an encoder to the best model and its history."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from segpipe.common.errors import UserError, brief
from segpipe.common.files import first_by_hash
from segpipe.common.records import Manifest
from segpipe.model.assemble import assemble
from segpipe.model.backbone import depths, set_trainable
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.train import provenance
from segpipe.train.arrays import Arrays, Samples, steps_per_pass
from segpipe.train.callbacks import (
    AveragedWeights,
    Checkpoints,
    Diverged,
    FiniteLoss,
    Interrupted,
    Orphaned,
    Previews,
    Recorder,
    Watch,
)
from segpipe.train.class_weights import class_weights
from segpipe.train.live import live_log
from segpipe.train.losses import segmentation_loss
from segpipe.train.optimizer import build_optimizer
from segpipe.train.params import TrainParams
from segpipe.train.phases import Phase, phases
from segpipe.train.previews import Preview
from segpipe.train.progress import Progress, describe_start, restore
from segpipe.train.saving import save_model
from segpipe.train.scores import RunningScores
from segpipe.train.unfinished import Unfinished

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras' names of what `train.precision` may be."""


@dataclass(frozen=True)
class Work:
    """What a training run works with, besides the network."""

    identity: dict
    """All that decides what the run gives."""
    manifest: Manifest
    training: Samples
    validation: Samples
    params: TrainParams
    seed: int
    """Decides order and augmentation."""
    run: Unfinished
    """Where its checkpoints go."""
    previewed: np.ndarray
    """Images whose predictions `preview` draws, uint8 [n, H, W, 3]."""
    preview: Preview
    logs: Path
    """Folder of the live logs, which are no result."""

    @property
    def steps(self) -> int:
        """Batches an epoch.

        Raises:
            UserError: the batch is larger than the training split, or an epoch is no whole number of
                executions.
        """
        a_pass = steps_per_pass(self.training, self.params.batch_size)
        steps = self.params.steps_per_epoch or a_pass
        if steps % self.params.steps_per_execution:
            raise UserError(
                f"train.steps_per_execution = {self.params.steps_per_execution} does not divide the "
                f"{steps} steps of an epoch; set one that does, or train.steps_per_epoch"
            )
        return steps

    def card(self, progress: Progress) -> dict:
        """What the saved model carries about itself."""
        return provenance.card(self.identity, self.manifest, progress.summary(self.params))


def backend() -> ModuleType:
    """What differs by Keras' backend: `on_tensorflow` or `on_jax`, which hold the same names.

    Raises:
        UserError: Keras is set to another backend.
    """
    name = keras.config.backend()
    if name == "jax":
        from segpipe.train import on_jax

        return on_jax
    if name == "tensorflow":
        from segpipe.train import on_tensorflow

        return on_tensorflow
    raise UserError(f"Keras is set to {name}; set train.backend to tensorflow or jax")


def prepare(params: TrainParams) -> str:
    """Have Keras compute as the params ask, before it computes anything; say on what, in words."""
    keras.config.set_dtype_policy(POLICIES[provenance.precision(params)])
    return backend().prepare(params)


def build_model(backbone: Backbone, params: ModelParams, manifest: Manifest, seed: int) -> keras.Model:
    """The U-Net for some records on a backbone, weights drawn from `seed` or pretrained."""
    keras.utils.set_random_seed(seed)
    return assemble(backbone, backbone.build(manifest.size), params, len(manifest.classes))


def preview_samples(validation: Samples, count: int) -> Arrays:
    """What the previews draw, the same few samples every time: the first by hash of the name."""
    names = validation.names
    first = first_by_hash(range(len(names)), count, name=names.__getitem__)
    return Arrays(*validation.take(first), [names[i] for i in first])


def train(network: keras.Model, work: Work) -> Progress:
    """Fit a network from the run's last checkpoint on, and give it the weights that validated best.

    Args:
        network: uint8 images to logits, with the initial weights.
        work: data, params and places.

    Returns:
        The history, which epoch was the best, and how long it took.

    Raises:
        UserError: the batch is larger than the training split; an epoch is no whole number of
            executions; or `train.deterministic` asks for what TensorFlow cannot do.
        Diverged: the loss became NaN or infinite. The best model so far is left with the run.
    """
    params, encoder = work.params, network.get_layer("encoder")
    learner = backend().fused(network)
    planned = phases(params, encoder.trainable)

    def compile_for(epoch: int) -> None:
        _compile(learner, encoder, work, next(phase for phase in planned if epoch in phase.epochs))

    progress = restore(work.run, learner, compile_for)
    print(describe_start(work.run, progress, params), flush=True)
    try:
        for phase in planned:
            if progress.epoch in phase.epochs and not progress.why_stop(params):
                if progress.epoch == phase.epochs.start:
                    _compile(learner, encoder, work, phase)
                _fit(learner, work, progress, phase.epochs.stop)
    except Diverged as error:
        if progress.best_epoch:
            learner.set_weights(progress.best_weights)
        kept = _keep_best(network, work, progress)
        mend = "lower train.learning_rate or set train.clip_norm"
        raise Diverged(f"{error}; {kept}; {mend}") from None
    except backend().Unsupported as error:
        if not params.deterministic:
            raise
        raise UserError(f"train.deterministic: {brief(error)}; set it to false") from None
    learner.set_weights(progress.best_weights)
    return progress


def _compile(learner: keras.Model, encoder: keras.Model, work: Work, phase: Phase) -> None:
    """Prepare for a phase, with a new optimizer."""
    params = work.params
    if encoder.trainable != phase.trains_encoder:
        set_trainable(encoder, phase.trains_encoder, pretrained=True)
    learner.compile(
        *backend().over_devices(
            build_optimizer(learner.trainable_variables, depths(encoder), params, phase, work.steps),
            segmentation_loss(params.loss, class_weights(params.class_weights, work.manifest)),
        ),
        metrics=[RunningScores(len(work.manifest.classes))],
        steps_per_execution=params.steps_per_execution,
        jit_compile=backend().jit_compile(params.jit),
    )
    # Keras has put ours into another one for float16, which has a state of its own.
    learner.optimizer.build(learner.trainable_variables)


def _fit(learner: keras.Model, work: Work, progress: Progress, end: int) -> None:
    """Train on from where `progress` is up to the epoch `end`."""
    params, every = work.params, work.params.previews.every
    steps = range(progress.epoch * work.steps, end * work.steps)
    batches = backend().train_batches(work.training, params.batch_size, steps, work.seed, params.augment)
    with (
        backend().own_errors(),
        backend().statistics_over_devices(learner),
        live_log(work.logs / "live", progress) as live,
        Watch(progress, params, work.steps) as watch,
    ):
        callbacks = [
            FiniteLoss(),
            Interrupted(),
            Orphaned(),
            Recorder(progress),
            *([Previews(work.previewed, every, work.preview)] if every else []),
            *([AveragedWeights()] if params.ema else []),  # after those that look at what it puts in
            *_tensorboard(work),
            *live,
            watch,
            Checkpoints(work.run, progress, params),
        ]
        learner.fit(
            batches,
            initial_epoch=progress.epoch,
            epochs=end,
            steps_per_epoch=work.steps,
            shuffle=False,  # the data set has its own order
            verbose=0,
            validation_data=backend().validation_batches(work.validation, params.batch_size),
            # What several devices share out Keras cannot count.
            validation_steps=math.ceil(len(work.validation.names) / params.batch_size),
            callbacks=callbacks,
        )


def _keep_best(network: keras.Model, work: Work, progress: Progress) -> str:
    if not progress.best_epoch:
        return "no epoch was finished before"
    path = work.run.folder / "best.keras"
    try:
        save_model(network, path, work.card(progress))
    except OSError as error:
        return f"the best model so far could not be saved ({brief(error)})"
    return f"the best model so far, of epoch {progress.best_epoch}, is {path}"


def _tensorboard(work: Work) -> list[keras.callbacks.Callback]:
    if not work.params.tensorboard:
        return []
    folder = work.logs / "tensorboard" / work.run.fingerprint
    return [keras.callbacks.TensorBoard(folder, write_graph=False)]
