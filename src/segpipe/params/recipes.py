"""Recipes: documented sets of params in `experiments/`, and the ablation's rows, which start from them.

A recipe is a part of `params.yaml` in a file of its own. It holds every param that decides quality, so
that it means the same whatever `params.yaml` holds now.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import Field, StringConstraints

from segpipe.common.errors import UserError
from segpipe.common.nested import flat
from segpipe.common.words import did_you_mean
from segpipe.params.load import Params

FOLDER = Path("experiments")
ABLATION = "ablation.yaml"

Settings = dict[str, Any]
"""Values of params by dotted key."""

_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")
"""What needs no quotes in Hydra's grammar, unless YAML takes it for something else than text."""


def _knobs(section: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            yield from _knobs(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


KNOBS = frozenset(_knobs(Params))
"""Every param's dotted key."""


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Row(_Model):
    """One experiment of the ablation: a recipe or a row before it, with some params changed."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    label: str
    base: str
    changes: Settings


class Part(_Model):
    """Rows under one heading."""

    part: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]


def recipes(folder: Path = FOLDER) -> dict[str, str]:
    """The recipes by name, each with the first line of its head comment.

    Raises:
        UserError: there is no such folder.
    """
    paths = sorted(path for path in folder.glob("*.yaml") if path.name != ABLATION)
    if not paths:
        raise UserError(
            f"{folder}: no recipes there ({Path.cwd()}); run this from the root of the repository"
        )
    return {path.stem: _first_line(path).removeprefix("# ") for path in paths}


def ablation(folder: Path = FOLDER) -> tuple[Part, ...]:
    """The ablation, in the order of its table.

    Raises:
        UserError: the file is not what it should be; the message says where.
    """
    path = folder / ABLATION
    try:
        return pydantic.TypeAdapter(tuple[Part, ...]).validate_python(_read(path))
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        where = "".join(f"{part}." for part in wrong["loc"])[:-1] or "the file"
        raise UserError(f"{path}: {where}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}") from None


def settings(name: str, folder: Path = FOLDER) -> Settings:
    """The params of a recipe or of a row.

    Raises:
        UserError: there is no such recipe or row, or it names a param that does not exist.
    """
    known = {recipe: _recipe(folder / f"{recipe}.yaml") for recipe in recipes(folder)}
    for row in (row for part in ablation(folder) for row in part.rows):
        base = _named(row.base, known, f"{folder / ABLATION}: {row.name}: base: ")
        known.setdefault(row.name, base | _checked(row.changes, folder / ABLATION))
    return _named(name, known)


def words(values: Settings) -> list[str]:
    """Params as `dvc exp run -S` takes them, `key=value`, none of them with a blank of its own.

    DVC reads values by Hydra's grammar, and merges mappings: an empty one goes before.
    """
    return [
        f"{key}={text}"
        for key, value in values.items()
        for text in (["null"] if isinstance(value, dict) else []) + [_hydra(value)]
    ]


def quoted(word: str) -> str:
    """A word as `xargs` takes it: quoted where it must be, so that `$(...)` takes the others too."""
    return shlex.quote(word) if re.search(r"""[\s'"\\]""", word) else word


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip()


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _recipe(path: Path) -> Settings:
    return _checked(flat(_read(path) or {}, KNOBS), path)


def _named(name: str, known: dict[str, Settings], where: str = "") -> Settings:
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"{where}no recipe or row {name!r}{hint} (there are {', '.join(known)})")
    return known[name]


def _checked(values: Settings, path: Path) -> Settings:
    for key in values:
        if key not in KNOBS:
            raise UserError(f"{path}: {key}: no such param{did_you_mean(key, KNOBS)}")
    return values


def _hydra(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_hydra(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or yaml.safe_load(value) != value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)
