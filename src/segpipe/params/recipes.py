"""Recipes, documented sets of params in `experiments/`, and the rows of the ablation.

A recipe holds the params that differ from `params.yaml` as committed. A row changes some params of a
recipe or of an earlier row.
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

from segpipe.common import git
from segpipe.common.errors import UserError
from segpipe.common.fields import Section, first_error
from segpipe.common.nested import flat
from segpipe.common.words import did_you_mean
from segpipe.params.load import PARAMS_FILE, Params, read_yaml

FOLDER = Path("experiments")
ABLATION = "ablation.yaml"
SWEEPS = "sweep*.yaml"

Settings = dict[str, Any]  # params by dotted key

_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")
"""Text that Hydra takes without quotes, unless YAML reads it as something else."""


def _keys(section: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


KEYS = frozenset(_keys(Params))  # the dotted keys of all params


class Row(Section):
    """One experiment of the ablation: a recipe or an earlier row, with some params changed."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    label: str
    base: str
    changes: Settings


class Part(Section):
    """Rows under one heading."""

    part: str
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]


def recipes(folder: Path = FOLDER) -> dict[str, str]:
    """Return the first comment line of each recipe by name. Raises UserError where there is none."""
    paths = sorted(
        path for path in folder.glob("*.yaml") if not (path.name == ABLATION or path.match(SWEEPS))
    )
    if not paths:
        raise UserError(
            f"{folder}: no recipes there ({Path.cwd()}); run this from the root of the repository"
        )
    heads = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in paths}
    return {name: head.strip().removeprefix("# ") for name, head in heads.items()}


def ablation(folder: Path = FOLDER) -> tuple[Part, ...]:
    """Return the ablation, in the order of its table.

    Raises UserError where the file does not have the form of an ablation.
    """
    path = folder / ABLATION
    content = _parsed(path.read_text(encoding="utf-8"), path)
    try:
        return pydantic.TypeAdapter(tuple[Part, ...]).validate_python(content)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}") from None


def settings(name: str, folder: Path = FOLDER) -> Settings:
    """Return the params of a recipe or row that differ from `params.yaml` as committed.

    Raises UserError where there is no such recipe or row, or as `every` does.
    """
    return _named(name, every(folder))


def every(folder: Path = FOLDER) -> dict[str, Settings]:
    """Return the params of all recipes and rows by name.

    Raises UserError where a file names a recipe, row or param that does not exist.
    """
    known = {name: _recipe(folder / f"{name}.yaml") for name in recipes(folder)}
    for row in (row for part in ablation(folder) for row in part.rows):
        base = _named(row.base, known, f"{folder / ABLATION}: {row.name}: base: ")
        known.setdefault(row.name, base | _checked(row.changes, folder / ABLATION))
    return known


def committed(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return the content of a params file at Git's HEAD, or of the file itself where Git has none."""
    text = git.output("show", f"HEAD:./{path.name}", folder=path.parent)
    return _parsed(path.read_text(encoding="utf-8") if text is None else text, path)


def reset(chosen: Settings, folder: Path = FOLDER, path: Path = PARAMS_FILE) -> Settings:
    """Return the committed values that undo another recipe.

    `dvc exp run` writes the params that it is given into `params.yaml`, where they would mix with the
    next recipe. So return each param that some recipe or row sets and `chosen` does not, if its value in
    the file differs from the one at Git's HEAD.
    """
    of_head = flat(committed(path), KEYS)
    of_file = flat(_parsed(path.read_text(encoding="utf-8"), path), KEYS)
    others = ["seed", *(key for values in every(folder).values() for key in values)]
    left = dict.fromkeys(key for key in others if key not in chosen)
    return {key: of_head[key] for key in left if key in of_head and of_file.get(key) != of_head[key]}


def overrides(values: Settings) -> list[str]:
    """Return params as `dvc exp run -S` takes them, `key=value` without blanks.

    DVC reads values by Hydra's grammar and merges mappings, so that `key=null` goes before a mapping.
    """
    return [
        f"{key}={text}"
        for key, value in values.items()
        for text in (["null"] if isinstance(value, dict) else []) + [_hydra(value)]
    ]


def quoted(word: str) -> str:
    """Return a word as `xargs` takes it. It is quoted only where needed: `$(...)` keeps quotes."""
    return shlex.quote(word) if re.search(r"""[\s'"\\]""", word) else word


def _parsed(text: str, path: Path) -> Any:
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _recipe(path: Path) -> Settings:
    return _checked(flat(_parsed(path.read_text(encoding="utf-8"), path) or {}, KEYS), path)


def _named(name: str, known: dict[str, Settings], where: str = "") -> Settings:
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"{where}no recipe or row {name!r}{hint} (there are {', '.join(known)})")
    return known[name]


def _checked(values: Settings, path: Path) -> Settings:
    for key in values:
        if key not in KEYS:
            raise UserError(f"{path}: {key}: no such param{did_you_mean(key, KEYS)}")
    return values


def _hydra(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_hydra(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or yaml.safe_load(value) != value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)
