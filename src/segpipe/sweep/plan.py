"""The search space of a sweep: a YAML file and params on the command line, both in Hydra's grammar.

DVC takes the same grammar for `-S`, and Hydra's own sweeper by Optuna for ranges.
"""

import hashlib
import importlib.util
import json
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

from segpipe.common import git
from segpipe.common.errors import ParamsError, UserError, brief
from segpipe.common.fields import Count, Section, first_error
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
    """The params that a sweep tries, and how it chooses them."""

    name: str
    trials: int
    sampler: str
    pruner: str
    ranges: "dict[str, BaseDistribution]"  # by the key of the param
    fixed: dict[str, str]  # values that all trials set, by key, in Hydra's grammar
    params: Params  # the committed ones with the fixed values; those of a trial where these do not fit

    def study(self, commit: str) -> str:
        """Return the name of the study, which depends on commit, ranges, fixed values and methods."""
        ranges = repr(sorted(self.ranges.items()))
        deciding = json.dumps([commit, self.sampler, self.pruner, sorted(self.fixed.items()), ranges])
        return f"{self.name}-{hashlib.sha256(deciding.encode()).hexdigest()[:7]}"

    def overrides(self, chosen: dict[str, Any]) -> list[str]:
        """Return a trial's params as DVC's `-S` takes them; DVC merges mappings, so null goes first."""
        return [
            f"{key}={text}"
            for key, value in (self.fixed | chosen).items()
            for text in (["null"] if str(value).startswith("{") else []) + [value]
        ]


def read_plan(file: Path | None, trials: int | None, on_top: Iterable[str]) -> Plan:
    """Read a sweep's file, and put params (`key=range` or `key=value`) on top of its own.

    Raises:
        UserError: Optuna is missing, the file or its name is wrong, a param does not exist, a value is
            not allowed, or no param has a range.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("segpipe sweep needs Optuna, which is not here; pip install -e '.[sweep]'")
    content = _read(file) if file else _File()
    written = {key: _text(key, value) for key, value in content.params.items()}
    written |= {key: text for key, _, text in (override.partition("=") for override in on_top)}
    for key in written:
        if key not in recipes.KEYS:
            raise UserError(f"{key}: no such param{did_you_mean(key, recipes.KEYS)}")
    parsed = {key: _parsed(key, text) for key, text in written.items()}
    ranges = {key: value for key, value in parsed.items() if not isinstance(value, str)}
    fixed = {key: value for key, value in parsed.items() if isinstance(value, str)}
    if not ranges:
        raise UserError(f"no param has a range, so there is nothing to search; give one {_RANGES}")
    params = _checked(fixed, ranges)
    name = file.stem if file else "sweep"
    if git.run("check-ref-format", f"refs/exps/{name}-0").returncode:
        raise UserError(
            f"{file}: experiments get the name of this file, which Git does not take; rename it, with "
            "letters, digits, - and _"
        )
    return Plan(name, trials or content.trials, content.sampler, content.pruner, ranges, fixed, params)


def _read(file: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(file.read_text(encoding="utf-8")))
    except pydantic.ValidationError as error:
        raise UserError(f"{file}: {first_error(error)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {brief(error)}") from None


def _text(key: str, value: Any) -> str:
    """Return a value of the file in Hydra's grammar; a range is written in it already."""
    return value if isinstance(value, str) else recipes.overrides({key: value})[-1].partition("=")[2]


def _parsed(key: str, text: str) -> "BaseDistribution | str":
    """Return the range that a text describes, or the text itself where it is a single value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
        value = override.value()
        tags: set[str] = getattr(value, "tags", set())
        if unknown := tags - ({"log"} if isinstance(value, IntervalSweep) else set()):
            raise ValueError(f"no such tag here: {', '.join(sorted(unknown))}")
        if isinstance(value, ChoiceSweep):  # texts, so that lists may be among them
            return CategoricalDistribution([str(choice) for choice in override.sweep_string_iterator()])
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

    Raises ParamsError where a choice or an end of a range is not allowed with any combination of the
    others: with all their first values, all their second ones, and so on.
    """
    base = changed(recipes.committed(), {key: _value(text) for key, text in fixed.items()})
    ends = {key: _ends(distribution) for key, distribution in ranges.items()}
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


def _ends(distribution: "BaseDistribution") -> list[Any]:
    """Return the choices, or the ends of an interval."""
    if choices := getattr(distribution, "choices", None):
        return [_value(choice) for choice in choices]
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


def _first_allowed(contents: Iterable[Any]) -> Params:
    """Return the first params that are allowed; raise the error of the first if none is."""
    errors = []
    for content in contents:
        try:
            return check_params(content, PARAMS_FILE)
        except ParamsError as error:
            errors.append(error)
    raise errors[0]
