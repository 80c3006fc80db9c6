"""The params of `fetch`: where samples come from, and what their masks mean."""

import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PlainValidator

from segpipe.common.classes import MaskValue, class_table
from segpipe.common.fields import Count, CountOrZero, Integer, Name, Section, Share


def _mask_value(value: Any) -> MaskValue:
    if isinstance(value, str):
        if re.fullmatch("#[0-9a-fA-F]{6}", value):
            return value
    elif type(value) is int and 0 <= value <= 255:
        return value
    raise ValueError("a mask value is a number 0 to 255, or a colour such as '#ff8000', in quotes")


# One error for a value that is neither kind, where pydantic would give one a kind.
MaskValueParam = Annotated[MaskValue, PlainValidator(_mask_value)]


class ClassParams(Section):
    """One row of the class table."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    value: MaskValueParam  # in the mask files
    colour: str  # in pictures, `#rrggbb`


class FolderParams(Section):
    """The user's own data (`data.source: folder`)."""

    path: Name
    layout: Literal["pairs", "splits", "carvana", "voc", "oxford", "coco", "labelme"]
    test_share: Share  # share of names held out as test split where the layout names none


class TfdsParams(Section):
    """Any data set of TensorFlow Datasets (`data.source: tfds`)."""

    name: Name  # with its version
    train_split: Name
    test_split: Name
    image_key: Name
    mask_key: Name


class SyntheticParams(Section):
    """The built-in drawings (`data.source: synthetic`)."""

    train: Count  # samples
    test: Count
    size: Annotated[Integer, Field(ge=32, le=512)]  # mean edge, pixels
    seed: CountOrZero


class FetchParams(Section):
    """Where samples come from, and what their masks mean."""

    source: Literal["oxford_iiit_pet", "tfds", "folder", "synthetic"]
    folder: FolderParams
    tfds: TfdsParams
    synthetic: SyntheticParams
    on_bad: Literal["auto", "error", "skip"]  # auto: error for a folder, else skip
    classes: Annotated[tuple[ClassParams, ...], Field(min_length=2, max_length=255)]
    ignore: tuple[MaskValueParam, ...]  # mask values that count in neither loss nor score
    shard_mb: Annotated[float, Field(gt=0)]  # size from which a shard is followed by another, 10^6 bytes

    @pydantic.model_validator(mode="after")
    def _classes_differ(self) -> "FetchParams":
        class_table(self.classes, self.ignore)
        return self
