"""The params of `train`."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field, PlainValidator

from segpipe.common.fields import (
    Count,
    CountOrZero,
    Factor,
    Integer,
    Number,
    Part,
    Section,
    ShareOrZero,
    Weight,
)
from segpipe.model.params import Freeze

WEIGHTINGS = ("none", "balanced", "median_frequency")
"""The values of `class_weights` besides weights by name."""
NO_HOSTS = "needs JAX, since TensorFlow's MultiWorkerMirroredStrategy does not work with Keras 3"
"""Why TensorFlow trains on one host."""
SAMPLINGS = ("uniform", "balanced")
"""The values of `sampling` besides weights by name."""


def _or_weights(words: tuple[str, ...]) -> PlainValidator:
    """Return a validator that takes one of some words, or weights by class name."""

    def checked(value: Any) -> str | dict[str, float]:
        allowed = f"{', '.join(map(repr, words))} or weights by class name"
        if value == {}:
            raise ValueError(f"no class has a weight; expected {allowed}")
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            for name, weight in value.items():
                if type(weight) not in (int, float) or not 0 < weight < math.inf:
                    raise ValueError(f"the weight of {name!r} is {weight!r}; expected a number above 0")
            return value
        if isinstance(value, str) and value in words:
            return value
        raise ValueError(f"input should be {allowed}")

    return PlainValidator(checked)


def _auto_or_number(things: str) -> PlainValidator:
    """Return a validator that takes `auto`, or a whole number of some things from 1 on."""

    def checked(value: Any) -> Literal["auto"] | int:
        if value == "auto" or (type(value) is int and value >= 1):
            return value
        raise ValueError(f"input should be auto, or a number of {things} of at least 1")

    return PlainValidator(checked)


def _least_and_most(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[0] > factors[1]:
        raise ValueError(f"input should be [least, most], and {factors[0]} is above {factors[1]}")
    return factors


Factors = Annotated[tuple[Factor, Factor], AfterValidator(_least_and_most)]
Devices = Annotated[Literal["auto"] | int, _auto_or_number("devices")]
Hosts = Annotated[Literal["auto"] | int, _auto_or_number("hosts")]
ClassWeights = Annotated[str | dict[str, float], _or_weights(WEIGHTINGS)]
Sampling = Annotated[str | dict[str, float], _or_weights(SAMPLINGS)]


class PreviewParams(Section):
    """The pictures of predictions for a few validation images."""

    samples: Annotated[Integer, Field(ge=1, le=32)]  # images in each picture
    every: CountOrZero  # draw one after every n-th epoch; 0: never


class AugmentParams(Section):
    """Random changes of training images, new every epoch, their masks with them."""

    flip: bool  # mirror half of them
    scale: Factors  # zoom, least and most; then cropped, or placed on black, at random
    aspect: Annotated[Number, Field(ge=1, le=4)]  # width to height may change by this factor
    rotation: Annotated[Number, Field(ge=0, le=180)]  # degrees, to either side
    brightness: Part  # share, to either side: 0.2 is 0.8 to 1.2 times
    contrast: Part  # the same, about the image's mean
    saturation: Part  # the same, about each pixel's grey
    hue: Annotated[Number, Field(ge=0, le=0.5)]  # share of the colour circle, to either side

    @property
    def moves(self) -> bool:
        """Whether pixels are moved by more than a mirror, so that they must be interpolated."""
        return self.scale != (1, 1) or self.aspect != 1 or self.rotation > 0

    @property
    def recolours(self) -> bool:
        """Whether colours change."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


class LossParams(Section):
    """The loss: a sum of these four, each times its weight, and their settings."""

    cross_entropy: Weight  # the mean over the pixels; 0, here and below: left out
    focal: Weight  # cross-entropy with less weight on pixels that are already right
    dice: Weight  # 1 - soft Dice of the classes
    lovasz: Weight  # the Lovász-softmax, a surrogate of 1 - IoU
    focal_gamma: Weight  # how strongly focal lowers the weight of right pixels
    label_smoothing: ShareOrZero  # of the truth, spread over all classes; of cross_entropy and focal

    @pydantic.model_validator(mode="after")
    def _is_a_loss(self) -> "LossParams":
        if not any((self.cross_entropy, self.focal, self.dice, self.lovasz)):
            raise ValueError("one of cross_entropy, focal, dice and lovasz must be above 0")
        return self


class FineTuningParams(Section):
    """A second phase, which also trains a frozen encoder, with a new schedule."""

    epochs: CountOrZero  # how many more; 0: off
    learning_rate: Annotated[Number, Field(gt=0, le=10)]  # of the decoder too


class EarlyStoppingParams(Section):
    """When to end a run that no longer improves."""

    patience: CountOrZero  # epochs without a better validation mean IoU; 0: off


class TrainParams(Section):
    """The training run."""

    epochs: Count  # each ends with validation, a checkpoint and a preview
    fine_tuning: FineTuningParams
    freeze: Freeze  # in all epochs, whatever model.encoder.trainable says
    samples: CountOrZero  # of the training split to train on, the same ones first; 0: all
    steps_per_epoch: CountOrZero  # batches an epoch; 0: one pass over the training split
    batch_size: Count  # images a step; the last, smaller batch of a pass is left out
    optimizer: Literal["adam", "adamw", "sgd"]  # adam and adamw are the same here | sgd: Nesterov, 0.9
    learning_rate: Annotated[Number, Field(gt=0, le=10)]  # after the warm-up
    schedule: Literal["constant", "cosine"]  # cosine: down to 0 at the last step
    warmup_epochs: CountOrZero  # epochs in which the learning rate rises from 0
    layer_decay: Annotated[Number, Field(gt=0, le=1)]  # of the encoder's rate, by resolution; 1: off
    weight_decay: ShareOrZero  # decoupled, of kernels only; 0: off
    clip_norm: Weight  # largest norm of all gradients together; 0: off
    ema: ShareOrZero  # momentum of the weights' moving average, validated and saved; 0: off
    loss: LossParams
    class_weights: ClassWeights  # none | balanced | median_frequency | weights by name
    sampling: Sampling  # uniform | balanced | weights by name: which samples a pass draws
    augment: AugmentParams
    early_stopping: EarlyStoppingParams
    max_minutes: Weight  # stop after the epoch that reaches it; 0: off
    backend: Literal["auto", "tensorflow", "jax"]  # auto: KERAS_BACKEND, else as devices needs it
    devices: Devices  # each takes an equal share of a batch; above 1 with JAX only
    hosts: Hosts  # of a Ray cluster that train one model, each on so many devices; JAX only
    precision: Literal["auto", "float32", "bfloat16", "float16"]  # of computing; auto: float32
    jit: bool | Literal["auto"]  # XLA; auto: on a GPU, and with JAX
    steps_per_execution: Count  # steps between two reads of the loss; must divide those of an epoch
    deterministic: bool  # GPU: bit-identical reruns, slower; a CPU gives them anyway
    threads: Annotated[Integer, Field(ge=0, le=1024)]  # CPU threads; 0: one a core
    in_memory: bool | Literal["auto"]  # the samples; auto: where they take at most half of what is free
    tensorboard: bool  # write logs/tensorboard
    previews: PreviewParams

    @property
    def resolved_precision(self) -> str:
        """`precision` with `auto` resolved: float32, until others are measured to be as good."""
        return "float32" if self.precision == "auto" else self.precision

    @property
    def needs_jax(self) -> str | None:
        """The param that asks for more devices than TensorFlow trains on, in words; None without one."""
        if self.devices not in ("auto", 1):
            return f"train.devices = {self.devices}"
        return f"train.hosts = {self.hosts}" if self.hosts != 1 else None

    def backend_to_set(self, environment: Mapping[str, str]) -> str | None:
        """Return the value to set KERAS_BACKEND to; None where the environment decides."""
        if self.backend != "auto":
            return self.backend
        return "jax" if self.needs_jax and "KERAS_BACKEND" not in environment else None

    @property
    def total_epochs(self) -> int:
        """The epochs of all phases together."""
        return self.epochs + self.fine_tuning.epochs

    @pydantic.model_validator(mode="after")
    def _warm_up_ends_with_the_run(self) -> "TrainParams":
        for name, epochs in (("epochs", self.epochs), ("fine_tuning.epochs", self.fine_tuning.epochs)):
            if epochs and self.warmup_epochs > epochs:
                raise ValueError(f"warmup_epochs = {self.warmup_epochs} is more than {name} = {epochs}")
        return self

    @pydantic.model_validator(mode="after")
    def _what_is_frozen_is_not_fine_tuned(self) -> "TrainParams":
        if self.freeze != "none" and self.fine_tuning.epochs:
            raise ValueError(
                f"freeze = {self.freeze} keeps the encoder as it is, and fine_tuning.epochs = "
                f"{self.fine_tuning.epochs} trains it; set freeze to none, or fine_tuning.epochs to 0"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _devices_share_a_batch(self) -> "TrainParams":
        if self.devices != "auto" and self.batch_size % self.devices:
            raise ValueError(
                f"devices = {self.devices} does not divide batch_size = {self.batch_size}; each takes "
                "an equal share, so change one of them, or set devices to auto"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _hosts_train_in_step(self) -> "TrainParams":
        if self.hosts == 1:
            return self
        hosts = f"hosts = {self.hosts}"
        if self.backend == "tensorflow":
            raise ValueError(f"{hosts} {NO_HOSTS}; set backend to jax, or hosts to 1")
        if self.devices == "auto":
            raise ValueError(
                f"{hosts} needs the same number of devices on each host; set devices to it, not to auto"
            )
        if self.max_minutes:
            raise ValueError(
                f"max_minutes = {self.max_minutes} goes by the clock of each host, so that they would "
                f"stop in different epochs; set it to 0, or hosts to 1 (found {hosts})"
            )
        if self.hosts != "auto" and self.batch_size % (self.hosts * self.devices):
            raise ValueError(
                f"{hosts} with devices = {self.devices} on each do not divide batch_size = "
                f"{self.batch_size}; each device takes an equal share, so change one of them"
            )
        return self
