"""The report: tables and arrays in, a page for people out. Never imports TensorFlow."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segpipe import grids, plots
from segpipe.data.records import Manifest
from segpipe.files import name_hash, replaces, write_text
from segpipe.pages import render


@dataclass(frozen=True)
class Results:
    """What the earlier stages found out."""

    params: dict[str, Any]
    history: pd.DataFrame
    summary: dict[str, Any]
    """How training went."""
    scores: dict[str, Any]
    per_image: pd.DataFrame
    confusion: pd.DataFrame
    """Pixels, rows the truth, columns the prediction."""


@dataclass(frozen=True)
class Figure:
    """A PNG of the report and the words that stand for it."""

    name: str
    heading: str
    alt: str
    caption: str
    path: Path

    @property
    def embedded(self) -> str:
        """The PNG as a data address, so that the page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def chosen_samples(per_image: pd.DataFrame, count: int) -> list[str]:
    """The same test images every time: the first by hash of the name."""
    return sorted(per_image["name"], key=name_hash)[:count]


def worst_samples(per_image: pd.DataFrame, count: int) -> list[str]:
    """The test images with the lowest mean IoU, the lowest first; names break ties."""
    return per_image.sort_values(["mean_iou", "name"])["name"].head(count).tolist()


def write_report(
    results: Results, manifest: Manifest, pictures: dict[str, dict[str, np.ndarray]],
    fixed: list[str], worst: list[str], folder: Path,
) -> None:  # fmt: skip
    """Write `index.html`, `report.md` and `figures/` to `folder`, replacing it as a whole.

    Args:
        results: tables of training and evaluation.
        manifest: what the records are.
        pictures: `image`, `truth` and `prediction` at network size, by name.
        fixed: names of the samples to show.
        worst: names of the samples to show as the worst.
        folder: where to.
    """
    with replaces(folder) as partial:
        (partial / "figures").mkdir(parents=True)
        figures = _figures(results, manifest, partial / "figures")
        samples = _sample_figures(results, manifest, pictures, fixed, worst, partial / "figures")
        context = {
            "results": results,
            "manifest": manifest,
            "network": f"{manifest.image_size} x {manifest.image_size} px",
            "stopped_early": results.summary["stopped_by"] != "epochs",
            "figures": figures,
            "samples": samples,
            "settings": _flat(results.params),
        }
        for template in ("index.html", "report.md"):
            write_text(partial / template, render(template, context))


def _figures(results: Results, manifest: Manifest, folder: Path) -> list[Figure]:
    drawn = {
        "iou": plots.class_scores(results.scores["original"]["iou"], manifest.classes),
        "curves": plots.curves(results.history),
        "confusion": plots.confusion(results.confusion),
    }
    texts = {
        "iou": ("IoU by class", "Bars of the IoU of each class", "On the test split, at original size."),
        "curves": (
            "Training", "Curves of loss, accuracy and mean IoU",
            "At network size. Training: over the epoch's batches as they were learned from, mirrored "
            "and with the weights of the moment. Validation: after the epoch.",
        ),
        "confusion": (
            "Confusion matrix", "Confusion matrix in per cent of each true class",
            "Pixels of the test split, at original size.",
        ),
    }  # fmt: skip
    return [_save(figure, name, *texts[name], folder) for name, figure in drawn.items()]


def _sample_figures(
    results: Results, manifest: Manifest, pictures: dict[str, dict[str, np.ndarray]],
    fixed: list[str], worst: list[str], folder: Path,
) -> list[Figure]:  # fmt: skip
    scores = dict(zip(results.per_image["name"], results.per_image["mean_iou"], strict=True))

    def draw(names: list[str]) -> Any:
        rows = []
        for name in names:
            sample = pictures[name]
            mistakes = plots.errors(sample["truth"], sample["prediction"])
            score = "no score" if np.isnan(scores[name]) else f"mean IoU {scores[name]:.3f}"
            label = f"{_shortened(name)}\n{score}"
            rows.append({"label": label, **sample, "errors": mistakes})
        return grids.sample_grid(rows, manifest.classes)

    caption = (
        "Image, true mask, predicted mask, and wrong pixels in crimson, at network size; the score "
        "beside them is that at original size."
    )
    drawn = [
        _save(draw(fixed), "samples", "Samples", f"Predictions for {', '.join(fixed)}",
              f"The same test images in every report. {caption}", folder),
    ]  # fmt: skip
    if worst:
        drawn.append(
            _save(draw(worst), "worst", "Worst", f"Predictions for {', '.join(worst)}",
                  f"The test images with the lowest mean IoU. {caption}", folder)
        )  # fmt: skip
    return drawn


def _save(figure: Any, name: str, heading: str, alt: str, caption: str, folder: Path) -> Figure:
    path = folder / f"{name}.png"
    grids.save(figure, path)
    return Figure(name, heading, alt, caption, path)


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _shortened(name: str) -> str:
    return name if len(name) <= 28 else f"…{name[-27:]}"
