"""Compares `stretch` with `tiles` on drawn data whose objects are small, at equal cost of training.

    python experiments/resolution.py --seeds 0 1 2

Draws streets of 512 x 1024 px and cells on pictures of 2000 x 2000 px, trains each way for as many
pixels as 1,800 steps of 8 tiles see (one way for four times as many), scores it on the test split, and
writes `experiments/resolution.csv` and the table in docs/quality.md. What has a result is not run again.
SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import drawn_cells
import drawn_streets
from _results import FOLDER, committed
from _stages import SCRATCH, Stages, copy_code, lock
from table import PAGE, put

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.common.nested import changed, flat
from segpipe.survey.folder import Request, survey

RESULTS = FOLDER / "resolution.csv"
EPOCHS, STEPS, BATCH, EDGE = 10, 180, 8, 128

FOUR_TIMES = "the same, tiles of 256 px at twice the size: four times as many pixels"
TILES: dict[str, Any] = {"data.resize": "tiles", "data.image_size": EDGE}
LOVASZ = TILES | {"train.sampling": "balanced", "train.loss.lovasz": 1.0}
WAYS: dict[str, dict[str, Any]] = {
    "stretch to 128 px": {"data.resize": "stretch", "data.image_size": EDGE},
    "stretch to as many pixels": {"data.resize": "stretch"},  # and the size of LARGE
    "tiles of 128 px": TILES,
    "tiles, fixed pieces": TILES | {"data.tiles.margin": 0.0},
    "tiles, rare classes more often": TILES | {"train.sampling": "balanced"},
    "the same at twice the size": TILES | {"train.sampling": "balanced", "data.tiles.scale": 2.0},
    "tiles, rare classes more often, Lovász-softmax": LOVASZ,
    FOUR_TIMES: LOVASZ
    | {"data.image_size": 2 * EDGE, "data.tiles.scale": 2.0, "train.batch_size": BATCH},
}
OF_STREETS = (
    "tiles, fixed pieces",
    "tiles, rare classes more often",
    "the same at twice the size",
    "tiles, rare classes more often, Lovász-softmax",
    FOUR_TIMES,
)
"""The ways that are tried on streets alone."""
LARGE = {"streets": [512, 1024], "cells": [992, 992]}
"""The size of the whole picture; of cells a quarter of its pixels, which training has memory for."""
SHOWN = {"streets": ["pole", "sign", "pedestrian"], "cells": ["cell"]}


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
            for data in LARGE:
                for way in ways(data):
                    run(stages, data, way, seed)
    put(PAGE, "resolution", table(results()))


def run(stages: Stages, data: str, way: str, seed: int) -> None:
    """Train and score one way, unless its result is known; store it."""
    known = results()
    if ((known.data == data) & (known.way == way) & (known.seed == seed)).any():
        return
    print(f"{data}, {way}, seed {seed}", flush=True)
    found = stages.run(
        params(data, way, seed), SCRATCH / f"logs/{data}-{way.replace(' ', '-')}-{seed}.log"
    )
    scores = {
        key: value for key, value in flat(found).items() if key.startswith(("original.", "seconds"))
    }
    row = pd.DataFrame([{"data": data, "way": way, "seed": seed, **scores}])
    print(
        f"  mean IoU {found['original.mean_iou']:.3f}, {found['seconds']:.0f} s of training", flush=True
    )
    write_text(RESULTS, pd.concat([known, row]).to_csv(index=False))


def ways(data: str) -> list[str]:
    """Return the ways that are tried on a data set."""
    return [way for way in WAYS if data == "streets" or way not in OF_STREETS]


def params(data: str, way: str, seed: int) -> dict[str, Any]:
    """Return the content of `params.yaml` for one way."""
    folder = drawn(data)
    size = WAYS[way].get("data.image_size", LARGE[data])
    height, width = size if isinstance(size, list) else (size, size)
    batch = max(1, BATCH * EDGE**2 // (height * width))
    steps = max(1, round(STEPS * BATCH * EDGE**2 / (batch * height * width)))
    settings = {
        "seed": seed, "data.image_size": size, "train.batch_size": batch, "train.epochs": EPOCHS,
        "train.steps_per_epoch": steps, "evaluate.batch_size": max(1, 32 * EDGE**2 // (height * width)),
    } | WAYS[way]  # fmt: skip
    if weights := os.environ.get("SEGPIPE_ENCODER_WEIGHTS"):
        settings["model.encoder.weights"] = str(Path(weights).resolve())
    base = committed()
    proposed = survey(folder, Request(0.2, 0.1)).data(str(folder))
    proposed["folder"] = base["data"]["folder"] | proposed["folder"]
    if data == "cells":
        proposed["bands"] = [1]
    return changed(base | {"data": base["data"] | proposed}, settings)


def drawn(data: str) -> Path:
    """Return the folder of a drawn data set; draw it where it is missing."""
    folder = SCRATCH / f"drawn-{data}"
    if not (folder / "classes.txt").is_file():  # the last file
        if data == "streets":
            drawn_streets.write(folder, 100, 30, 0, (512, 1024))
        else:
            drawn_cells.write(folder, 12, 6, seed=0, size=2000)
    return folder


def results() -> pd.DataFrame:
    """Return the results so far."""
    return pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=["data", "way", "seed"])


def table(found: pd.DataFrame) -> str:
    """Return the table in Markdown: mean and standard deviation over the seeds."""
    lines = [
        "| data | way | mean IoU | IoU of the small classes | training, s | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for data in LARGE:
        for way in ways(data):
            rows = found[(found.data == data) & (found.way == way)]
            if rows.empty:
                continue
            small = ", ".join(f"{name} {spread(rows[f'original.iou.{name}'])}" for name in SHOWN[data])
            cells = (
                data,
                way,
                spread(rows["original.mean_iou"]),
                small,
                "–" if rows["seconds"].isna().all() else f"{rows['seconds'].mean():.0f}",
                len(rows),
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def spread(values: pd.Series) -> str:
    """Return the mean, and the standard deviation of several."""
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
