"""Experiments, their params, and their results: a row a run in `experiments/results.csv`."""

import functools
import json
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from segpipe.common.errors import UserError
from segpipe.common.files import read_json, write_text
from segpipe.common.modelfile import read_card
from segpipe.common.nested import changed, flat
from segpipe.params import recipes
from segpipe.params.load import Params

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments"
RESULTS = FOLDER / "results.csv"

SUBJECT = ("pet", "border")
"""The classes that a binary mask shows as one."""

WEIGHTS = {"mobilenet_v2": "SEGPIPE_ENCODER_WEIGHTS", "efficientnet_lite0": "SEGPIPE_LITE0_WEIGHTS"}
"""The variables that name the files of encoders' weights."""

Result = dict[str, str]
"""The cells of a row by column. Params have dotted keys; an empty one has the committed value."""


@dataclass(frozen=True)
class Experiment:
    """A recipe or a row of the ablation, with a seed."""

    name: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}-{self.seed}"


def photographs() -> Path:
    """Return the folder of the pets. Raises a UserError where SEGPIPE_PET_DIR does not name it."""
    if folder := os.environ.get("SEGPIPE_PET_DIR"):
        return Path(folder).resolve()
    raise UserError("SEGPIPE_PET_DIR is not set: a folder in the pets' layout")


def names_in(pets: Path, split: str) -> list[str]:
    """Return the names of the pets in a split: trainval or test."""
    lines = (pets / f"annotations/{split}.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines]


@functools.cache
def every() -> dict[str, recipes.Settings]:
    """Return the params of all recipes and rows by name, relative to those of `committed`."""
    return recipes.every(FOLDER)


@functools.cache
def committed() -> dict[str, Any]:
    """Return the content of `params.yaml` at Git's HEAD."""
    return recipes.committed(ROOT / "params.yaml")


def names() -> list[str]:
    """Return all rows in the order of the table, then the recipes that are no row."""
    rows = [row.name for part in recipes.ablation(FOLDER) for row in part.rows]
    return [*rows, *(name for name in every() if name not in rows)]


def asked(experiment: Experiment, on_top: recipes.Settings) -> recipes.Settings:
    """Return what an experiment changes: where its data are, its own params, those put on top."""
    where: recipes.Settings = {}
    if folder := os.environ.get("SEGPIPE_PET_DIR"):
        path = str(Path(folder).resolve())
        where |= {"data.source": "folder", "data.folder.path": path, "data.folder.layout": "oxford"}
    own = every()[experiment.name]
    encoder = own.get("model.encoder.name", committed()["model"]["encoder"]["name"])
    if weights := os.environ.get(WEIGHTS.get(encoder, "")):
        where["model.encoder.weights"] = str(Path(weights).resolve())
    return where | own | {"seed": experiment.seed} | on_top


def params(experiment: Experiment, on_top: recipes.Settings) -> dict[str, Any]:
    """Return the content of an experiment's `params.yaml`."""
    return changed(committed(), asked(experiment, on_top))


def recorded(experiment: Experiment, on_top: recipes.Settings) -> recipes.Settings:
    """Return the params that a result holds.

    These are all that any recipe or row sets and that this experiment was asked for, without paths of
    this machine.
    """
    keys = dict.fromkeys(key for values in every().values() for key in values)
    found = flat(params(experiment, on_top), recipes.KEYS)
    kept = {key: found[key] for key in keys | asked(experiment, on_top)}
    return {key: value for key, value in kept.items() if not str(value).startswith("/")}


def everything() -> list[Result]:
    """Return every result, also those whose row has changed or is gone."""
    if not RESULTS.is_file():
        return []
    return pd.read_csv(RESULTS, dtype=str, keep_default_na=False).to_dict("records")


def is_of(
    result: Result, experiment: Experiment, on_top: recipes.Settings, but: Collection[str] = ()
) -> bool:
    """Whether a result is of this experiment with these params, some params aside."""
    if (result["name"], result["seed"]) != (experiment.name, str(experiment.seed)):
        return False
    base = flat(committed(), recipes.KEYS)
    now = flat(params(experiment, on_top), recipes.KEYS)
    then = {key: _value(cell) for key, cell in result.items() if cell and _is_param(key)}
    keys = then.keys() | recorded(experiment, on_top).keys()
    return all(then.get(key, base.get(key)) == now.get(key) for key in keys - {*but})


def store(result: Mapping[str, Any]) -> None:
    """Write a result, a value a column, in place of the same experiment's."""
    added = {key: _cell(value) for key, value in result.items()}
    place = (added["name"], added["seed"])
    others = [row for row in everything() if (row["name"], row["seed"]) != place]
    rows = pd.DataFrame([*others, added]).fillna("").sort_values(["name", "seed"])
    write_text(RESULTS, rows.to_csv(index=False))


def outcome(folder: Path) -> dict[str, Any]:
    """Return what an experiment gave, a value a column, from the folder that its stages ran in."""
    card = read_card(folder / "models/model.keras")
    records = read_json(folder / "data/records/manifest.json", "preprocess")
    metrics = read_json(folder / "results/evaluate/metrics.json", "evaluate")
    images = {split: records["splits"][split]["samples"] for split in ("train", "val")}
    images["train"] = card["params"]["train"]["samples"] or images["train"]
    found = {
        "source": records["source"],
        "images": images | {"test": metrics.pop("images")},
        "summary": read_json(folder / "results/train/summary.json", "train"),
        **metrics,
        "binary_iou": binary_iou(pd.read_csv(folder / "results/evaluate/confusion.csv")),
        "fingerprint": card["fingerprint"],
        "versions": {"python": platform.python_version(), **card["libraries"]},
        "machine": {"cores": os.cpu_count(), "cpu": cpu()},
    }
    return flat(found)


def binary_iou(pairs: pd.DataFrame) -> float | None:
    """Return the IoU of pet and border as one class, as others score Oxford-IIIT Pet.

    Args:
        pairs: `pixels` by `truth` and `prediction`. None is returned for other classes.
    """
    if {*pairs["truth"]} != {*SUBJECT, "background"}:
        return None
    of_truth, of_prediction = pairs["truth"].isin(SUBJECT), pairs["prediction"].isin(SUBJECT)
    either, both = pairs[of_truth | of_prediction], pairs[of_truth & of_prediction]
    return float(both["pixels"].sum() / either["pixels"].sum())


def cpu() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _is_param(column: str) -> bool:
    return column.partition(".")[0] in Params.model_fields


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell
