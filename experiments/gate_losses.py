"""Plants real losses of quality, and asks the gate `worse: significant` whether it sees them.

    python experiments/gate_losses.py

Trains the recipe `quick` with three seeds, which measure the spread as `segpipe noise` does, then once
each with fewer steps, and with training masks that are blurred by one pixel. Each is compared with
seed 0 of the recipe, on the same test images. Writes the table in docs/pull-requests.md.
SEGPIPE_PET_DIR names the photographs, SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from gate_power import MAX_DROP
from table import put, row_of

from segpipe.common.errors import exits_cleanly
from segpipe.common.nested import changed
from segpipe.evaluate import metrics
from segpipe.evaluate.counts import Counts
from segpipe.review.chance import Spread, compared

PAGE = ROOT / "docs/pull-requests.md"
RECIPE, SCORE, SEEDS = "quick", "mean_iou", 3
STEPS = {"15 % fewer steps": 51, "30 % fewer steps": 42, "half of the steps": 30}
"""Steps an epoch, of the recipe's 60."""


@exits_cleanly
def main() -> None:
    """Train, compare, and write the table."""
    pets = photographs()
    with lock():
        copy_code()
        changes: dict[str, dict[str, Any]] = {
            what: {"train.steps_per_epoch": steps} for what, steps in STEPS.items()
        }
        blurred = SCRATCH / "blurred"
        blur(pets, blurred)
        changes["training masks blurred by 1 px"] = {"data.folder.path": str(blurred)}
        seeds = [counts(f"seed {seed}", seed, {}) for seed in range(SEEDS)]
        found = {what: counts(what, 0, values) for what, values in changes.items()}
    put(PAGE, "losses", table(seeds, found))


def blur(pets: Path, folder: Path) -> None:
    """Copy the photographs; each pixel of a training mask gets the commonest value of 3 x 3 pixels."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pets, folder)
    for name in names_in(pets, "trainval"):
        path = Path("annotations/trimaps", f"{name}.png")
        Image.open(pets / path).filter(ImageFilter.ModeFilter(3)).save(folder / path)


def counts(what: str, seed: int, values: dict[str, Any]) -> Counts:
    """Train and score the recipe with some params changed; return the counts of each test image."""
    print(what, flush=True)
    content = changed(params(Experiment(RECIPE, seed), {}), values)
    return Stages(side_by_side=False).counts(content, SCRATCH / f"logs/{what.replace(' ', '-')}.log")


def table(seeds: list[Counts], found: dict[str, Counts]) -> str:
    """Return scores and verdicts in Markdown."""
    of_seeds = [mean_iou(one) for one in seeds]
    spread = Spread(float(np.std(of_seeds, ddof=1)), len(seeds))
    heads = ["", "mean IoU", "lost", "chance explains up to", "`worse: significant`"]
    lines = [row_of([*heads, f"`max_drop: {MAX_DROP}`"]), row_of(["---", *["---:"] * 3, "---", "---"])]
    lines.append(row_of([f"`{RECIPE}`, seed 0", f"{of_seeds[0]:.4f}", *[""] * 4]))
    for what, one in found.items():
        assert one.images == seeds[0].images
        verdict = compared(seeds[0].pixels, one.pixels, one.classes, [SCORE], {SCORE: spread})[SCORE]
        lost = of_seeds[0] - mean_iou(one)
        cells = [f"{mean_iou(one):.4f}", f"{lost:.4f}", f"{verdict.margin:.4f}", verdict.word]
        lines.append(row_of([what, *cells, "fails" if lost > MAX_DROP else "passes"]))
    seen = ", ".join(f"{score:.4f}" for score in of_seeds)
    return "\n".join([*lines, "", f"Seeds 0 to {SEEDS - 1} of `{RECIPE}`: {seen}."])


def mean_iou(one: Counts) -> float:
    """Return the mean IoU over all images together."""
    return float(metrics.scores(one.pixels.sum(0))[SCORE])


if __name__ == "__main__":
    main()
