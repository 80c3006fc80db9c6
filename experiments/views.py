"""Scores a trained model on the validation split with several `evaluate.tta.scales`, to choose by.

The stage `evaluate` scores the test split, by which nothing should be chosen. Run this in the pipeline's
folder. A set of scales holds factors of the network's input size. The predictions at all of them are
averaged, with mirror images where `evaluate.tta.flip` is true. Scores are mean IoU at network size.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common import records
from segpipe.common.errors import exits_cleanly
from segpipe.common.words import score
from segpipe.evaluate import metrics
from segpipe.evaluate.load import load_for_records
from segpipe.evaluate.masks import Predict
from segpipe.evaluate.tta import augmented
from segpipe.params.load import load_params

SETS = [[1.0], [1.0, 1.25], [0.75, 1.0], [0.75, 1.0, 1.25]]


@exits_cleanly
def main() -> None:
    """Print a line a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sets", nargs="*", type=_scales, default=SETS, metavar="A,B", help="scales to average over"
    )
    sets = parser.parse_args().sets
    params = load_params().evaluate
    manifest = records.open_records(Path("data/records"))
    model = load_for_records(Path("models/model.keras"), manifest)
    for scales in sets:
        predict = augmented(model, params.tta.flip, scales)
        print(f"{scales}: {score(validated(predict, manifest, params.batch_size))}", flush=True)


def validated(predict: Predict, manifest: records.Manifest, batch_size: int) -> float:
    """Return the mean IoU on the validation split."""
    samples = list(records.read(manifest, "val"))
    total = np.zeros((len(manifest.classes.names),) * 2, np.int64)
    for first in range(0, len(samples), batch_size):
        batch = samples[first : first + batch_size]
        logits = predict(np.stack([sample["image"] for sample in batch]))
        for sample, found in zip(batch, logits.argmax(-1), strict=True):
            total += metrics.confusion_matrix(sample["mask"], found, len(total))
    return float(metrics.scores(metrics.counts(total))["mean_iou"])


def _scales(text: str) -> list[float]:
    return [float(scale) for scale in text.split(",")]


if __name__ == "__main__":
    main()
