"""The scores to beat: `baseline.json` in Git, a `metrics.json` of before, or `{}` for none."""

import json
import math
from pathlib import Path
from typing import Any

from segpipe.common.errors import UserError
from segpipe.common.files import read_json, write_json
from segpipe.common.nested import flat
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report.analysis import lowest
from segpipe.report.changes import Change
from segpipe.report.words import score

_MEND = "`segpipe baseline` writes it anew, and {} means that there is none"


def read_baseline(path: Path) -> dict[str, float | None]:
    """The scores by dotted key; empty where there is nothing to compare with yet.

    Raises:
        UserError: the file is missing, or does not hold scores.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_MEND}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {_MEND}") from None
    return _checked(content, path)


def make_baseline(scores: Path, path: Path) -> float | None:
    """Make the content of a `metrics.json` the baseline, and return its mean IoU.

    Raises:
        UserError: there are no scores, or the report could not read them.
    """
    content = read_json(scores, "evaluate")
    mean_iou = _checked(content, path)["original.mean_iou"]
    write_json(path, content)
    return mean_iou


def _checked(content: Any, path: Path) -> dict[str, float | None]:
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; {_MEND}")
    scores = flat(content)
    for key, value in scores.items():
        if not (value is None or (type(value) in (int, float) and math.isfinite(value))):
            raise UserError(f"{path}: {key} is {value!r}, not a number; {_MEND}")
    if content and "original.mean_iou" not in scores:
        raise UserError(f"{path}: holds no original.mean_iou; {_MEND}")
    return scores


def compared(before: dict[str, float | None], scores: dict[str, Any], most_classes: int) -> list[Change]:
    """What to compare: means, loss, calibration and IoU by class; of many classes the lowest now."""
    now = flat(scores)
    known = [key.removeprefix("original.iou.") for key in before if key.startswith("original.iou.")]
    gone = [name for name in known if name not in scores["original"]["iou"]]
    classes = (lowest(scores["original"]["iou"], most_classes) + gone)[:most_classes]
    labels = {
        "original.mean_iou": "mean IoU",
        "original.mean_dice": "mean Dice",
        "original.pixel_accuracy": "pixel accuracy",
        **{f"original.boundary_f1.{t}px": f"boundary F1 within {t} px" for t in TOLERANCES},
        **{f"original.iou.{name}": f"IoU of {name}" for name in classes},
        "loss": "loss (lower is better)",
        "calibration_error": "calibration error (lower is better)",
    }
    return [Change(label, before.get(key), now.get(key)) for key, label in labels.items()]


def verdict(before: dict[str, float | None], scores: dict[str, Any]) -> str:
    """What the comparison says, in words."""
    if before.get("images") != scores["images"]:
        return (
            f"The baseline was scored on {before.get('images', 'an unknown number of')} test images, "
            f"this model on {scores['images']}: it is not the same test, so that neither is better."
        )
    return _of_the_mean(before["original.mean_iou"], scores["original"])


def _of_the_mean(before: float | None, original: dict[str, Any]) -> str:
    now, interval = original["mean_iou"], original["interval"]["mean_iou"]
    if before is None or now is None:
        return "The mean IoU is missing on one side, so that neither is better."
    if before == now:
        return f"The mean IoU is the baseline's own, {score(now)}."
    between = f"{score(interval['low'])} to {score(interval['high'])}"
    if before < interval["low"]:
        where, so = "below", "chance alone hardly explains it; this model is better"
    elif before > interval["high"]:
        where, so = "above", "chance alone hardly explains it; this model is worse"
    else:
        where, so = "inside", "the difference may be chance"
    return (
        f"The baseline's mean IoU, {score(before)}, lies {where} the 95 % interval of this model's, "
        f"{between}: {so}."
    )
