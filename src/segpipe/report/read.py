"""Read the results of training and evaluation, and the pictures of some samples."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from segpipe.common.bands import displayed
from segpipe.common.codec import decode_png
from segpipe.common.records import Manifest, read
from segpipe.common.tfrecord import read_shard
from segpipe.report.baseline import read_baseline

Pictures = dict[str, dict[str, np.ndarray]]
"""`image`, `truth` and `prediction` of test images at network size, by name."""


@dataclass(frozen=True)
class Results:
    """The results of the earlier stages."""

    params: dict[str, Any]
    history: pd.DataFrame
    summary: dict[str, Any]  # how training went
    scores: dict[str, Any]
    per_image: pd.DataFrame
    confusion: pd.DataFrame  # pixels; rows are the truth, columns the prediction
    calibration: pd.DataFrame
    by_distance: pd.DataFrame
    by_class: pd.DataFrame  # scores at original size, by class name
    baseline: dict[str, float | None]  # the scores to beat by dotted key; empty if there are none yet


def read_results(folder: Path, baseline: Path, params: dict[str, Any], names: list[str]) -> Results:
    """Read what `train` and `evaluate` wrote to `folder`, and the scores to beat.

    `params` are the sections of `params.yaml` that training did not read, `names` the classes in order.
    """
    train, evaluate = folder / "train", folder / "evaluate"
    # A class may be called "01", "true" or "None".
    types = {"truth": str, "prediction": str, "pixels": int}
    pixels = pd.read_csv(evaluate / "confusion.csv", dtype=types, keep_default_na=False)
    return Results(
        yaml.safe_load((train / "params.yaml").read_text(encoding="utf-8")) | params,
        pd.read_csv(train / "history.csv"),
        json.loads((train / "summary.json").read_text(encoding="utf-8")),
        json.loads((evaluate / "metrics.json").read_text(encoding="utf-8")),
        pd.read_csv(evaluate / "per_image.csv", dtype={"name": str}, keep_default_na=False,
                    na_values={"mean_iou": ""}),
        pixels.pivot(index="truth", columns="prediction", values="pixels").loc[names, names],
        pd.read_csv(evaluate / "calibration.csv"),
        pd.read_csv(evaluate / "by_distance.csv", dtype={"distance": str}),
        pd.read_csv(evaluate / "per_class.csv", dtype={"class": str}, index_col="class",
                    keep_default_na=False, na_values=[""]),
        read_baseline(baseline),
    )  # fmt: skip


def read_pictures(
    manifest: Manifest, predictions: Path, names: set[str], bands: Sequence[int]
) -> Pictures:
    """Return image, truth and prediction of some test samples; `bands` are the positions to show."""
    masks = {name: mask for name, mask in read_predictions(predictions) if name in names}
    return {
        name: {
            "image": displayed(sample["image"], bands),
            "truth": sample["mask"],
            "prediction": masks[name],
        }
        for sample in read(manifest, "test")
        if (name := sample["name"]) in names
    }


def read_predictions(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each test record's name and predicted class indices, uint8 [H, W]; for tiles, of a row."""
    for shard in sorted(folder.iterdir()):
        for features in read_shard(shard):
            yield features["name"].decode(), decode_png(features["mask"])


def read_names(folder: Path) -> set[str]:
    """Return the names of the test samples with a prediction."""
    return {features["name"].decode() for shard in folder.iterdir() for features in read_shard(shard)}
