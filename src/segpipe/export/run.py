"""From a trained Keras model to an export that scores as well: written, scored, timed."""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common import __version__, records
from segpipe.common.bands import in_words
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, replaces, write_json
from segpipe.common.modelfile import read_card
from segpipe.common.quiet import quiet
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.load import load_for_records
from segpipe.evaluate.masks import Predict
from segpipe.export.params import ExportParams
from segpipe.export.runtimes import FORMATS, Format
from segpipe.export.signature import IMAGE, LOGITS

MODELS, RESULTS = Path("models/export"), Path("results/export")
_BATCH_SIZE = 32
_TIMED = 30  # the latency is the median of this many predictions


class Dropped(UserError):
    """An export scores too much lower than its model."""

    def __init__(self, message: str, findings: dict[str, Any]) -> None:
        super().__init__(message)
        self.findings = findings


@dataclass(frozen=True)
class Trained:
    """A Keras model, its card, and its own findings, with which those of exports are compared."""

    model: keras.Model
    card: dict[str, Any]
    manifest: records.Manifest
    findings: dict[str, Any]  # those of `export_to`, without the comparison


def default_target(name: str) -> Path:
    """Return where an export goes by default: a file in the folder of its format, or that folder."""
    return MODELS / name / FORMATS[name].file


def open_trained(path: Path, manifest: records.Manifest) -> Trained:
    """Load a model and score it, on the CPU as exports are. TensorFlow must not have computed yet.

    Raises a UserError as `load_for_records` does.
    """
    with quiet():
        tf.config.set_visible_devices([], "GPU")
        model = load_for_records(path, manifest)
    return Trained(model, read_card(path), manifest, _measured(model.predict_on_batch, manifest, path))


def export_to(trained: Trained, name: str, params: ExportParams, target: Path) -> dict[str, Any]:
    """Write an export to `target` if it is as good as its model, and its findings to `results/export`.

    Findings are the content of `metrics.json`, `bytes`, `latency_ms` (the median of one image, or tile)
    and `threads`. Three compare it with the model: `drop` (of the mean IoU at original size),
    `largest_difference` (of a logit) and `changed` (share of pixels with another class, network size).

    Raises:
        Dropped: `drop` is above `export.max_drop`; `target` stays as it was.
        UserError: the format cannot hold the network.
    """
    made = FORMATS[name]

    def images() -> list[np.ndarray]:
        """Read the same training images every time: the first by hash of the name."""
        samples, count = records.read(trained.manifest, "train"), params.calibration_samples
        chosen = first_by_hash(samples, count, "calibration", lambda sample: sample["name"])
        return [_middle(sample["image"], trained.manifest.size) for sample in chosen]

    with replaces(target) as partial:
        made.write(trained.model, _card(trained, name, made), images, partial)
        predict = made.load(partial, trained.findings["threads"])
        compared = _Compared(predict, trained.model.predict_on_batch)
        findings = _measured(predict, trained.manifest, partial, compared)
        findings |= {
            "drop": _mean_iou(trained.findings) - _mean_iou(findings),
            "largest_difference": compared.largest,
            "changed": compared.changed / compared.pixels,
        }
        if findings["drop"] > params.max_drop:
            raise Dropped(_explain(name, findings, params, target), findings)
    of_keras = {"mean_iou": _mean_iou(trained.findings), "latency_ms": trained.findings["latency_ms"]}
    # Under the format's name, since gates and DVC's tables take `original.mean_iou` for the model's.
    write_json(RESULTS / f"{name}.json", {name: {**findings, "keras": of_keras}})
    return findings


class _Compared:
    """Predicts as one network does, and keeps how far its logits are from those of another."""

    def __init__(self, predict: Predict, reference: Predict) -> None:
        self.predict, self.reference = predict, reference
        self.largest = 0.0
        self.pixels = self.changed = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        logits, expected = self.predict(images), self.reference(images)
        self.largest = max(self.largest, float(np.abs(logits - expected).max()))
        changed = logits.argmax(-1) != expected.argmax(-1)
        self.pixels += changed.size
        self.changed += int(changed.sum())
        return logits


def _measured(
    predict: Predict, manifest: records.Manifest, path: Path, scored: Predict | None = None
) -> dict[str, Any]:
    """Return size, speed, and scores on the test split (those of `scored`, if given)."""
    evaluation = Evaluation(scored or predict, manifest, _BATCH_SIZE)
    for _ in evaluation.predictions():
        pass
    height, width = manifest.size
    image = next(records.read(manifest, "test"))["image"][None, :height, :width]  # of a row, a tile
    predict(image)  # the first call prepares
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return {
        **evaluation.metrics(),
        "bytes": sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()),
        "latency_ms": 1000 * statistics.median(seconds),
        "threads": os.cpu_count() or 1,
    }


def _middle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the middle of a training piece, without its margin; whole samples have the size already."""
    top, left = ((has - edge) // 2 for has, edge in zip(image.shape, size, strict=False))
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def _mean_iou(findings: dict[str, Any]) -> float:
    return findings["original"]["mean_iou"]


def _explain(name: str, findings: dict[str, Any], params: ExportParams, target: Path) -> str:
    mend = "raise export.calibration_samples" if name == "tflite-int8" else "that is a bug of segpipe"
    return (
        f"{name}: a mean IoU of {_mean_iou(findings):.4f} is {findings['drop']:.4f} below the model's, "
        f"export.max_drop is {params.max_drop}; {target} was not written; {mend}"
    )


def _card(trained: Trained, name: str, made: Format) -> dict[str, Any]:
    """Return the model's card with the export's format, input and output."""

    def tensor(name: str, type_: str, channels: int, values: str) -> dict[str, Any]:
        shape = [made.batch or "any", *trained.manifest.size, channels]
        return {"name": name, "type": type_, "shape": shape, "values": values}

    manifest, largest = trained.manifest, "the largest of a pixel is its class"
    seen = f"{in_words(manifest.bands, manifest.intensity)}, 0 to 255; scaling is inside the network"
    export = {
        "format": name,
        "segpipe": __version__,
        "input": tensor(IMAGE, "uint8", manifest.channels, seen),
        "output": tensor(
            LOGITS, made.logits, len(manifest.classes), f"{largest}, in the order of classes"
        ),
    }
    return {**trained.card, "export": export}
