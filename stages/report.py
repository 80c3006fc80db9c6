"""Stage `report`: all results as pages for people, in `results/report`, and a picture for Git."""

import _stage  # noqa: F401

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from segpipe.config import load_params
from segpipe.data.codec import decode_png
from segpipe.data.records import Manifest, open_records, read
from segpipe.data.tfrecord import read_shard
from segpipe.errors import exits_cleanly
from segpipe.report.analysis import Results, chosen_samples, worst_samples
from segpipe.report.baseline import read_baseline
from segpipe.report.build import Pictures, write_report, write_samples

RESULTS = Path("results")
TRAIN, EVALUATE = RESULTS / "train", RESULTS / "evaluate"
IN_GIT = 4
"""Of the fixed samples, those in the picture that lives in Git."""


@exits_cleanly
def main() -> None:
    """Read params and results, draw, write the pages."""
    params = load_params()
    manifest = open_records(Path("data/records"))
    settings = yaml.safe_load((TRAIN / "params.yaml").read_text(encoding="utf-8"))
    for section in ("evaluate", "report"):
        settings[section] = getattr(params, section).model_dump(mode="json")
    results = _results(settings, manifest.classes.names)
    fixed = chosen_samples(results.per_image["name"], max(params.report.samples, IN_GIT))
    shown = fixed[: params.report.samples]
    worst = worst_samples(results.per_image, params.report.worst)
    pictures = _pictures(manifest, {*fixed, *worst})
    write_report(results, manifest, pictures, shown, worst, RESULTS / "report")
    write_samples(pictures, fixed[:IN_GIT], manifest.classes, RESULTS / "samples.jpg")
    print(f"report: {RESULTS / 'report/index.html'}")


def _results(settings: dict[str, Any], names: list[str]) -> Results:
    # A class may be called "1", or "None".
    pixels = pd.read_csv(EVALUATE / "confusion.csv", dtype={"pixels": int}, keep_default_na=False)
    pixels = pixels.astype({"truth": str, "prediction": str})
    return Results(
        settings,
        pd.read_csv(TRAIN / "history.csv"),
        json.loads((TRAIN / "summary.json").read_text(encoding="utf-8")),
        json.loads((EVALUATE / "metrics.json").read_text(encoding="utf-8")),
        pd.read_csv(EVALUATE / "per_image.csv", dtype={"name": str}, keep_default_na=False,
                    na_values={"mean_iou": ""}),
        pixels.pivot(index="truth", columns="prediction", values="pixels").loc[names, names],
        pd.read_csv(EVALUATE / "calibration.csv"),
        pd.read_csv(EVALUATE / "by_distance.csv", dtype={"distance": str}),
        read_baseline(Path("baseline.json")),
    )  # fmt: skip


def _pictures(manifest: Manifest, names: set[str]) -> Pictures:
    pictures = {
        sample["name"]: {"image": sample["image"], "truth": sample["mask"]}
        for sample in read(manifest, "test")
        if sample["name"] in names
    }
    for shard in sorted((EVALUATE / "predictions").iterdir()):
        for features in read_shard(shard):
            if (name := features["name"].decode()) in pictures:
                pictures[name]["prediction"] = decode_png(features["mask"])
    return pictures


if __name__ == "__main__":
    main()
