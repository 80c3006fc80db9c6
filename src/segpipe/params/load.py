"""Load `params.yaml`: put the sections of the stages together, and check that they fit each other."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import Field

from segpipe.common.bands import numbers
from segpipe.common.errors import ParamsError, UserError
from segpipe.common.fields import Integer, Name, Number, Section, Weight
from segpipe.common.words import did_you_mean
from segpipe.evaluate.params import EvaluateParams, sizes
from segpipe.export.params import ExportParams
from segpipe.fetch.params import FetchParams
from segpipe.model.params import ModelParams
from segpipe.preprocess.params import PreprocessParams
from segpipe.report.params import ReportParams
from segpipe.train.params import TrainParams

PARAMS_FILE = Path("params.yaml")
COUNTED = re.compile(r"original\.((pixel_accuracy|mean_iou|mean_dice)$|(iou|dice)\..)")
"""The metrics that each image's counts give (`evaluate/counts.py`)."""
_WORDS = {  # YAML's terms for Python's in pydantic's messages
    "a valid tuple": "a list",
    "True or False": "true or false",
    "string should match pattern '^[\\w-]+$'": "letters, digits, - and _ alone are allowed",
}


class DataParams(FetchParams, PreprocessParams):
    """The source of samples, and how they are preprocessed."""

    @pydantic.model_validator(mode="after")
    def _ranges_fit(self) -> "DataParams":
        bands = len(numbers(self.bands))
        pairs = self.intensity if isinstance(self.intensity[0], tuple) else ()
        if pairs and len(pairs) != bands:
            raise ValueError(
                f"intensity has {len(pairs)} ranges, but the network sees {bands} (data.bands); "
                "give one range for all, or one for each"
            )
        return self


class GateParams(Section):
    """The limits that a metric must keep before a change is merged (`segpipe check`)."""

    metric: Name
    min: Number | None = None
    max: Number | None = None
    max_drop: Weight | None = None
    worse: Literal["significant"] | None = None

    @pydantic.model_validator(mode="after")
    def _limits_something(self) -> "GateParams":
        if self.min is self.max is self.max_drop is self.worse is None:
            raise ValueError(f"the gate on {self.metric} needs min, max, max_drop or worse")
        if self.worse and not COUNTED.match(self.metric):
            raise ValueError(
                f"the gate on {self.metric} has worse, which takes scores of each image's counts: "
                "original.pixel_accuracy, .mean_iou, .mean_dice, .iou.CLASS or .dice.CLASS"
            )
        return self


class Params(Section):
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
    def _sections_fit(self) -> "Params":
        names = [c.name for c in self.data.classes]
        for key in ("class_weights", "sampling"):
            weights = getattr(self.train, key)
            for name in weights if isinstance(weights, dict) else ():
                if name not in names:
                    raise ValueError(
                        f"train.{key} names {name!r}, which is no class"
                        f"{did_you_mean(name, names)} (data.classes has {', '.join(names)})"
                    )
        random = self.model.encoder.weights == "none" or self.train.freeze == "all_but_head"
        if self.train.freeze != "none" and self.model.init == "none" and random:
            raise ValueError(
                f"train.freeze = {self.train.freeze} would keep random weights as they are; set "
                "model.init to a model, or train.freeze to none"
            )
        known = numbers(self.data.bands)
        for number in () if self.report.bands == "auto" else self.report.bands:
            if number not in known:
                raise ValueError(
                    f"report.bands shows band {number}, which the network does not see (by data.bands "
                    f"it sees {', '.join(map(str, known))})"
                )
        try:
            sizes(self.data.image_size, self.evaluate.tta.scales)
        except UserError as error:
            raise ValueError(f"evaluate.tta.scales: {error}") from None
        return self


class _Loader(yaml.SafeLoader):
    """Takes `on` and `no` for text, and `2e-05` for a number, as YAML 1.2 and so DVC do.

    PyYAML's own loader takes the first two for booleans, and the last for text.
    """


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in forms if letter in "tTfF" or not tag.endswith(":bool")]
    for letter, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    [*"-+.0123456789"],
)


def read_yaml(text: str) -> Any:
    """Return the content of a text in YAML, whose only booleans are `true` and `false`."""
    return yaml.load(text, _Loader)


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check `params.yaml`.

    Raises ParamsError with a line for each error: file, key, value and what is allowed.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} is not here ({Path.cwd()}); run stages from the root of the repository"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path} is not YAML: {reason} (a colour needs quotes: '#e69f00')") from None
    return check_params(content, path)


def check_params(content: Any, path: Path) -> Params:
    """Check the content of a file; raises as `load_params`."""
    try:
        return Params.model_validate(content)
    except pydantic.ValidationError as error:
        raise ParamsError("\n       ".join(f"{path}: {_line(e)}" for e in error.errors())) from None


def _line(error: Any) -> str:
    """Describe an error of pydantic on one line: key, value, what is allowed."""
    location, value = [str(part) for part in error["loc"]], error["input"]
    key = ".".join(location)
    if not location and value is None:
        return f"empty; expected the sections {', '.join(_keys_at([]))}"
    if error["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        hint = did_you_mean(location[-1], allowed)
        return f"{key}: unknown key{hint} (allowed here: {', '.join(allowed)})"
    if error["type"] == "model_type":
        return f"{key} = {value!r}: a section, with the keys {', '.join(_keys_at(location))}"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    for python, words in _WORDS.items():
        message = message.replace(python, words)
    where = key or "the file"
    return f"{where}: {message}" if isinstance(value, dict | list) else f"{where} = {value!r}: {message}"


def _keys_at(location: list[str]) -> list[str]:
    """Return the keys that the section at `location` may hold."""
    model: Any = Params
    for part in location:
        if not part.isdigit():
            model = model.model_fields[part].annotation
            model = next((m for m in get_args(model) if isinstance(m, type)), model)
    return list(model.model_fields)
