"""Is `dvc.lock` what the code, the params and the data give? Found by reading; no data is pulled.

`dvc status` compares what is here with `dvc.lock`, but calls data that was not pulled "deleted", as it
does a file that somebody removed, and its exit code is the same for both. What is not here is compared
inside `dvc.lock`: a stage must have read what the stage before it wrote.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segpipe.errors import brief
from segpipe.review import git
from segpipe.review.git import CannotTell


@dataclass(frozen=True)
class Freshness:
    """What must run again, and what nobody here can compare."""

    stale: dict[str, list[str]]
    """Reasons by stage, in the pipeline's order."""
    not_here: list[str]
    """Data outside Git and DVC that this machine lacks."""


def freshness() -> Freshness:
    """Compare `dvc.lock` with the working tree.

    Raises:
        CannotTell: DVC cannot read the pipeline.
    """
    locked, made, in_git = _locked(), _made(), _kept_in_git()
    stale: dict[str, list[str]] = {}
    not_here: set[str] = set()
    for stage, changes in _status().items():
        if stage.endswith(".dvc"):
            continue
        if stage not in locked:
            stale[stage] = ["it never ran"]
            continue
        for what, path, how in changes:
            not_pulled = how == "deleted" and path in made and path not in in_git
            if not_pulled or how == "not in cache":
                continue
            if how == "deleted" and git.leaves_out(path):
                not_here.add(path)
            else:
                stale.setdefault(stage, []).append(_reason(what, path, how))
    for stage, content in locked.items():
        for dep in content.get("deps", []):
            if made.get(dep["path"], dep.get("md5")) != dep.get("md5"):
                stale.setdefault(stage, []).append(f"it ran on another {dep['path']}")
    return Freshness(stale, sorted(not_here))


def _status() -> dict[str, list[tuple[str, str, str]]]:
    """What `dvc status` says changed: (what, path or param, how) by stage."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = result.stderr.strip().removeprefix("ERROR: ")
        raise CannotTell(f"dvc status fails: {brief(Exception(said))}")
    return {stage: _entries(listed) for stage, listed in json.loads(result.stdout).items()}


def _entries(listed: list[Any]) -> list[tuple[str, str, str]]:
    entries = []
    for item in listed:
        if isinstance(item, str):
            entries.append((item, "", ""))
            continue
        for what, changes in item.items():
            for path, change in changes.items():
                if isinstance(change, dict):  # params: by file and key
                    entries += [("changed params", key, how) for key, how in change.items()]
                else:
                    entries.append((what, path, change))
    return entries


def _reason(what: str, path: str, how: str) -> str:
    if not path:  # such as "changed command"
        return what
    name = f"param {path}" if what == "changed params" else path
    if how == "modified":
        return f"{name} is not what it wrote" if what == "changed outs" else f"{name} changed"
    return f"{name} is {how}"


def _locked() -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
        return content["stages"]
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise CannotTell(f"dvc.lock cannot be read ({brief(error)}); `dvc repro` mends it") from None


def _made() -> dict[str, str | None]:
    """The md5 of each path that DVC keeps: outs of stages, and data added with `dvc add`."""
    made: dict[str, str | None] = {}
    for stage in _locked().values():
        made |= {out["path"]: out.get("md5") for out in stage.get("outs", [])}
    for file in map(Path, git.files("*.dvc")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        made |= {(file.parent / out["path"]).as_posix(): out.get("md5") for out in content["outs"]}
    return made


def _kept_in_git() -> set[str]:
    """The outs with `cache: false`."""
    pipeline = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
    outs = (
        out
        for stage in pipeline["stages"].values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
        if isinstance(out, dict)
    )
    return {path for out in outs for path, options in out.items() if options.get("cache") is False}
