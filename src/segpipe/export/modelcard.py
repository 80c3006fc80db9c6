"""`MODEL_CARD.md`: what an exported model is, how good it is and where it fails, for people and hubs.

It begins with the header that the Hugging Face Hub reads. Equal models give equal cards.
Source of the header: https://huggingface.co/docs/hub/model-cards
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from segpipe.common.bands import in_words
from segpipe.common.errors import UserError
from segpipe.common.markdown import escaped, table
from segpipe.common.records import Manifest
from segpipe.common.words import extent, score
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.metrics import MEANS

UNKNOWN = "unknown"  # a licence
TAG = "segpipe"
_LIBRARIES = {"savedmodel": "tf-keras", "tflite": "tflite", "onnx": "onnx"}  # by format, without int8
_WORST = 5


def check_own(path: Path) -> None:
    """Raise a UserError where a card would replace another program's file."""
    if path.exists() and f"- {TAG}\n" not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path}: is not a card that segpipe wrote; name another path with --out")


def text(
    card: dict[str, Any], manifest: Manifest, evaluation: Evaluation, licence: str, drop: float
) -> str:
    """Return the text of the card.

    Args:
        card: the card in the export's file.
        manifest: the manifest of the records that the model was trained and scored on.
        evaluation: the evaluation of the model on the test split.
        licence: the licence of the model, as hubs call it, such as `apache-2.0`.
        drop: how far the export's mean IoU is below the model's.
    """
    scores = evaluation.metrics()
    header = yaml.safe_dump(
        _header(card, manifest, scores["original"], licence), sort_keys=False, allow_unicode=True
    )
    sections = {
        "Classes": _classes(card),
        "What goes in and comes out": _interface(card),
        "Data": _data(card, manifest),
        "Scores": _scores(scores, drop),
        "Where it fails": _failures(evaluation),
        "Training": _training(card),
        "Licence": _licence(licence),
    }
    body = [f"## {heading}\n\n{content}" for heading, content in sections.items()]
    return "\n\n".join([f"---\n{header}---", f"# {escaped(_title(card))}", *body]) + "\n"


def _title(card: dict[str, Any]) -> str:
    return f"Segmentation of {', '.join(c['name'] for c in card['classes'])}"


def _header(
    card: dict[str, Any], manifest: Manifest, original: dict[str, Any], licence: str
) -> dict[str, Any]:
    values = [{"type": name, "value": original[name]} for name in MEANS if original[name] is not None]
    result = {
        "task": {"type": "image-segmentation"},
        "dataset": {"name": manifest.source, "type": manifest.source, "split": "test"},
        "metrics": values,
    }
    format_ = card["export"]["format"]
    return {
        "license": licence,
        "library_name": _LIBRARIES[format_.removesuffix("-int8")],
        "pipeline_tag": "image-segmentation",
        "tags": [TAG, "semantic-segmentation", format_],
        "metrics": list(MEANS),
        "model-index": [{"name": _title(card), "results": [result]}],
    }


def _classes(card: dict[str, Any]) -> str:
    rows = [(index, c["name"], c["value"], c["colour"]) for index, c in enumerate(card["classes"])]
    return table(["index in masks", "class", "value in the data", "colour"], rows)


def _interface(card: dict[str, Any]) -> str:
    export = card["export"]
    lines = [f"Format: {export['format']}, written by segpipe {export['segpipe']}.", ""]
    for key, verb in (("input", "takes"), ("output", "gives"), ("confidence", "gives")):
        if tensor := export.get(key):
            shape = escaped(tensor["shape"])
            lines.append(
                f"- {verb} `{tensor['name']}`, {tensor['type']} {shape}: {escaped(tensor['values'])}"
            )
    return "\n".join(lines)


def _data(card: dict[str, Any], manifest: Manifest) -> str:
    rows = [(split, manifest.pictures(split)) for split in ("train", "val", "test")]
    seen, size = in_words(manifest.bands, manifest.intensity), f"at {extent(manifest.size)}"
    if manifest.tiles:
        size = f"in tiles of {extent(manifest.size)} at scale {manifest.tiles.scale:g}"
    return "\n\n".join(
        [
            f"Source: {escaped(manifest.source)}. Pictures: {escaped(seen)}; the network sees them "
            f"{size} (`{manifest.resize}`). It knows no others.",
            table(["split", "pictures"], rows),
            f"Left out: {len(manifest.left_out)}. Near duplicates across splits: "
            f"{len(manifest.near_duplicates)}. Validation: {escaped(manifest.validation)}.",
            f"SHA-256 of the records' manifest: `{card['records']['manifest_sha256']}`.",
        ]
    )


def _scores(scores: dict[str, Any], drop: float) -> str:
    original = scores["original"]
    rows = []
    for name in MEANS:
        ends = original["interval"][name]
        values = original[name], ends["low"], ends["high"]
        rows.append([name, *(score(value, "none") for value in values)])
    return "\n\n".join(
        [
            f"On {scores['images']} test pictures at their own size, without test-time augmentation. "
            "The interval is that of other test pictures of the same kind (95 %, bootstrap over "
            "pictures).",
            table(["score", "value", "low", "high"], rows),
            f"Expected calibration error: {score(scores['calibration_error'], 'none')}.",
            "All scores here and below are the trained model's. The mean IoU of this export differs by "
            f"{round(-drop, 4) + 0.0:+.4f}.",  # + 0.0: no minus zero
        ]
    )


def _failures(evaluation: Evaluation) -> str:
    by_class = evaluation.per_class().sort_values("iou", kind="stable", na_position="last")
    worst = evaluation.per_image().sort_values("mean_iou", kind="stable").head(_WORST)
    return "\n\n".join(
        [
            "Classes, the worst first:",
            _frame(by_class, ["class", "iou", "precision", "recall"]),
            "Pixels by their distance to the nearest other class, in pixels of the network's input:",
            _frame(evaluation.by_distance(), ["distance", "share", "accuracy"]),
            "Test pictures with the lowest mean IoU:",
            _frame(worst, ["name", "mean_iou"]),
        ]
    )


def _training(card: dict[str, Any]) -> str:
    model, training = card["params"]["model"], card["training"]
    encoder, decoder = model["encoder"]["name"], model["decoder"]["name"]
    start = "pretrained weights" if model["encoder"]["pretrained"] else "random weights"
    return (
        f"A segmentation network: encoder `{encoder}` from {start}, decoder `{decoder}`; "
        f"{training['epochs']} epochs (ended by `{training['stopped_by']}`), best in epoch "
        f"{training['best_epoch']}. The logits are divided by the temperature "
        f"{card['temperature']:g}. `segpipe info FILE` shows all params."
    )


def _licence(licence: str) -> str:
    if licence == UNKNOWN:
        return "Unknown: whoever publishes the model states it (`export.licence` in `params.yaml`)."
    return f"`{licence}`"


def _frame(frame: pd.DataFrame, columns: list[str]) -> str:
    rows = frame[columns].itertuples(index=False)
    return table(columns, [[score(cell, "none") for cell in row] for row in rows])
