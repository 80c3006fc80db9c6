"""Compares going on from a model of half of the photographs with training on all of them at once.

    python experiments/go_on.py --seeds 0 1 2

Trains the recipe `quick` on half of the training photographs, then goes on from that model with all of
them for a third of the steps (`model.init`). Beside it, all photographs from ImageNet's weights, for all
steps and for a third of them. Writes `experiments/go_on.csv` and the table in docs/quality.md. What has
a result is not run again. SEGPIPE_PET_DIR and SEGPIPE_ENCODER_WEIGHTS replace a download.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, Experiment, params
from _stages import SCRATCH, Stages, copy_code, lock
from table import PAGE, cell, put, row_of

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.common.nested import changed

RESULTS = FOLDER / "go_on.csv"
RECIPE = "quick"
HALF = "half of the photographs, all steps"
WAYS = {  # the part of the steps, and of the learning rate; whether it starts from the model of HALF
    "all photographs, all steps": (1, 1, False),
    "all photographs, a third of the steps": (3, 1, False),
    HALF: (1, 1, False),
    "half, then all for a third of the steps": (3, 1, True),
    "the same at a third of the learning rate": (3, 3, True),
}
SHOWN = {"original.mean_iou": 3, "original.pixel_accuracy": 3, "summary.val_mean_iou": 3}
"""The columns of the results that the table has, and their digits."""


@exits_cleanly
def main() -> None:
    """Run what has no result, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    arguments = parser.parse_args()
    with lock():
        copy_code()
        stages = Stages(side_by_side=False)
        for seed in arguments.seeds:
            for way in WAYS:
                run(stages, way, seed)
    put(PAGE, "go_on", table(results()))


def run(stages: Stages, way: str, seed: int) -> None:
    """Train and score one way, unless its result is known; store it."""
    known = results()
    if ((known.way == way) & (known.seed == seed)).any():
        return
    print(f"{way}, seed {seed}", flush=True)
    log = SCRATCH / f"logs/go-on-{[*WAYS].index(way)}-{seed}.log"
    before = None
    if WAYS[way][2]:  # nothing runs where its model is there still
        before = stages.model(settings(HALF, seed), log)
    found = stages.run(settings(way, seed), log, before)
    row = {"way": way, "seed": seed, "images.train": found["images.train"]}
    row |= {key: found[key] for key in SHOWN}
    print(f"  mean IoU {row['original.mean_iou']:.3f}", flush=True)
    write_text(RESULTS, pd.concat([known, pd.DataFrame([row])]).to_csv(index=False))


def settings(way: str, seed: int) -> dict[str, Any]:
    """Return the content of `params.yaml` for one way."""
    content = params(Experiment(RECIPE, seed), {})
    steps, rate, _ = WAYS[way]
    train = content["train"]
    values = {
        "train.steps_per_epoch": max(1, round(train["steps_per_epoch"] / steps)),
        "train.learning_rate": train["learning_rate"] / rate,
    }
    if way == HALF:
        values["train.samples"] = photographs(seed) // 2
    return changed(content, values)


def photographs(seed: int) -> int:
    """Return how many photographs the first way of a seed trained on: all."""
    known = results()
    first = next(iter(WAYS))
    return int(known[(known.way == first) & (known.seed == seed)]["images.train"].iloc[0])


def results() -> pd.DataFrame:
    """Return the results so far."""
    return pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=["way", "seed"])


def table(found: pd.DataFrame) -> str:
    """Return the table in Markdown: mean and standard deviation over the seeds."""
    if found.empty:
        return "No results yet."
    heads = ["", "photographs", "mean IoU", "accuracy", "val mean IoU", "seeds"]
    lines = [row_of(heads), row_of(["---", *["---:"] * (len(heads) - 1)])]
    for way in WAYS:
        rows = found[found.way == way]
        if not rows.empty:
            cells = [cell(rows[key], digits) for key, digits in SHOWN.items()]
            images = str(int(rows["images.train"].iloc[0]))
            lines.append(row_of([way, images, *cells, str(len(rows))]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
