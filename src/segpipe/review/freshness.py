"""Compare code, params and data with `dvc.lock`. No data is pulled.

`dvc status` is no answer: it calls data that was not pulled "deleted", as it does a file that somebody
removed, skips frozen stages, and trusts a file that is not in the cache. Here each stage of `dvc.yaml`
is compared with its entry in `dvc.lock`. A file that is here must have the md5 in the entry. If it
is not here, that md5 must equal the one that `dvc.lock` records for the stage that wrote the file.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from segpipe.common.errors import CannotTell, brief
from segpipe.common.nested import flat
from segpipe.review import git
from segpipe.review.folders import changed_files
from segpipe.review.revision import METRICS

_HASHES = {"md5", "etag", "checksum"}


@dataclass(frozen=True)
class Freshness:
    """The stages that must run again, and the data that cannot be compared here."""

    stale: dict[str, list[str]]  # reasons by stage, in the pipeline's order
    doubts: list[str]  # missing data of the repository, also in DVC; metrics that no stage writes
    not_here: list[str]  # missing data outside the repository
    watched: set[str]  # paths that decide the answer and belong in Git: params, code, data, results


def freshness() -> Freshness:
    """Compare `dvc.yaml`, `dvc.lock` and the working tree. Raises CannotTell if DVC cannot read them."""
    stages, locked = _stages(), _locked()
    kept = _kept(locked)
    fresh = Freshness({}, [], [], {"dvc.yaml", "dvc.lock", "params.yaml", *git.files("*.dvc")})
    for stage in stages:
        entry = locked.get(stage.addressing)
        reasons = [*_reasons(stage, entry, kept, fresh)] if entry else ["it never ran"]
        if reasons:
            fresh.stale[stage.addressing] = list(dict.fromkeys(reasons))
        fresh.watched.update(_path(dep) for dep in _files(stage.deps) if _path(dep) not in kept)
        fresh.watched.update(_path(out) for out in stage.outs if not out.use_cache)
    outs = {_path(out) for stage in stages for out in stage.outs}
    unwritten = [path for path in METRICS if path not in outs]
    fresh.doubts.extend(f"no stage writes {path}, so nothing proves its scores" for path in unwritten)
    return fresh


def _reasons(stage: Any, entry: dict, kept: dict[str, str | None], fresh: Freshness) -> Iterator[str]:
    yield from _declared(stage, entry)
    if stage.cmd_changed:
        yield "its command changed"
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            now, then = flat(dep.read_params()), flat(dep.hash_info.value or {})
            yield from (f"param {k} changed" for k in {**now, **then} if now.get(k) != then.get(k))
        else:
            yield from _changed(dep, kept, fresh)
    for out in stage.outs:
        if out.exists and out.changed_checksum():
            yield f"{_path(out)} is not what it wrote"
        elif not out.exists and not out.use_cache:
            yield f"{_path(out)} is deleted"


def _declared(stage: Any, entry: dict) -> Iterator[str]:
    """Yield where `dvc.yaml` names other deps, params and outs than the stage ran with."""
    params = [key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params]
    deps, outs = entry.get("deps", []), entry.get("outs", [])
    for kind, now, then in (
        ("param ", params, [key for keys in entry.get("params", {}).values() for key in keys]),
        ("", map(_path, _files(stage.deps)), [_spelled(dep["path"]) for dep in deps]),
        ("out ", map(_path, stage.outs), [_spelled(out["path"]) for out in outs]),
    ):
        declared, ran = set(now), set(then)
        yield from (f"{kind}{name} is new to it" for name in sorted(declared - ran))
        yield from (f"{kind}{name} is no longer declared" for name in sorted(ran - declared))
    for file in (*deps, *outs):
        if not _HASHES & {*file}:
            yield f"dvc.lock has no md5 of {file['path']}"


def _changed(dep: Any, kept: dict[str, str | None], fresh: Freshness) -> Iterator[str]:
    path, locked = _path(dep), dep.hash_info
    if path in kept and locked and kept[path] != locked.value:
        yield f"it ran on another {path}"
    elif dep.exists:
        if dep.changed_checksum():
            files = changed_files(dep.repo, path, locked.value) if locked and locked.isdir else []
            yield f"{path} changed" + (f" ({', '.join(files)})" if files else "")
    elif path in kept:
        return  # not pulled
    elif Path(path).is_absolute() or path.startswith(".."):
        fresh.not_here.append(path)
    elif git.ignores(path):
        fresh.doubts.append(
            f"{path} is not here to be compared; `dvc add` it, or keep it outside the repository"
        )
    else:
        yield f"{path} is deleted"


def _stages() -> list[Any]:
    try:
        stages = [stage for stage in Repo().index.stages if stage.relpath.endswith(".yaml")]
    except DvcException as error:
        raise CannotTell(f"DVC cannot read the pipeline ({brief(error)})") from None
    if not stages:
        raise CannotTell("dvc.yaml: there is none, or it has no stages")
    return stages


def _locked() -> dict[str, Any]:
    path = Path("dvc.lock")
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    return (content or {}).get("stages") or {}


def _kept(locked: dict[str, Any]) -> dict[str, str | None]:
    """Return the md5 of each path that DVC keeps: outs of stages, and data added with `dvc add`."""
    outs = [(out["path"], out) for entry in locked.values() for out in entry.get("outs", [])]
    for file in map(Path, git.files("*.dvc")):
        added = yaml.safe_load(file.read_text(encoding="utf-8"))["outs"]
        outs += [(file.parent / out["path"], out) for out in added]
    return {_spelled(path): out.get("md5") for path, out in outs}


def _files(deps: list[Any]) -> list[Any]:
    return [dep for dep in deps if not isinstance(dep, ParamsDependency)]


def _path(file: Any) -> str:
    return _spelled(file.def_path)


def _spelled(path: str | Path) -> str:
    """Normalise a path: no slash at its end, no dots in it."""
    return Path(os.path.normpath(path)).as_posix()
