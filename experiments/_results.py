"""Experiments, what they ask for, and what they gave: a JSON file each in `experiments/results`."""

import functools
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from segpipe.common.files import read_json
from segpipe.common.modelfile import read_card
from segpipe.params import recipes

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


def is_done(experiment: Experiment, on_top: recipes.Settings) -> bool:
    """Whether there is a result of these very params."""
    result = experiment.result()
    return result is not None and result["params"] == recorded(experiment, on_top)


def asked(experiment: Experiment, on_top: recipes.Settings) -> recipes.Settings:
    """What an experiment changes: where its data are, its own params, what was asked for on top."""
    where: recipes.Settings = {}
    if folder := os.environ.get("SEGPIPE_PET_DIR"):
        path = str(Path(folder).resolve())
        where |= {"data.source": "folder", "data.folder.path": path, "data.folder.layout": "oxford"}
    if weights := os.environ.get("SEGPIPE_ENCODER_WEIGHTS"):
        where["model.encoder.weights"] = str(Path(weights).resolve())
    return where | experiment.settings | on_top


def recorded(experiment: Experiment, on_top: recipes.Settings) -> recipes.Settings:
    """What a result says of its params: all but paths of this machine."""
    everything_asked = asked(experiment, on_top)
    return {key: value for key, value in everything_asked.items() if not str(value).startswith("/")}


def outcome(folder: Path) -> dict[str, Any]:
    """What lies in the folder of a pipeline after an experiment."""
    card = read_card(folder / "models/model.keras")
    records = read_json(folder / "data/records/manifest.json", "preprocess")
    samples = card["params"]["train"]["samples"] or records["splits"]["train"]["samples"]
    return {
        "source": records["source"],
        "images": {split: records["splits"][split]["samples"] for split in ("val", "test")}
        | {"train": samples},
        "metrics": read_json(folder / "results/evaluate/metrics.json", "evaluate"),
        "confusion": pd.read_csv(folder / "results/evaluate/confusion.csv").to_dict("records"),
        "summary": read_json(folder / "results/train/summary.json", "train"),
        "fingerprint": card["fingerprint"],
        "versions": {"python": platform.python_version(), **card["libraries"]},
    }


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
