"""The scores to beat, and how much seeds move them: `baseline.json` in Git.

It holds an earlier `metrics.json` and, under `seeds`, what `segpipe noise` measured; `{}` is neither.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.common.errors import UserError
from segpipe.common.files import read_json, write_json
from segpipe.common.nested import flat
from segpipe.common.words import score
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report.analysis import lowest
from segpipe.report.changes import Change, is_number
from segpipe.report.words import MEAN_NAMES

SEEDS = "seeds"
METRIC_NAMES = {f"original.{key}": name for key, name in MEAN_NAMES.items()}
_MEND = "`segpipe baseline` writes it anew; a file that holds only {} means: no baseline"
_MEASURE = "`segpipe noise` writes it anew"


@dataclass(frozen=True)
class SeedSpread:
    """The spread of a recipe's scores between seeds."""

    number: int  # of seeds, at least 2
    recipe: str  # `recipe_hash` of its params
    deviation: dict[str, float]  # standard deviation of a sample, of each score by dotted key


def read_baseline(path: Path) -> dict[str, float | None]:
    """Read the scores by dotted key; empty if there is nothing to compare with yet.

    Raises UserError where the file is missing or does not hold scores.
    """
    return _scores(_read(path), path)


def seeds_in(text: str, where: str) -> SeedSpread | None:
    """Return the spread of seeds in the text of a `baseline.json`; None if it was not measured.

    Raises UserError, which says where, if it is damaged.
    """
    seeds = _content(text, where).get(SEEDS)
    if seeds is None:
        return None
    try:
        number, recipe, deviation = seeds["number"], seeds["recipe"], flat(seeds["deviation"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{where}: seeds needs number, recipe and deviation; {_MEASURE}") from None
    if not (isinstance(number, int) and number >= 2):
        raise UserError(f"{where}: seeds.number is {number!r}, not 2 or more; {_MEASURE}")
    for key, value in deviation.items():
        if not (is_number(value) and math.isfinite(value) and value >= 0):
            raise UserError(f"{where}: seeds.deviation.{key} is {value!r}, no deviation; {_MEASURE}")
    return SeedSpread(number, str(recipe), deviation)


def make_baseline(scores: Path, path: Path) -> float | None:
    """Make a `metrics.json` the baseline, and return its mean IoU. The spread of seeds stays.

    Raises UserError where there are no scores, or `read_baseline` would reject them.
    """
    content = read_json(scores, "evaluate")
    mean_iou = _scores(content, path)["original.mean_iou"]
    try:
        seeds = _read(path).get(SEEDS)
    except UserError:  # missing, or damaged: it is written anew
        seeds = None
    write_json(path, content | ({SEEDS: seeds} if seeds else {}))
    return mean_iou


def write_seeds(path: Path, number: int, recipe: str, deviation: dict[str, Any]) -> None:
    """Write the spread of seeds, its deviation nested as the scores are; the scores to beat stay."""
    seeds = {"number": number, "recipe": recipe, "deviation": deviation}
    write_json(path, _read(path) | {SEEDS: seeds})


def _read(path: Path) -> dict[str, Any]:
    try:
        return _content(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_MEND}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not JSON ({error}); {_MEND}") from None


def _content(text: str, where: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); {_MEND}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: holds no JSON object; {_MEND}")
    return content


def _scores(content: dict[str, Any], path: Path) -> dict[str, float | None]:
    to_beat = {name: value for name, value in content.items() if name != SEEDS}
    scores = flat(to_beat)
    for key, value in scores.items():
        if not (value is None or (is_number(value) and math.isfinite(value))):
            raise UserError(f"{path}: {key} is {value!r}, not a number; {_MEND}")
    if to_beat and "original.mean_iou" not in scores:
        raise UserError(f"{path}: holds no original.mean_iou; {_MEND}")
    return scores


def compared(before: dict[str, float | None], scores: dict[str, Any], most_classes: int) -> list[Change]:
    """Compare means, loss, calibration and the IoU by class; only the lowest now if there are many."""
    now, by_class = flat(scores), scores["original"]["iou"]
    known = [key.removeprefix("original.iou.") for key in before if key.startswith("original.iou.")]
    classes = [*lowest(by_class, most_classes), *(name for name in known if name not in by_class)]
    labels = {
        **METRIC_NAMES,
        **{f"original.boundary_f1.{t}px": f"boundary F1 within {t} px" for t in TOLERANCES},
        **{f"original.iou.{name}": f"IoU of {name}" for name in classes[:most_classes]},
        "loss": "loss (lower is better)",
        "calibration_error": "calibration error (lower is better)",
    }
    return [Change(label, before.get(key), now.get(key)) for key, label in labels.items()]


def verdict(before: dict[str, float | None], scores: dict[str, Any]) -> str:
    """Return in words which model is better, or that nobody can tell."""
    if before.get("images") != scores["images"]:
        return (
            f"The baseline was scored on {before.get('images', 'an unknown number of')} test images, "
            f"this model on {scores['images']}: it is not the same test, so neither is better."
        )
    then, now = before["original.mean_iou"], scores["original"]["mean_iou"]
    interval = scores["original"]["interval"]["mean_iou"]
    if then is None or now is None:
        return "The mean IoU is missing on one side, so neither is better."
    if then == now:
        return f"The mean IoU is the baseline's own, {score(now)}."
    if interval["low"] == interval["high"]:
        return (
            f"The baseline's mean IoU is {score(then)}, this model's {score(now)}. Nobody can tell "
            "whether that is chance: the 95 % interval has no width, as with a single test image."
        )
    if then < interval["low"]:
        where, so = "below", "chance alone hardly explains it; this model is better"
    elif then > interval["high"]:
        where, so = "above", "chance alone hardly explains it; this model is worse"
    else:
        where, so = "inside", "the difference may be chance"
    return (
        f"The baseline's mean IoU, {score(then)}, lies {where} the 95 % interval of this model's, "
        f"{score(interval['low'])} to {score(interval['high'])}: {so}."
    )
