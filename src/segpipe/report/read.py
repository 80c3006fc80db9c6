"""What the report reads: the tables of training and evaluation, and pictures of some samples."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from segpipe.common.codec import decode_png
from segpipe.common.records import Manifest, read
from segpipe.common.tfrecord import read_shard
from segpipe.report.analysis import Results
from segpipe.report.baseline import read_baseline
from segpipe.report.build import Pictures


def read_results(folder: Path, baseline: Path, settings: dict[str, Any], names: list[str]) -> Results:
    """Read what `train` and `evaluate` wrote.

    Args:
        folder: holds `train` and `evaluate`.
        baseline: the scores to beat.
        settings: the params that made the results.
        names: of the classes, in the order of the class table.
    """
    train, evaluate = folder / "train", folder / "evaluate"
    # A class may be called "1", or "None".
    pixels = pd.read_csv(evaluate / "confusion.csv", dtype={"pixels": int}, keep_default_na=False)
    pixels = pixels.astype({"truth": str, "prediction": str})
    return Results(
        settings,
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


def read_pictures(manifest: Manifest, predictions: Path, names: set[str]) -> Pictures:
    """Image, truth and prediction of some test samples."""
    pictures = {
        sample["name"]: {"image": sample["image"], "truth": sample["mask"]}
        for sample in read(manifest, "test")
        if sample["name"] in names
    }
    for name, mask in read_predictions(predictions):
        if name in pictures:
            pictures[name]["prediction"] = mask
    return pictures


def read_predictions(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each test sample's name and predicted class indices, uint8 [S, S]."""
    for shard in sorted(folder.iterdir()):
        for features in read_shard(shard):
            yield features["name"].decode(), decode_png(features["mask"])
