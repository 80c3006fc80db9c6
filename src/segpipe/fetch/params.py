"""The params of `fetch`: where samples come from, and what their masks mean."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PlainValidator

from segpipe.common.bands import Bands
from segpipe.common.classes import REST, MaskValue, class_table, is_colour, is_label
from segpipe.common.duplicates import OnNear
from segpipe.common.fields import Count, CountOrZero, Integer, Name, Number, Section, Share
from segpipe.common.parallel import Workers
from segpipe.common.words import did_you_mean
from segpipe.fetch.groups import Group, group_param
from segpipe.fetch.layouts import LAYOUTS

MOST_BANDS = 16  # of a picture that `data.bands` takes


def _mask_value(value: Any) -> MaskValue:
    in_words = value == REST or is_label(value) or is_colour(value)
    if in_words or (type(value) is int and 0 <= value <= 255):
        return value
    raise ValueError(
        "a mask value is a number 0 to 255, a colour such as '#ff8000', in quotes, or a label of shapes"
    )


def _mask_values(value: Any) -> MaskValue | tuple[MaskValue, ...]:
    if not isinstance(value, list | tuple):
        return _mask_value(value)
    if not value:
        raise ValueError("a list of values needs one at least")
    return tuple(map(_mask_value, value))


def _bands(value: Any) -> Bands:
    if value == "rgb":
        return value
    numbered = isinstance(value, list | tuple) and {type(number) for number in value} == {int}
    if numbered and min(value) >= 1 and len({*value}) == len(value) <= MOST_BANDS:
        return tuple(value)
    raise ValueError(
        f"input should be rgb, or a list of 1 to {MOST_BANDS} different band numbers from 1"
    )


def _layout(value: Any) -> str:
    if value not in LAYOUTS:
        hint = did_you_mean(str(value), LAYOUTS)
        raise ValueError(f"no layout of this name{hint} (there are {', '.join(LAYOUTS)})")
    return value


# A plain validator gives one error for a value of neither kind, where pydantic would give two.
MaskValueParam = Annotated[MaskValue, PlainValidator(_mask_value)]


class ClassParams(Section):
    """One row of the class table."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    # In the masks, one or several; `rest`: all that no other class and no ignored value names.
    value: Annotated[MaskValue | tuple[MaskValue, ...], PlainValidator(_mask_values)]
    colour: str  # in pictures, `#rrggbb`


class FolderParams(Section):
    """The user's own data (`data.source: folder`)."""

    path: Name  # the folder, relative to the repository or absolute
    layout: Annotated[str, PlainValidator(_layout)]  # a module of `fetch/layouts`
    group: Annotated[Group, PlainValidator(group_param)] = "none"  # which samples no split parts
    test_share: Share  # share of names held out as test split where the layout names none


class TfdsParams(Section):
    """Any data set of TensorFlow Datasets (`data.source: tfds`)."""

    name: Name  # with its version
    train_split: Name  # split to train and validate on; TFDS's slices work
    test_split: Name  # split that only `evaluate` sees
    image_key: Name  # feature with the image
    mask_key: Name  # feature with the mask, one channel of class values


class SyntheticParams(Section):
    """The built-in drawings (`data.source: synthetic`)."""

    train: Count  # samples to train and validate on
    test: Count  # samples in the test split
    size: Annotated[Integer, Field(ge=32, le=512)]  # mean edge, pixels
    seed: CountOrZero


class FetchParams(Section):
    """Where samples come from, and what their masks mean."""

    source: Literal["oxford_iiit_pet", "tfds", "folder", "synthetic"]
    folder: FolderParams
    tfds: TfdsParams
    synthetic: SyntheticParams
    bands: Annotated[Bands, PlainValidator(_bands)]  # of the pictures, in the order the network sees
    on_bad: Literal["auto", "error", "skip"]  # auto: error for a folder, else skip
    # Applies to pictures that look like one of another split; `preprocess` reads it too.
    on_near_duplicate: OnNear
    classes: Annotated[tuple[ClassParams, ...], Field(min_length=2, max_length=255)]
    ignore: tuple[MaskValueParam, ...]  # that count in neither loss nor score
    workers: Workers  # that check and resize samples; `preprocess` reads it too
    shard_mb: Annotated[Number, Field(gt=0)]  # size from which a new shard begins, 10^6 bytes

    @property
    def source_name(self) -> str:
        """The source for people: the data set's own name where TFDS has it."""
        return self.tfds.name if self.source == "tfds" else self.source

    @property
    def skips_bad(self) -> bool:
        """Whether bad samples are left out, instead of stopping `fetch`."""
        return self.on_bad == "skip" or (self.on_bad == "auto" and self.source != "folder")

    @pydantic.model_validator(mode="after")
    def _classes_differ(self) -> "FetchParams":
        class_table(self.classes, self.ignore)
        return self
