"""The params of the network."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PlainValidator

from segpipe.common.fields import Count, Name, Number, Section
from segpipe.common.words import did_you_mean
from segpipe.model.encoders import ENCODERS, doublings

Freeze = Literal["none", "encoder", "all_but_head"]
"""The part of the network that training leaves as it is (`train.freeze`)."""


def _encoder(value: Any) -> str:
    if not isinstance(value, str) or value not in ENCODERS:
        hint = did_you_mean(str(value), ENCODERS)
        raise ValueError(f"no encoder of this name{hint} (there are {', '.join(ENCODERS)})")
    return value


def _layers(value: Any) -> Literal["default"] | tuple[str, ...]:
    if value == "default":
        return value
    if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ValueError("input should be default, or a list of two layers or more, finest first")


def _init(value: Any) -> str:
    if value == "none":
        return value
    if isinstance(value, str) and value.endswith(".keras"):
        path = PurePath(value)
        if not path.is_absolute() and ".." not in path.parts:
            return value
    raise ValueError("input should be none, or the name of a .keras file in data/init; copy it there")


class EncoderParams(Section):
    """The encoder: the half of the U-Net that sees the image."""

    name: Annotated[str, PlainValidator(_encoder)]  # a row of `encoders.ENCODERS`
    weights: Name  # imagenet: downloaded | none: random | path of a weights file
    alpha: Annotated[Number, Field(gt=0, le=2)]  # width multiplier of a MobileNet; the others have 1.0
    layers: Annotated[Literal["default"] | tuple[str, ...], PlainValidator(_layers)]  # feed the decoder
    trainable: Literal["auto", True, False]  # auto: frozen with pretrained weights, else trained

    @pydantic.field_validator("alpha")
    @classmethod
    def _alpha_exists(cls, alpha: float, others: pydantic.ValidationInfo) -> float:
        name = others.data.get("name")
        if name and alpha != 1 and not ENCODERS[name].alpha:
            with_alpha = ", ".join(name for name, encoder in ENCODERS.items() if encoder.alpha)
            raise ValueError(f"{name} comes in one width: set it to 1.0 (it is for {with_alpha})")
        return alpha


class DecoderParams(Section):
    """The decoder: the half of the U-Net that draws the mask."""

    # a row of `decoders.DECODERS`
    name: Literal["pix2pix", "unet", "light", "fpn", "aspp"]
    filters: Annotated[tuple[Count, ...], Field(min_length=1)]  # channels by doubling, coarsest first
    normalization: Literal["batch", "group"]  # group: does not depend on the batch
    batch_norm_momentum: Annotated[Number, Field(gt=0, lt=1)]  # of its moving statistics

    @pydantic.field_validator("filters")
    @classmethod
    def _one_width_for_aspp(
        cls, filters: tuple[int, ...], others: pydantic.ValidationInfo
    ) -> tuple[int, ...]:
        if others.data.get("name") == "aspp" and len(set(filters)) > 1:
            raise ValueError(
                f"aspp has one width: make all equal, such as {[filters[-1]] * len(filters)}"
            )
        return filters


class ModelParams(Section):
    """The network."""

    encoder: EncoderParams
    decoder: DecoderParams
    init: Annotated[str, PlainValidator(_init)]  # none | a model in data/init to start from

    @pydantic.model_validator(mode="after")
    def _one_filter_count_a_doubling(self) -> "ModelParams":
        needed = doublings(self.encoder.name, self.encoder.layers)
        if len(self.decoder.filters) != needed:
            coarsest = 2 ** (needed + 1)
            raise ValueError(
                f"decoder.filters takes one for each doubling from stride {coarsest} (the last of "
                f"encoder.layers) to stride 2, which makes {needed}, and has {len(self.decoder.filters)}"
            )
        return self
