"""`params.yaml` as typed, frozen, checked values.

`params.yaml` says what each knob does; here stand their types and ranges. Unknown keys are errors.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import AfterValidator, Field, PlainValidator

from segpipe.classes import ClassTable, MaskValue, SegmentationClass
from segpipe.errors import ParamsError, UserError
from segpipe.families import FAMILIES, doublings
from segpipe.formats import ExportFormat
from segpipe.scales import sizes
from segpipe.words import did_you_mean

PARAMS_FILE = Path("params.yaml")

WEIGHTINGS = ("none", "balanced", "median_frequency")
"""The ways to weigh classes that need no numbers."""
Resize = Literal["stretch", "pad"]
"""How a picture becomes the network's input: its aspect changed, or kept and the rest filled."""


def _mask_value(value: Any) -> MaskValue:
    if isinstance(value, str):
        if re.fullmatch("#[0-9a-fA-F]{6}", value):
            return value
    elif type(value) is int and 0 <= value <= 255:
        return value
    raise ValueError("a mask value is a number 0 to 255, or a colour such as '#ff8000', in quotes")


def _image_size(value: Any) -> int | tuple[int, int]:
    edges = (value, value) if type(value) is int else value
    if not isinstance(edges, list | tuple) or len(edges) != 2 or {type(e) for e in edges} != {int}:
        raise ValueError("input should be an edge in pixels, or [height, width]")
    if min(edges) < 32:
        raise ValueError("input should be greater than or equal to 32")
    if max(edges) > 4096:
        raise ValueError("input should be less than or equal to 4096")
    if any(edge % 32 for edge in edges):
        raise ValueError("input should be a multiple of 32")
    return value if type(value) is int else (edges[0], edges[1])


def _family(value: Any) -> str:
    if not isinstance(value, str) or value not in FAMILIES:
        hint = did_you_mean(str(value), FAMILIES)
        raise ValueError(f"no encoder of this name{hint} (there are {', '.join(FAMILIES)})")
    return value


def _layers(value: Any) -> Literal["default"] | tuple[str, ...]:
    if value == "default":
        return value
    if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ValueError("input should be default, or a list of two layers or more, finest first")


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


Integer = Annotated[int, Field(strict=True)]  # not true, not "3"
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[Integer, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
ShareOrZero = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0.1, le=10)]
Factors = Annotated[tuple[Factor, Factor], AfterValidator(_least_and_most)]
# One error for a value that is neither kind, where pydantic would give one a kind.
MaskValueParam = Annotated[MaskValue, PlainValidator(_mask_value)]
ImageSize = Annotated[int | tuple[int, int], PlainValidator(_image_size)]
Name = Annotated[str, Field(min_length=1)]
Devices = Annotated[Literal["auto"] | int, PlainValidator(_devices)]
ClassWeights = Annotated[str | dict[str, float], PlainValidator(_class_weights)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClassParams(_Section):
    """One row of the class table."""

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    value: MaskValueParam
    colour: str


class FolderParams(_Section):
    """The user's own data (`data.source: folder`)."""

    path: Name
    layout: Literal["pairs", "splits", "carvana", "voc", "oxford", "coco", "labelme"]
    test_share: Share


class TfdsParams(_Section):
    """Any data set of TensorFlow Datasets (`data.source: tfds`)."""

    name: Name
    train_split: Name
    test_split: Name
    image_key: Name
    mask_key: Name


class SyntheticParams(_Section):
    """The built-in drawings (`data.source: synthetic`)."""

    train: Count
    test: Count
    size: Annotated[Integer, Field(ge=32, le=512)]
    seed: Annotated[Integer, Field(ge=0)]


class DataParams(_Section):
    """Where samples come from and what they become."""

    source: Literal["oxford_iiit_pet", "tfds", "folder", "synthetic"]
    folder: FolderParams
    tfds: TfdsParams
    synthetic: SyntheticParams
    on_bad: Literal["auto", "error", "skip"]
    classes: Annotated[tuple[ClassParams, ...], Field(min_length=2, max_length=255)]
    ignore: tuple[MaskValueParam, ...]
    image_size: ImageSize
    resize: Resize
    validation_share: Share
    shard_mb: Annotated[float, Field(gt=0)]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.image_size if isinstance(self.image_size, tuple) else (self.image_size,) * 2

    @pydantic.model_validator(mode="after")
    def _classes_differ(self) -> "DataParams":
        class_table(self)
        return self


class EncoderParams(_Section):
    """The encoder: the half of the U-Net that sees the image."""

    name: Annotated[str, PlainValidator(_family)]
    weights: Name
    alpha: Annotated[float, Field(gt=0, le=2)]
    layers: Annotated[Literal["default"] | tuple[str, ...], PlainValidator(_layers)]
    trainable: Literal["auto", True, False]

    @pydantic.field_validator("alpha")
    @classmethod
    def _alpha_exists(cls, alpha: float, others: pydantic.ValidationInfo) -> float:
        name = others.data.get("name")
        if name and alpha != 1 and not FAMILIES[name].alpha:
            with_alpha = ", ".join(name for name, family in FAMILIES.items() if family.alpha)
            raise ValueError(f"{name} comes in one width: set it to 1.0 (it is for {with_alpha})")
        return alpha


class DecoderParams(_Section):
    """The decoder: the half of the U-Net that draws the mask."""

    name: Literal["pix2pix", "unet", "light", "fpn"]
    filters: Annotated[tuple[Count, ...], Field(min_length=1)]
    normalization: Literal["batch", "group"]
    batch_norm_momentum: Annotated[float, Field(gt=0, lt=1)]


class ModelParams(_Section):
    """The network."""

    encoder: EncoderParams
    decoder: DecoderParams

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


class PreviewParams(_Section):
    """The pictures that show the model learning."""

    samples: Annotated[Integer, Field(ge=1, le=32)]
    every: Annotated[Integer, Field(ge=0)]


class AugmentParams(_Section):
    """How training images may be changed, new every epoch."""

    flip: bool
    scale: Factors
    aspect: Annotated[float, Field(ge=1, le=4)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    brightness: Part
    contrast: Part
    saturation: Part
    hue: Annotated[float, Field(ge=0, le=0.5)]
    blur: Part
    grey: Part

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie between those of the source."""
        return self.scale != (1, 1) or self.aspect != 1 or self.rotation > 0

    @property
    def recolours(self) -> bool:
        """Whether anything but their place changes."""
        changes = (self.brightness, self.contrast, self.saturation, self.hue, self.blur, self.grey)
        return any(changes)


class LossParams(_Section):
    """What training minimises: a weighted sum of losses, and how they look at pixels."""

    cross_entropy: Weight
    focal: Weight
    dice: Weight
    lovasz: Weight
    focal_gamma: Weight
    label_smoothing: ShareOrZero
    boundary_weight: Weight
    boundary_sigma: Annotated[float, Field(gt=0, le=16)]
    deep_supervision: Weight

    @pydantic.model_validator(mode="after")
    def _is_a_loss(self) -> "LossParams":
        if not any((self.cross_entropy, self.focal, self.dice, self.lovasz)):
            raise ValueError("one of cross_entropy, focal, dice and lovasz must be above 0")
        return self


class FineTuningParams(_Section):
    """The second phase: the encoder is trained too."""

    epochs: Annotated[Integer, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0, le=10)]


class EarlyStoppingParams(_Section):
    """When to give up on a run that no longer improves."""

    patience: Annotated[Integer, Field(ge=0)]


class TrainParams(_Section):
    """The training run."""

    epochs: Count
    fine_tuning: FineTuningParams
    samples: Annotated[Integer, Field(ge=0)]
    steps_per_epoch: Annotated[Integer, Field(ge=0)]
    batch_size: Count
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    schedule: Literal["constant", "cosine"]
    warmup_epochs: Annotated[Integer, Field(ge=0)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: ShareOrZero
    clip_norm: Annotated[float, Field(ge=0)]
    ema: ShareOrZero
    loss: LossParams
    class_weights: ClassWeights
    augment: AugmentParams
    early_stopping: EarlyStoppingParams
    max_minutes: Annotated[float, Field(ge=0)]
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


class TtaParams(_Section):
    """Test-time augmentation: each image is seen in several ways, and the probabilities are averaged."""

    flip: bool
    scales: Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)]


class EvaluateParams(_Section):
    """The scoring run."""

    batch_size: Count
    tta: TtaParams


class ReportParams(_Section):
    """The report's page."""

    samples: Annotated[Integer, Field(ge=1, le=100)]
    worst: Annotated[Integer, Field(ge=0, le=100)]


class ExportParams(_Section):
    """The model in other formats (`segpipe export`)."""

    max_drop: Annotated[float, Field(ge=0, le=1)]
    calibration_samples: Count
    formats: tuple[ExportFormat, ...]


class GateParams(_Section):
    """What one metric must reach before a change is merged (`segpipe check`)."""

    metric: Name
    min: float | None = None
    max: float | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None

    @pydantic.model_validator(mode="after")
    def _limits_something(self) -> "GateParams":
        if self.min is self.max is self.max_drop is None:
            raise ValueError(f"the gate on {self.metric} needs min, max or max_drop")
        return self


class Params(_Section):
    """All of `params.yaml`."""

    seed: Annotated[Integer, Field(ge=0, lt=2**31)]
    data: DataParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
    export: ExportParams
    gates: tuple[GateParams, ...]

    @pydantic.model_validator(mode="after")
    def _weights_are_of_classes(self) -> "Params":
        weights, names = self.train.class_weights, [c.name for c in self.data.classes]
        for name in weights if isinstance(weights, dict) else ():
            if name not in names:
                raise ValueError(
                    f"train.class_weights names {name!r}, which is no class"
                    f"{did_you_mean(name, names)} (data.classes has {', '.join(names)})"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _looks_differ(self) -> "Params":
        try:
            sizes(self.data.size, self.evaluate.tta.scales)
        except UserError as error:
            raise ValueError(f"evaluate.tta.scales: {error}") from None
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check `params.yaml`.

    Raises:
        ParamsError: one line for each thing that is wrong, with file, key, value and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} is not here ({Path.cwd()}); run stages from the root of the repository"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path} is not YAML: {reason} (a colour needs quotes: '#e69f00')") from None
    return check_params(content, path)


def check_params(content: Any, path: Path) -> Params:
    """The params that a file's content gives.

    Raises:
        ParamsError: as `load_params` does.
    """
    try:
        return Params.model_validate(content)
    except pydantic.ValidationError as error:
        raise ParamsError("\n       ".join(f"{path}: {_explain(e)}" for e in error.errors())) from None


def class_table(data: DataParams) -> ClassTable:
    """The class table that `data.classes` and `data.ignore` describe."""
    classes = tuple(SegmentationClass(c.name, c.value, c.colour) for c in data.classes)
    return ClassTable(classes, tuple(data.ignore))


_WORDS = {
    "a valid tuple": "a list",
    "True or False": "true or false",
    "string should match pattern '^[\\w-]+$'": "letters, digits, - and _ alone are allowed",
    "String should match pattern '^[\\w-]+$'": "letters, digits, - and _ alone are allowed",
}
"""What pydantic says in Python's terms, in those of the file."""


def _explain(error: Any) -> str:
    """One line: key, value, what is allowed."""
    location = [str(part) for part in error["loc"]]
    if not location and error["input"] is None:
        return f"empty; expected the sections {', '.join(_keys_at([]))}"
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        hint = did_you_mean(location[-1], allowed)
        return f"{key}: unknown key{hint} (allowed here: {', '.join(allowed)})"
    if error["type"] == "model_type":
        return f"{key} = {error['input']!r}: a section, with the keys {', '.join(_keys_at(location))}"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    for python, words in _WORDS.items():
        message = message.replace(python, words)
    allowed_text = message[0].lower() + message[1:]
    if isinstance(error["input"], dict | list):
        return f"{key or 'the file'}: {allowed_text}"
    return f"{key} = {error['input']!r}: {allowed_text}"


def _keys_at(location: list[str]) -> list[str]:
    """The keys that the section at `location` may hold."""
    model: Any = Params
    for part in location:
        if not part.isdigit():
            model = model.model_fields[part].annotation
            model = next((m for m in get_args(model) if isinstance(m, type)), model)
    return list(model.model_fields)
