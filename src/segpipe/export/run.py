"""From a trained Keras model to an export that scores as well: written, scored, timed."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.progress import track

from segpipe.common import records
from segpipe.common.codec import decode_image
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, replaces, write_json, write_text
from segpipe.common.modelfile import read_card
from segpipe.common.quiet import quiet
from segpipe.common.raw import read_named
from segpipe.common.words import percent
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.load import load_for_records
from segpipe.evaluate.masks import Predict
from segpipe.export import modelcard
from segpipe.export.agreement import LEAST, SCORES, Agreement, Reference
from segpipe.export.export_card import export_card
from segpipe.export.params import ExportParams
from segpipe.export.runtimes import FORMATS, Format
from segpipe.export.whole import predictor_graph

MODELS, RESULTS = Path("models/export"), Path("results/export")
_BATCH_SIZE = 32
_TIMED = 30  # the latency is the median of this many predictions


class Dropped(UserError):
    """An export scores too much lower than its model."""

    def __init__(self, message: str, findings: dict[str, Any]) -> None:
        super().__init__(message)
        self.findings = findings


@dataclass(frozen=True)
class ScoredModel:
    """A Keras model, its card, and how it scores, with which exports are compared."""

    model: keras.Model
    card: dict[str, Any]
    manifest: records.Manifest
    evaluation: Evaluation
    findings: dict[str, Any]  # those of `export_to`, without the comparison


def default_target(name: str) -> Path:
    """Return where an export goes by default: a file in the folder of its format, or that folder."""
    return MODELS / name / FORMATS[name].file


def open_trained(path: Path, manifest: records.Manifest) -> ScoredModel:
    """Load a model and score it, on the CPU as exports are. TensorFlow must not have computed yet.

    Raises a UserError as `load_for_records` does.
    """
    with quiet():
        tf.config.set_visible_devices([], "GPU")
        model = load_for_records(path, manifest)
    evaluation = _evaluated(model.predict_on_batch, manifest)
    findings = _measured(evaluation, model.predict_on_batch, path)
    return ScoredModel(model, read_card(path), manifest, evaluation, findings)


def export_to(
    trained: ScoredModel, name: str, params: ExportParams, target: Path, whole: bool
) -> dict[str, Any]:
    """Write an export to `target` if it is as good as its model, and its findings to `results/export`.

    `whole` exports the whole predictor, else the network alone. MODEL_CARD.md is written with it.
    Findings are the content of `metrics.json`, `bytes`, `latency_ms` (the median of one image, or tile)
    and `threads`. Two compare the export with the model: `drop` (of the mean IoU at original size) and
    `changed` (share of pixels with another class, at network size; for a whole predictor, at original
    size). A network also has `largest_difference` (of a logit). A whole predictor also has what
    `Agreement.findings` returns; it is scored at original size only.

    Raises:
        Dropped: `drop` is above `export.max_drop`, or a whole predictor gives other masks than
            `segpipe predict`; `target` stays as it was.
        UserError: the format cannot hold the network.
    """
    format_ = FORMATS[name]
    card = export_card(trained.card, trained.manifest, trained.findings["original"], name, whole)
    with _published(format_, target) as (partial, card_file):
        findings = (_whole if whole else _network)(trained, format_, card, params, partial)
        findings["drop"] = _mean_iou(trained.findings) - _mean_iou(findings)
        if objection := _objection(findings, params, format_.exact):
            reason = f"{name}: {objection}; {target} was not written; {_mend(name, whole)}"
            raise Dropped(reason, findings)
        text = modelcard.text(
            card, trained.manifest, trained.evaluation, params.licence, findings["drop"]
        )
        write_text(card_file, text)
    of_keras = {"mean_iou": _mean_iou(trained.findings), "latency_ms": trained.findings["latency_ms"]}
    # Under the format's name, since gates and DVC's tables take `original.mean_iou` for the model's.
    write_json(RESULTS / f"{name}.json", {name: {**findings, "keras": of_keras}})
    return findings


@contextlib.contextmanager
def _published(format_: Format, target: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where to write an export and its MODEL_CARD.md, which replace the old ones at the end.

    An old card beside a file is removed before the file is replaced: a kill or an error in between
    leaves an export without a card, which `push-hub` refuses, and none with the card of another.
    """
    if not format_.file:
        with replaces(target) as partial:
            yield partial, format_.card(partial)
        return
    card = format_.card(target)
    with replaces(card) as new_card, replaces(target) as partial:
        yield partial, new_card
        card.unlink(missing_ok=True)


def _network(
    trained: ScoredModel, format_: Format, card: dict[str, Any], params: ExportParams, path: Path
) -> dict[str, Any]:
    """Write the network alone and return its findings on the test records."""

    def images() -> Iterator[np.ndarray]:
        for sample in track(_calibration(trained.manifest, params), "Calibrating"):
            yield _middle(sample["image"], trained.manifest.size)

    format_.write(trained.model, card, images, path)
    predict = format_.load(path, trained.findings["threads"])
    compared = _Compared(predict, trained.model.predict_on_batch)
    findings = _measured(_evaluated(compared, trained.manifest), predict, path)
    return findings | {
        "largest_difference": compared.largest,
        "changed": compared.changed / compared.pixels,
    }


def _whole(
    trained: ScoredModel, format_: Format, card: dict[str, Any], params: ExportParams, path: Path
) -> dict[str, Any]:
    """Write the whole predictor and return its findings on the test pictures."""
    assert format_.whole
    reference = Reference.of(trained.model, trained.card)

    def pictures() -> Iterator[np.ndarray]:
        names = {sample["name"] for sample in _calibration(trained.manifest, params)}
        for sample in read_named(names, "Calibrating"):
            yield reference.input_of(*decode_image(sample["image"]))

    graph = predictor_graph(trained.model, trained.card, format_.whole.batch, format_.whole.real)
    format_.whole.write(graph, card, pictures, path)
    run = format_.whole.load(path, trained.findings["threads"])
    agreement = Agreement(run, reference, trained.manifest.classes.names)
    agreement.over(list(trained.evaluation.per_image()["name"]))
    findings = agreement.findings()
    return findings | {
        "changed": 1 - findings["agreement"],
        **_weighed(lambda: run(agreement.last), path),
    }


def _calibration(manifest: records.Manifest, params: ExportParams) -> list[dict[str, Any]]:
    """Read the same training samples every time: the first by hash of the name."""
    samples, count = records.read(manifest, "train"), params.calibration_samples
    return first_by_hash(samples, count, "calibration", lambda sample: sample["name"])


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


def _evaluated(predict: Predict, manifest: records.Manifest) -> Evaluation:
    """Score a network on the test records."""
    evaluation = Evaluation(predict, manifest, _BATCH_SIZE)
    for _ in evaluation.predictions():
        pass
    return evaluation


def _measured(evaluation: Evaluation, predict: Predict, path: Path) -> dict[str, Any]:
    """Return scores, size, and speed of `predict`."""
    height, width = evaluation.manifest.size
    image = next(records.read(evaluation.manifest, "test"))["image"][None, :height, :width]  # a tile
    return {**evaluation.metrics(), **_weighed(lambda: predict(image), path)}


def _weighed(call: Callable[[], Any], path: Path) -> dict[str, Any]:
    """Return the size of a model, and the time that it takes for one call."""
    call()  # the first call prepares
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {
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


def _objection(findings: dict[str, Any], params: ExportParams, exact: bool) -> str:
    """Say why an export is not good enough; empty if it is. An `exact` one must predict as its model."""
    if findings["drop"] > params.max_drop:
        return (
            f"a mean IoU of {_mean_iou(findings):.4f} is {findings['drop']:.4f} below the model's, "
            f"export.max_drop is {params.max_drop}"
        )
    agreement, off = findings.get("agreement", 1.0), findings.get("score_difference", 0.0)
    if exact and (agreement < LEAST or off > SCORES):
        return (
            f"{percent(agreement, 3)} of the pixels have the class that `segpipe predict` gives them, "
            f"where {percent(LEAST)} are needed, and a score is off by {off:.4f}, where {SCORES} is "
            "allowed"
        )
    return ""


def _mend(name: str, whole: bool) -> str:
    if name.endswith("-int8"):
        return "raise export.calibration_samples"
    bug = "that is a bug of segpipe"
    return f"{bug}; until it is mended, export with --no-whole" if whole else bug
