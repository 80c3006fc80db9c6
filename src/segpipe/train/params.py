"""The params of `train`."""

import math
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field, PlainValidator

from segpipe.common.fields import (
    Count,
    CountOrZero,
    Factor,
    Integer,
    Part,
    Section,
    ShareOrZero,
    Weight,
)

WEIGHTINGS = ("none", "balanced", "median_frequency")
"""The ways to weigh classes that need no numbers."""


def _class_weights(value: Any) -> str | dict[str, float]:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        for name, weight in value.items():
            if type(weight) not in (int, float) or not 0 < weight < math.inf:
                raise ValueError(f"the weight of {name!r} is {weight!r}; expected a number above 0")
        return value
    if isinstance(value, str) and value in WEIGHTINGS:
        return value
    raise ValueError(f"input should be {', '.join(map(repr, WEIGHTINGS))} or weights by class name")


def _devices(value: Any) -> Literal["auto"] | int:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("input should be auto, or a number of devices of at least 1")


def _least_and_most(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[0] > factors[1]:
        raise ValueError(f"input should be [least, most], and {factors[0]} is above {factors[1]}")
    return factors


Factors = Annotated[tuple[Factor, Factor], AfterValidator(_least_and_most)]
Devices = Annotated[Literal["auto"] | int, PlainValidator(_devices)]
ClassWeights = Annotated[str | dict[str, float], PlainValidator(_class_weights)]


class PreviewParams(Section):
    """The pictures that show the model learning."""

    samples: Annotated[Integer, Field(ge=1, le=32)]
    every: CountOrZero


class AugmentParams(Section):
    """How training images may be changed, new every epoch."""

    flip: bool
    scale: Factors
    aspect: Annotated[float, Field(ge=1, le=4)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    brightness: Part
    contrast: Part
    saturation: Part
    hue: Annotated[float, Field(ge=0, le=0.5)]

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie between those of the source."""
        return self.scale != (1, 1) or self.aspect != 1 or self.rotation > 0

    @property
    def recolours(self) -> bool:
        """Whether anything but their place changes."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


class LossParams(Section):
    """What training minimises: a weighted sum of losses, and how they look at pixels."""

    cross_entropy: Weight
    focal: Weight
    dice: Weight
    lovasz: Weight
    focal_gamma: Weight
    label_smoothing: ShareOrZero

    @pydantic.model_validator(mode="after")
    def _is_a_loss(self) -> "LossParams":
        if not any((self.cross_entropy, self.focal, self.dice, self.lovasz)):
            raise ValueError("one of cross_entropy, focal, dice and lovasz must be above 0")
        return self


class FineTuningParams(Section):
    """The second phase: the encoder is trained too."""

    epochs: CountOrZero
    learning_rate: Annotated[float, Field(gt=0, le=10)]


class EarlyStoppingParams(Section):
    """When to give up on a run that no longer improves."""

    patience: CountOrZero


class TrainParams(Section):
    """The training run."""

    epochs: Count
    fine_tuning: FineTuningParams
    samples: CountOrZero
    steps_per_epoch: CountOrZero
    batch_size: Count
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    schedule: Literal["constant", "cosine"]
    warmup_epochs: CountOrZero
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: ShareOrZero
    clip_norm: Weight
    ema: ShareOrZero
    loss: LossParams
    class_weights: ClassWeights
    augment: AugmentParams
    early_stopping: EarlyStoppingParams
    max_minutes: Weight
    backend: Literal["auto", "tensorflow", "jax"]
    devices: Devices
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    jit: bool | Literal["auto"]
    steps_per_execution: Count
    deterministic: bool
    threads: Annotated[Integer, Field(ge=0, le=1024)]
    in_memory: bool | Literal["auto"]
    tensorboard: bool
    previews: PreviewParams

    @property
    def total_epochs(self) -> int:
        """Those of all phases together."""
        return self.epochs + self.fine_tuning.epochs

    @pydantic.model_validator(mode="after")
    def _warm_up_ends_with_the_run(self) -> "TrainParams":
        for name, epochs in (("epochs", self.epochs), ("fine_tuning.epochs", self.fine_tuning.epochs)):
            if epochs and self.warmup_epochs > epochs:
                raise ValueError(f"warmup_epochs = {self.warmup_epochs} is more than {name} = {epochs}")
        return self

    @pydantic.model_validator(mode="after")
    def _devices_share_a_batch(self) -> "TrainParams":
        if self.devices != "auto" and self.batch_size % self.devices:
            raise ValueError(
                f"devices = {self.devices} does not divide batch_size = {self.batch_size}; each takes "
                "an equal share, so change one of them, or set devices to auto"
            )
        return self
