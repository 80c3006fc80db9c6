"""Run a stage and print, as JSON, which leaves of the params its code looked at.

Usage: python trace_params.py STAGE [ARGUMENT...], in a project's root.
"""

import json
import runpy
import sys
from pathlib import Path

import pydantic

STAGE = Path("stages", f"{sys.argv[1]}.py").resolve()
sys.path[:0] = [str(STAGE.parents[1] / "src"), str(STAGE.parent)]

from segpipe.params import load as config  # noqa: E402


class Traced:
    """Params that remember what was read."""

    def __init__(self, section: pydantic.BaseModel, prefix: str, seen: set[str]) -> None:
        self._state = section, prefix, seen

    def __getattr__(self, name: str) -> object:
        section, prefix, seen = self._state
        described = getattr(type(section), name, None)
        if isinstance(described, property):
            return described.fget(self)  # what it reads counts, not its own name
        value = getattr(section, name)
        if isinstance(value, pydantic.BaseModel):
            return Traced(value, f"{prefix}{name}.", seen)
        if name == "model_dump":
            seen |= {f"{prefix}{field}" for field in type(section).model_fields}
        else:
            seen.add(prefix + name)
        return value


seen: set[str] = set()
params = Traced(config.load_params(), "", seen)
config.load_params = lambda: params
try:
    sys.argv[:2] = [str(STAGE)]
    runpy.run_path(str(STAGE), run_name="__main__")
finally:
    print("READ", json.dumps(sorted(seen)))
