"""The optimizer that the params ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from segpipe.train.params import TrainParams
from segpipe.train.phases import Phase


class _ByVariable:
    """Mixed into an optimizer: each variable has its own share of the learning rate, and may decay.

    Weight decay is ours, because Keras' knows one learning rate alone.
    """

    shares: Sequence[float]
    decays: Sequence[float]

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay, then do what the optimizer does. Keras calls it for each variable in each step."""
        index = self._get_variable_index(variable)
        rate = learning_rate * self.shares[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * self.decays[index] * rate)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]


class _GrowingAverage:
    """Mixed into an optimizer: its moving average is at first over fewer steps, a tenth of those taken.

    Keras' own holds on to the first weights as long as to any, although they are the worst.

    Source: the `num_updates` of https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage
    """

    def _update_model_variables_moving_average(self: Any, variables: Sequence[keras.Variable]) -> None:
        """Take the variables in. Keras calls it after each step."""
        if self.use_ema:
            step = ops.cast(self.iterations, "float32")
            momentum = ops.minimum(self.ema_momentum, step / (step + 9))
            for variable, average in zip(variables, self._model_variables_moving_average, strict=True):
                average.assign(momentum * average + (1 - momentum) * variable)


class Adam(_ByVariable, _GrowingAverage, keras.optimizers.Adam):
    """Keras' own, by variable; with decoupled weight decay it is AdamW too."""


class SGD(_ByVariable, _GrowingAverage, keras.optimizers.SGD):
    """Keras' own, by variable."""


def build_optimizer(
    variables: Sequence[keras.Variable],
    depths: Mapping[str, int],
    params: TrainParams,
    phase: Phase,
    steps: int,
) -> keras.Optimizer:
    """An optimizer with its slots made, for a phase with epochs of `steps` steps.

    Weight decay is decoupled (https://arxiv.org/abs/1711.05101) and leaves out biases and BatchNorm's
    scales and shifts. Clipping is by the norm of all gradients together. Layer decay is by resolution,
    as for the layers of a transformer in https://arxiv.org/abs/2106.08254.

    Args:
        variables: what is trained.
        depths: the encoder's depths, by a variable's path, for the layer decay.
        params: the section `train`.
        phase: its epochs and its learning rate.
        steps: how many an epoch has.
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
    """The learning rate by step: up from 0 in a straight line, then constant or down to 0 by cosine.

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
