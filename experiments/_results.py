"""Experiments and what they gave: a JSON file each in `experiments/results`."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe import recipes

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments"
RESULTS = FOLDER / "results"

Result = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A recipe or a row of the ablation, with a seed."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}-{self.seed}"

    @property
    def path(self) -> Path:
        """Where its result is, or will be."""
        return RESULTS / f"{self}.json"

    @property
    def settings(self) -> recipes.Settings:
        """Its params by dotted key."""
        return _settings(self.name) | {"seed": self.seed}

    def result(self) -> Result | None:
        """Its result, with whatever params; None where there is none."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else None


@functools.cache
def _settings(name: str) -> recipes.Settings:
    return recipes.settings(name, FOLDER)


def names() -> list[str]:
    """All rows, in the order of the table, then the recipes that are none."""
    rows = [row.name for part in recipes.ablation(FOLDER) for row in part.rows]
    return [*rows, *(name for name in recipes.recipes(FOLDER) if name not in rows)]


def everything() -> list[Result]:
    """Every result that was ever written, whether its row is still the same or not."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
