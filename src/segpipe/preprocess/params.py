"""The params of `preprocess`."""

import math
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, Field, PlainValidator

from segpipe.common.fields import Count, CountOrZero, Number, Part, Section, Share
from segpipe.common.records import Resize

Range = tuple[float, float]  # of values in the pictures: low becomes 0, high 255


def _image_size(value: Any) -> tuple[int, int]:
    edges = (value, value) if type(value) is int else value
    if not isinstance(edges, list | tuple) or len(edges) != 2 or {type(e) for e in edges} != {int}:
        raise ValueError("input should be an edge in pixels, or [height, width]")
    if min(edges) < 32:
        raise ValueError("input should be greater than or equal to 32")
    if max(edges) > 4096:
        raise ValueError("input should be less than or equal to 4096")
    if any(edge % 32 for edge in edges):
        raise ValueError("input should be a multiple of 32")
    return edges[0], edges[1]


def _intensity(value: Any) -> Literal["auto"] | Range | tuple[Range, ...]:
    if value == "auto":
        return value
    if isinstance(value, list | tuple) and value:
        if all(isinstance(pair, list | tuple) for pair in value):
            return tuple(map(_range, value))
        return _range(value)
    raise ValueError("input should be auto, [low, high], or a list of such pairs, one a band")


def _range(pair: Any) -> Range:
    ends_are_numbers = all(type(end) in (int, float) and math.isfinite(end) for end in pair)
    if len(pair) != 2 or not ends_are_numbers:
        raise ValueError(f"a range is two numbers, [low, high], and this is {list(pair)}")
    low, high = map(float, pair)
    if low >= high:
        raise ValueError(f"low must be less than high, and this is [{pair[0]}, {pair[1]}]")
    return low, high


class TilesParams(Section):
    """How pictures are cut into tiles of the network's size."""

    scale: Annotated[Number, Field(ge=0.1, le=2)]  # of the picture's own resolution
    margin: Part  # round a training piece, as a share of the network's edge
    keep_empty: Part  # share of the training pieces without an object that are kept


class PreprocessParams(Section):
    """The network's input, and the validation split."""

    # auto: percentiles of the training pixels for more than 8 bits | one range | one a band
    intensity: Annotated[Literal["auto"] | Range | tuple[Range, ...], PlainValidator(_intensity)]
    image_size: Annotated[tuple[int, int], BeforeValidator(_image_size)]  # height, width; or one edge
    # stretch: fill the input | pad: keep the aspect, ignore the rest | tiles: keep the resolution
    resize: Resize
    tiles: TilesParams
    validation_share: Share  # share of the training split held out for validation
    folds: Count  # above 1: part the training split; one fold of it is held out instead
    fold: CountOrZero  # the number of that fold

    @pydantic.model_validator(mode="after")
    def _there_is_such_a_fold(self) -> "PreprocessParams":
        if self.fold >= self.folds:
            last = self.folds - 1
            raise ValueError(
                f"data.fold = {self.fold} is beyond data.folds = {self.folds} (0 to {last})"
            )
        return self
