"""From a trained Keras model to an export that is as good."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common import __version__, records
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, replaces, write_json
from segpipe.common.modelfile import read_card
from segpipe.evaluate.load import load_for_records
from segpipe.export import proof
from segpipe.export.params import ExportParams
from segpipe.export.runtimes import FORMATS, Format
from segpipe.export.signature import IMAGE, LOGITS

MODELS, RESULTS = Path("models/export"), Path("results/export")


class Dropped(UserError):
    """An export scores too much lower than its model."""

    def __init__(self, message: str, findings: dict[str, Any]) -> None:
        super().__init__(message)
        self.findings = findings


@dataclass(frozen=True)
class Trained:
    """A Keras model, and what exports of it are held against."""

    model: keras.Model
    card: dict[str, Any]
    manifest: records.Manifest
    findings: dict[str, Any]
    """Its scores on the test split, `bytes`, `latency_ms`; `threads`: all runtimes get one a core."""


def default_target(name: str) -> Path:
    """Where an export goes by default: in a folder of the format's name, or as that folder."""
    return MODELS / name / FORMATS[name].file


def open_trained(path: Path, manifest: records.Manifest) -> Trained:
    """Load a model and score it. Call it before TensorFlow computes anything: GPUs are left alone.

    Raises:
        UserError: the file is missing, no model of segpipe's, or one for other images or classes.
    """
    tf.config.set_visible_devices([], "GPU")  # exports run on CPUs, so the comparison does
    model = load_for_records(path, manifest)
    findings = {
        **proof.scores(model.predict_on_batch, manifest),
        "bytes": proof.size(path),
        "latency_ms": proof.latency_ms(model.predict_on_batch, manifest),
        "threads": os.cpu_count() or 1,
    }
    return Trained(model, read_card(path), manifest, findings)


def export_to(trained: Trained, name: str, params: ExportParams, target: Path) -> dict[str, Any]:
    """Write an export to `target` if it is as good as its model, and its findings to `results/export`.

    Returns:
        Scores as in `metrics.json`, and `drop` (how much lower the mean IoU at original size is than
        the model's), `largest_difference` (of a logit), `changed` (the share of pixels with another
        class, at network size), `bytes`, `latency_ms` (of one image) and `threads`.

    Raises:
        Dropped: `drop` is above `export.max_drop`. What stood at `target` before stays.
        UserError: the format cannot hold the network.
    """
    made = FORMATS[name]
    with replaces(target) as partial:
        made.write(
            trained.model, _card(trained, name, made), lambda: _calibration(trained, params), partial
        )
        findings = _findings(trained, made.load(partial, trained.findings["threads"]), partial)
        if findings["drop"] > params.max_drop:
            raise Dropped(_explain(name, findings, params, target), findings)
    of_keras = {"mean_iou": _mean_iou(trained.findings), "latency_ms": trained.findings["latency_ms"]}
    # Under its name: `original.mean_iou` is to be the model's alone, for gates and DVC's tables.
    write_json(RESULTS / f"{name}.json", {name: {**findings, "keras": of_keras}})
    return findings


def _findings(trained: Trained, predict: proof.Predict, path: Path) -> dict[str, Any]:
    compared = proof.Compared(predict, trained.model.predict_on_batch)
    scores = proof.scores(compared, trained.manifest)
    return {
        **scores,
        "drop": _mean_iou(trained.findings) - _mean_iou(scores),
        "largest_difference": compared.largest,
        "changed": compared.changed,
        "bytes": proof.size(path),
        "latency_ms": proof.latency_ms(predict, trained.manifest),
        "threads": trained.findings["threads"],
    }


def _mean_iou(findings: dict[str, Any]) -> float:
    return findings["original"]["mean_iou"]


def _explain(name: str, findings: dict[str, Any], params: ExportParams, target: Path) -> str:
    mend = "raise export.calibration_samples" if name == "tflite-int8" else "that is a bug of segpipe"
    return (
        f"{name}: a mean IoU of {_mean_iou(findings):.4f} is {findings['drop']:.4f} below the model's, "
        f"export.max_drop is {params.max_drop}; {target} was not written; {mend}"
    )


def _calibration(trained: Trained, params: ExportParams) -> list[np.ndarray]:
    """The same few training images every time: the first by hash of the name."""
    samples = records.read(trained.manifest, "train")
    first = first_by_hash(
        samples, params.calibration_samples, "calibration", lambda sample: sample["name"]
    )
    return [sample["image"] for sample in first]


def _card(trained: Trained, name: str, made: Format) -> dict[str, Any]:
    """The model's card, and what the export's input and output are."""
    size, batch = trained.manifest.size, made.batch or "any"
    return {
        **trained.card,
        "export": {
            "format": name,
            "segpipe": __version__,
            "input": {
                "name": IMAGE,
                "type": "uint8",
                "shape": [batch, *size, 3],
                "values": "RGB, 0 to 255; scaling is inside the network",
            },
            "output": {
                "name": LOGITS,
                "type": made.logits,
                "shape": [batch, *size, len(trained.manifest.classes)],
                "values": "the largest of a pixel is its class, in the order of classes",
            },
        },
    }
