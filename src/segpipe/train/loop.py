"""One training run, from a network and samples to the best weights and their history."""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segpipe.common.errors import UserError, brief, raise_lost_interrupt
from segpipe.common.records import Manifest
from segpipe.common.words import few
from segpipe.model import warm_start
from segpipe.model.backbone import depths, set_trainable
from segpipe.model.decoders import HEAD
from segpipe.model.params import Freeze, ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble, divide_logits, freeze
from segpipe.model.warm_start import WarmStart
from segpipe.train import callbacks, provenance, resume, sampling
from segpipe.train.calibration import calibrate
from segpipe.train.class_weights import class_weights
from segpipe.train.engine import Batching, Engine
from segpipe.train.losses import segmentation_loss
from segpipe.train.optimizer import Phase, build_optimizer, phases
from segpipe.train.params import TrainParams
from segpipe.train.previews import Preview
from segpipe.train.profile import profile
from segpipe.train.samples import Samples, steps_per_pass
from segpipe.train.saving import save_model
from segpipe.train.scores import RunningScores


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training run needs, besides the network."""

    identity: dict  # everything that decides the run's result
    manifest: Manifest
    training: Samples
    validation: Samples
    params: TrainParams
    seed: int  # decides order and augmentation
    engine: Engine
    run: resume.Run  # keeps the checkpoints
    previewed: np.ndarray  # images whose predictions `preview` draws, uint8 [n, H, W, bands]
    preview: Preview
    logs: Path  # folder of the live logs, which are no result
    start: WarmStart | None = None  # what the network took of the model that training starts from

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

    @property
    def batching(self) -> Batching:
        """How training batches are drawn. Raises UserError as `probabilities`."""
        # Pieces of pictures have a margin around the crop.
        crop = self.manifest.size if self.manifest.tiles else None
        return Batching(self.params.batch_size, self.seed, self.params.augment, crop, self.probabilities)

    @property
    def probabilities(self) -> np.ndarray | None:
        """The probability of each training sample in a draw; None where a pass takes each once.

        Raises:
            UserError: no training sample holds a class that `train.sampling` names.
        """
        if self.params.sampling == "uniform":
            return None
        names = self.manifest.classes.names
        return sampling.probabilities(self.params.sampling, self.training.held, names)


def build_model(backbone: Backbone, params: ModelParams, manifest: Manifest, seed: int) -> keras.Model:
    """Build the U-Net for some records on a backbone; weights not pretrained are drawn from `seed`.

    Raises:
        UserError: `model.encoder.layers` names a layer that does not fit.
    """
    keras.utils.set_random_seed(seed)
    inner = backbone.build(manifest.size, manifest.channels)
    return assemble(backbone, inner, params, len(manifest.classes), manifest.channels)


def prepare(
    network: keras.Model,
    backbone: Backbone,
    params: TrainParams,
    manifest: Manifest,
    model: dict[str, Any],
) -> WarmStart | None:
    """Give a new network the weights of the model that training starts from, and freeze a part of it.

    `model` is the section `model` of `provenance.resolved`. Prints and returns what the network took;
    None where training starts from no model.

    Raises:
        UserError: that model does not fit, or random weights would be frozen.
    """
    start = warm_start.take(network, backbone.init, manifest, model) if backbone.init else None
    if start:
        print(start.describe(), flush=True)
        _require_trained(network, start, params.freeze, bool(backbone.weights))
    freeze(network, params.freeze)
    return start


def _require_trained(
    network: keras.Model, start: WarmStart, part: Freeze, has_encoder_weights: bool
) -> None:
    """Raise a UserError where `train.freeze` or `model.encoder.trainable` would keep random weights."""
    what, mend = f"train.freeze = {part}", "train.freeze to none"
    if part == "none" and not network.get_layer("encoder").trainable:
        part, what, mend = "encoder", "the frozen encoder", "model.encoder.trainable to true"
    if random := _frozen_at_random(start.others, part, has_encoder_weights):
        raise UserError(
            f"{what} would keep random weights, because {start.init.path} has none for "
            f"{few(random, 6)}; set {mend}"
        )


def _frozen_at_random(others: list[str], part: Freeze, has_weights: bool) -> list[str]:
    """Return the layers that would be frozen with random weights.

    `others` are those without weights from another model; with `has_weights` the encoder has its own.
    """
    encoder = [] if has_weights else [name for name in others if name.startswith("encoder/")]
    decoder = [name for name in others if not name.startswith(("encoder/", HEAD))]
    return {"none": [], "encoder": encoder, "all_but_head": [*encoder, *decoder]}[part]


def train(network: keras.Model, setup: TrainingSetup) -> resume.Progress:
    """Fit a network from the run's last checkpoint on, and give it the weights that validated best.

    Args:
        network: uint8 images to logits, with the initial weights.
        setup: data, params and folders.

    Returns:
        The history, which epoch was the best, and how long it took.

    Raises:
        UserError: the batch is larger than the training split; an epoch is no whole number of
            executions; no training sample holds a class that `train.sampling` names; or
            `train.deterministic` asks for what TensorFlow cannot do.
        Diverged: the loss became NaN or infinite. The best model so far is left with the run.
    """
    params, encoder = setup.params, network.get_layer("encoder")
    probabilities = setup.probabilities  # first: it may refuse the params
    learner = setup.engine.fused(network)
    planned = phases(params, encoder.trainable)

    def compile_for(epoch: int) -> None:
        compile_phase(learner, encoder, setup, next(phase for phase in planned if epoch in phase.epochs))

    progress = resume.restore(setup.run, learner, compile_for)
    print(resume.describe_start(setup.run, progress, params), flush=True)
    if probabilities is not None:
        names = setup.manifest.classes.names
        print(sampling.describe(probabilities, setup.training.held, names), flush=True)
    try:
        _run_phases(learner, encoder, setup, planned, progress)
    except callbacks.Diverged as error:
        if progress.best_epoch:
            learner.set_weights(progress.best_weights)
        kept = _keep_best(network, setup, progress)
        mend = "lower train.learning_rate or set train.clip_norm"
        raise callbacks.Diverged(f"{error}; {kept}; {mend}") from None
    except setup.engine.unsupported as error:
        if not params.deterministic:
            raise
        raise UserError(f"train.deterministic: {brief(error)}; set it to false") from None
    if 0 < progress.epoch <= planned[-1].epochs.start:
        print(f"train.{progress.why_stop(params)} ended the run before its fine-tuning", flush=True)
    learner.set_weights(progress.best_weights)
    return progress


def _run_phases(
    learner: keras.Model,
    encoder: keras.Model,
    setup: TrainingSetup,
    planned: list[Phase],
    progress: resume.Progress,
) -> None:
    """Train through the phases that are left."""
    for phase in planned:
        if progress.epoch in phase.epochs and not progress.why_stop(setup.params):
            if progress.epoch == phase.epochs.start:
                compile_phase(learner, encoder, setup, phase)
            _fit(learner, setup, progress, phase.epochs.stop)


def save_calibrated(
    network: keras.Model, setup: TrainingSetup, progress: resume.Progress, path: Path
) -> dict:
    """Divide a trained network's logits by the temperature that validation proves, and save it.

    Checkpoints hold the logits as they were trained. Returns the content of `summary.json`.
    """
    names = setup.validation.names
    pictures = [name.rpartition("@")[0] for name in names] if setup.manifest.tiles else names
    calibration = calibrate(network, setup.validation, pictures, setup.params.batch_size)
    divide_logits(network, calibration.temperature)
    summary = progress.summary(setup.params) | {"calibration": asdict(calibration)}
    pictures_known = profile(
        network, setup.manifest, setup.training, setup.validation, setup.params.batch_size
    )
    card = provenance.card(
        setup.identity, setup.manifest, summary, calibration.temperature, setup.start, pictures_known
    )
    save_model(network, path, card)
    return summary


def compile_phase(
    learner: keras.Model, encoder: keras.Model, setup: TrainingSetup, phase: Phase
) -> None:
    """Set up a phase, with a new optimizer."""
    params = setup.params
    if encoder.trainable != phase.trains_encoder:
        set_trainable(encoder, phase.trains_encoder, pretrained=True)
    learner.compile(
        build_optimizer(learner.trainable_variables, depths(encoder), params, phase, setup.steps),
        segmentation_loss(params.loss, class_weights(params.class_weights, setup.manifest)),
        metrics=[RunningScores(len(setup.manifest.classes))],
        steps_per_execution=params.steps_per_execution,
        jit_compile=setup.engine.jit_compile(params.jit),
    )
    # For float16 Keras has wrapped it in another optimizer, which has a state of its own.
    learner.optimizer.build(learner.trainable_variables)


def _fit(learner: keras.Model, setup: TrainingSetup, progress: resume.Progress, end: int) -> None:
    """Train from where `progress` is up to the epoch `end`."""
    params, engine = setup.params, setup.engine
    steps = range(progress.epoch * setup.steps, end * setup.steps)
    save = resume.checkpoints(setup.run, progress, params)
    with (
        engine.raises_own_errors(),
        _live_log(setup, progress) as live,
        callbacks.ProgressDisplay(progress, params, setup.steps) as display,
    ):
        learner.fit(
            engine.train_batches(setup.training, steps, setup.batching),
            initial_epoch=progress.epoch,
            epochs=end,
            steps_per_epoch=setup.steps,
            shuffle=False,  # the data set has its own order
            verbose=0,
            validation_data=engine.validation_batches(setup.validation, params.batch_size),
            callbacks=[*_callbacks(setup, progress), *live, display, save],
        )


def _live_log(
    setup: TrainingSetup, progress: resume.Progress
) -> contextlib.AbstractContextManager[list[keras.callbacks.Callback]]:
    """Return the live log; none on the other hosts of a run."""
    if not setup.run.keeps:
        return contextlib.nullcontext([])
    return callbacks.live_log(setup.logs / "live", progress)


def _callbacks(setup: TrainingSetup, progress: resume.Progress) -> list[keras.callbacks.Callback]:
    """Return the callbacks that check, record and draw, in the order in which they must run."""
    previews, folder = setup.params.previews, setup.logs / "tensorboard" / setup.run.fingerprint
    drawing = callbacks.Previews(setup.previewed, previews.samples, previews.every, setup.preview)
    return [
        callbacks.FiniteLoss(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: raise_lost_interrupt()),
        callbacks.stops_with_dvc(),
        callbacks.Recorder(progress),
        *([drawing] if previews.every else []),
        # After `Recorder` and the previews, which need the averaged weights in place.
        *([callbacks.AveragedWeights()] if setup.params.ema else []),
        *([keras.callbacks.TensorBoard(folder, write_graph=False)] if setup.params.tensorboard else []),
    ]


def _keep_best(network: keras.Model, setup: TrainingSetup, progress: resume.Progress) -> str:
    """Save the best model so far with the run's checkpoints; return what became of it, in words."""
    if not progress.best_epoch:
        return "no epoch was finished before"
    path = setup.run.folder / "best.keras"
    try:
        save_calibrated(network, setup, progress, path)
    except (OSError, UserError) as error:
        return f"the best model so far could not be saved ({brief(error)})"
    return f"the best model so far, of epoch {progress.best_epoch}, is {path}"
