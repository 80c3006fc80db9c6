"""The phases of a training run, and the optimizer of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from segpipe.train.params import TrainParams


@dataclass(frozen=True)
class Phase:
    """Epochs, counted from 0, that share an optimizer, a learning-rate schedule and what is trained."""

    epochs: range
    learning_rate: float  # after the warm-up
    trains_encoder: bool


def phases(params: TrainParams, trains_encoder: bool) -> list[Phase]:
    """Return the phases of a run: its epochs, then those of fine-tuning, if there are any.

    `trains_encoder` says whether the first phase trains the encoder; fine-tuning always does.
    """
    first, end = params.epochs, params.total_epochs
    planned = (
        Phase(range(first), params.learning_rate, trains_encoder),
        Phase(range(first, end), params.fine_tuning.learning_rate, True),
    )
    return [phase for phase in planned if phase.epochs]


class _Extended:
    """Mixed into an optimizer: a learning rate and weight decay by variable, and a growing average.

    Keras' own weight decay knows only one learning rate. The moving average first spans a tenth of the
    steps so far: Keras' own keeps the first weights, the worst ones, as long as later ones. Source: the
    `num_updates` of
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage
    """

    shares: Sequence[float]  # of the learning rate, by variable
    decays: Sequence[float]  # weight decay by variable

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay a variable, then update it. Keras calls this for each variable in each step."""
        index = self._get_variable_index(variable)
        rate = learning_rate * self.shares[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * self.decays[index] * rate)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _update_model_variables_moving_average(self: Any, variables: Sequence[keras.Variable]) -> None:
        """Update the average. Keras calls this after each step."""
        if self.use_ema:
            step = ops.cast(self.iterations, "float32")
            momentum = ops.minimum(self.ema_momentum, step / (step + 9))
            for variable, average in zip(variables, self._model_variables_moving_average, strict=True):
                average.assign(momentum * average + (1 - momentum) * variable)


class Adam(_Extended, keras.optimizers.Adam):
    """Keras' Adam, extended; with decoupled weight decay it is AdamW too."""


class SGD(_Extended, keras.optimizers.SGD):
    """Keras' SGD, extended."""


def build_optimizer(
    variables: Sequence[keras.Variable],
    depths: Mapping[str, int],
    params: TrainParams,
    phase: Phase,
    steps: int,
) -> keras.Optimizer:
    """Build the optimizer of a phase with epochs of `steps` steps.

    Weight decay is decoupled (https://arxiv.org/abs/1711.05101) and leaves out biases and BatchNorm's
    scales and shifts. Clipping is by the norm of all gradients together. Layer decay is by resolution,
    as for the layers of a transformer in https://arxiv.org/abs/2106.08254.

    Args:
        variables: the trained ones.
        depths: of the encoder's variables, by path, for the layer decay.
        params: the section `train`.
        phase: its epochs and its learning rate.
        steps: in an epoch.
    """
    settings = {
        "learning_rate": learning_rate(params, phase, steps),
        "global_clipnorm": params.clip_norm or None,
        "use_ema": params.ema > 0,
        "ema_momentum": params.ema,
    }
    if params.optimizer == "sgd":
        optimizer = SGD(momentum=0.9, nesterov=True, **settings)
    else:
        optimizer = Adam(**settings)
    optimizer.shares = [params.layer_decay ** depths.get(v.path, 0) for v in variables]
    optimizer.decays = [params.weight_decay if len(v.shape) > 1 else 0.0 for v in variables]
    # Built before the first step, or TensorFlow traces the step twice: once to create variables.
    optimizer.build(variables)
    return optimizer


def learning_rate(
    params: TrainParams, phase: Phase, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the schedule: a linear warm-up from 0, then constant or a cosine down to 0.

    Source of the cosine: https://arxiv.org/abs/1608.03983
    """
    warmup = params.warmup_epochs * steps
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else phase.learning_rate,
        decay_steps=max(1, len(phase.epochs) * steps - warmup),
        alpha=0.0 if params.schedule == "cosine" else 1.0,
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
