"""What a sweep tries: a YAML file, and params on the command line, both in Hydra's grammar.

DVC takes the same grammar for `-S`, and Hydra's own sweeper by Optuna for ranges.
"""

import hashlib
import importlib.util
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep
from hydra.errors import HydraException
from pydantic import Field

from segpipe.common.errors import ParamsError, UserError, brief
from segpipe.common.fields import Count, Section
from segpipe.common.nested import changed
from segpipe.common.words import did_you_mean
from segpipe.params import recipes
from segpipe.params.load import PARAMS_FILE, Params, check_params, read_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_RANGES = "tag(log, interval(0.0001, 0.01)), int(interval(1, 8)) or choice(a, b)"


class _File(Section):
    """A file such as `experiments/sweep.yaml`."""

    trials: Count = 20
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    params: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a sweep tries, and how it chooses."""

    name: str
    trials: int
    sampler: str
    pruner: str
    ranges: "dict[str, BaseDistribution]"  # by the key of the param
    fixed: dict[str, str]  # what all trials change, by key, in Hydra's grammar
    params: Params  # the committed ones with those that are fixed, or a trial's where these do not fit

    def study(self, commit: str) -> str:
        """Return the name of the study: another commit, range, sampler or pruner makes another."""
        ranges = repr(sorted(self.ranges.items()))
        deciding = json.dumps([commit, self.sampler, self.pruner, sorted(self.fixed.items()), ranges])
        return f"{self.name}-{hashlib.sha256(deciding.encode()).hexdigest()[:7]}"

    def overrides(self, chosen: dict[str, Any]) -> list[str]:
        """Return what a trial changes, as DVC's `-S` takes it. It merges mappings: null before one."""
        return [
            f"{key}={text}"
            for key, value in (self.fixed | chosen).items()
            for text in (["null"] if str(value).startswith("{") else []) + [value]
        ]


def read_plan(file: Path | None, trials: int | None, on_top: Iterable[str]) -> Plan:
    """Read a sweep's file, and put params (`key=range` or `key=value`) on top of its own.

    Raises:
        UserError: Optuna is missing, the file or its name is wrong, a param does not exist, what it
            would get is not allowed, or no param has a range.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("segpipe sweep needs Optuna, which is not here; pip install -e '.[sweep]'")
    content = _read(file) if file else _File()
    written = {key: _text(key, value) for key, value in content.params.items()}
    written |= {key: text for key, _, text in (override.partition("=") for override in on_top)}
    for key in written:
        if key not in recipes.KEYS:
            raise UserError(f"{key}: no such param{did_you_mean(key, recipes.KEYS)}")
    found = {key: _parsed(key, text) for key, text in written.items()}
    ranges = {key: one for key, one in found.items() if not isinstance(one, str)}
    fixed = {key: one for key, one in found.items() if isinstance(one, str)}
    if not ranges:
        raise UserError(f"no param has a range, so there is nothing to search; give one {_RANGES}")
    params = _checked(fixed, ranges)
    name = file.stem if file else "sweep"
    if subprocess.run(["git", "check-ref-format", f"refs/exps/{name}-0"], check=False).returncode:
        raise UserError(
            f"{file}: experiments get the name of this file, which Git does not take; rename it, with "
            "letters, digits, - and _"
        )
    return Plan(name, trials or content.trials, content.sampler, content.pruner, ranges, fixed, params)


def _read(file: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(file.read_text(encoding="utf-8")))
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "the file"
        raise UserError(f"{file}: {where}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {brief(error)}") from None


def _text(key: str, value: Any) -> str:
    """Return a value of the file in Hydra's grammar, in which ranges are written already."""
    return value if isinstance(value, str) else recipes.overrides({key: value})[-1].partition("=")[2]


def _parsed(key: str, text: str) -> "BaseDistribution | str":
    """Return the range that a text is, or the text where it is one value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
        value = override.value()
        tags: set[str] = getattr(value, "tags", set())
        if unknown := tags - ({"log"} if isinstance(value, IntervalSweep) else set()):
            raise ValueError(f"no such tag here: {', '.join(sorted(unknown))}")
        if isinstance(value, ChoiceSweep):  # texts, so that lists may be among them
            return CategoricalDistribution([str(one) for one in override.sweep_string_iterator()])
        if isinstance(value, IntervalSweep):
            kind = IntDistribution if isinstance(value.start, int) else FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
    except (HydraException, ValueError) as error:
        raise UserError(f"{key}={text}: {brief(error)}; expected a value, {_RANGES}") from None
    if override.is_sweep_override():
        raise UserError(f"{key}={text}: a sweep takes {_RANGES}")
    return text


def _value(text: str) -> Any:
    return OverridesParser.create().parse_override(f"value={text}").value()


def _checked(fixed: dict[str, str], ranges: "dict[str, BaseDistribution]") -> Params:
    """Return the params of all trials.

    Raises ParamsError where one is not allowed, nor an end of a range, nor a choice: not with the first
    values of the other ranges, nor with their second ones, and so on.
    """
    base = changed(recipes.committed(), {key: _value(text) for key, text in fixed.items()})
    ends = {key: _ends(found) for key, found in ranges.items()}
    trials = [
        {key: values[min(number, len(values) - 1)] for key, values in ends.items()}
        for number in range(max(map(len, ends.values())))
    ]
    tried = [
        [changed(base, {**trial, key: value}) for trial in trials]
        for key, values in ends.items()
        for value in values
    ]
    for contents in tried:
        _first_allowed(contents)
    return _first_allowed([base, *tried[0]])


def _ends(found: "BaseDistribution") -> list[Any]:
    """Return the choices, or the ends of an interval."""
    if choices := getattr(found, "choices", None):
        return [_value(choice) for choice in choices]
    return [found.low, found.high]  # type: ignore[attr-defined]


def _first_allowed(contents: Iterable[Any]) -> Params:
    """Return the first params that are allowed; raise the error of the first if none is."""
    errors = []
    for content in contents:
        try:
            return check_params(content, PARAMS_FILE)
        except ParamsError as error:
            errors.append(error)
    raise errors[0]
