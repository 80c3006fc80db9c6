"""Stage `report`: all results as pages for people, in `results/report`."""

import _stage  # noqa: F401

import json
from pathlib import Path

import pandas as pd
import yaml

from segpipe.config import load_params
from segpipe.data.codec import decode_png
from segpipe.data.records import open_records, read
from segpipe.data.tfrecord import read_shard
from segpipe.errors import exits_cleanly
from segpipe.report import Results, chosen_samples, worst_samples, write_report

TRAIN, EVALUATE = Path("results/train"), Path("results/evaluate")


@exits_cleanly
def main() -> None:
    """Read params and results, draw, write the pages."""
    params = load_params()
    manifest = open_records(Path("data/records"))
    settings = yaml.safe_load((TRAIN / "params.yaml").read_text(encoding="utf-8"))
    for section in ("evaluate", "report"):
        settings[section] = getattr(params, section).model_dump(mode="json")
    names = manifest.classes.names
    # A class may be called "1", or "None".
    pixels = pd.read_csv(EVALUATE / "confusion.csv", dtype={"pixels": int}, keep_default_na=False)
    pixels = pixels.astype({"truth": str, "prediction": str})
    results = Results(
        settings,
        pd.read_csv(TRAIN / "history.csv"),
        json.loads((TRAIN / "summary.json").read_text(encoding="utf-8")),
        json.loads((EVALUATE / "metrics.json").read_text(encoding="utf-8")),
        pd.read_csv(EVALUATE / "per_image.csv", dtype={"name": str}, keep_default_na=False,
                    na_values={"mean_iou": ""}),
        pixels.pivot(index="truth", columns="prediction", values="pixels").loc[names, names],
    )  # fmt: skip
    fixed = chosen_samples(results.per_image, params.report.samples)
    worst = worst_samples(results.per_image, params.report.worst)

    pictures = {
        sample["name"]: {"image": sample["image"], "truth": sample["mask"]}
        for sample in read(manifest, "test")
        if sample["name"] in {*fixed, *worst}
    }
    for shard in sorted((EVALUATE / "predictions").iterdir()):
        for features in read_shard(shard):
            if (name := features["name"].decode()) in pictures:
                pictures[name]["prediction"] = decode_png(features["mask"])

    folder = Path("results/report")
    write_report(results, manifest, pictures, fixed, worst, folder)
    print(f"report: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
