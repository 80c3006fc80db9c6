"""Plants real losses of quality, and asks the gate `worse: significant` whether it sees them.

    python experiments/gate_losses.py

Trains the recipe `quick` with three seeds, which measure the spread as `segpipe noise` does, then with
fewer steps, and with training masks that are blurred by one pixel. Each is compared with the recipe at
the same seed, on the same test images; the recipe with itself at each other seed. The counts of each
training are kept in `experiments/gate_losses/`; a training whose counts are there does not run again.
Writes the table in docs/pull-requests.md. SEGPIPE_PET_DIR names the photographs,
SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import shutil
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from gate_power import MAX_DROP
from table import put, row_of

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.common.nested import changed
from segpipe.evaluate import metrics
from segpipe.evaluate.counts import Counts, decode, encode
from segpipe.review.chance import Spread, Verdict, compared

KEPT, PAGE = FOLDER / "gate_losses", ROOT / "docs/pull-requests.md"
RECIPE, SCORE, SEEDS = "quick", "mean_iou", range(3)
STEPS = {"15 % fewer steps": 51, "30 % fewer steps": 42, "half of the steps": 30}
"""Steps an epoch, of the recipe's 60."""


@exits_cleanly
def main() -> None:
    """Train, compare, and write the table."""
    pets = photographs()
    changes: dict[str, dict[str, Any]] = {RECIPE: {}}
    changes |= {what: {"train.steps_per_epoch": steps} for what, steps in STEPS.items()}
    changes["training masks blurred by 1 px"] = {"data.folder.path": str(SCRATCH / "blurred")}
    with lock():
        copy_code()
        blur(pets, SCRATCH / "blurred")
        found = {
            what: [counts(what, seed, values) for seed in SEEDS] for what, values in changes.items()
        }
    put(PAGE, "losses", table(found.pop(RECIPE), found))


def blur(pets: Path, folder: Path) -> None:
    """Copy the photographs; each pixel of a training mask gets the commonest value of 3 x 3 pixels."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pets, folder)
    for name in names_in(pets, "trainval"):
        path = Path("annotations/trimaps", f"{name}.png")
        Image.open(pets / path).filter(ImageFilter.ModeFilter(3)).save(folder / path)


def counts(what: str, seed: int, values: dict[str, Any]) -> Counts:
    """Return the counts of each test image: those kept, or of a training of the recipe with `values`."""
    name = f"{what.replace(' ', '-').replace('-%', '')}-{seed}"
    kept = KEPT / f"{name}.json"
    if not kept.is_file():
        print(f"{what}, seed {seed}", flush=True)
        content = changed(params(Experiment(RECIPE, seed), {}), values)
        found = Stages(side_by_side=False).counts(content, SCRATCH / f"logs/{name}.log")
        write_text(kept, encode(found))
    return decode(kept.read_text(encoding="utf-8"))


def table(seeds: list[Counts], found: dict[str, list[Counts]]) -> str:
    """Return scores and verdicts in Markdown: of the recipe's `seeds`, and of each change by seed."""
    of_seeds = [mean_iou(one) for one in seeds]
    spread = Spread(float(np.std(of_seeds, ddof=1)), len(seeds))
    heads = ["", "mean IoU", "lost", "chance explains up to", "`worse: significant` says worse"]
    lines = [row_of([*heads, f"`max_drop: {MAX_DROP}` fails"]), row_of(["---", *["---:"] * 5])]
    lines.append(row_of([f"`{RECIPE}`, another seed", *cells([*permutations(seeds, 2)], spread)]))
    for what, changed_ones in found.items():
        lines.append(row_of([what, *cells([*zip(seeds, changed_ones, strict=True)], spread)]))
    seen = ", ".join(f"{score:.4f}" for score in of_seeds)
    return "\n".join([*lines, "", f"Seeds 0 to {len(seeds) - 1} of `{RECIPE}`: {seen}."])


def cells(pairs: list[tuple[Counts, Counts]], spread: Spread) -> list[str]:
    """Return the cells of a row: means over pairs of a base and its change, and how many are worse."""
    verdicts = [verdict(base, change, spread) for base, change in pairs]
    lost = [mean_iou(base) - mean_iou(change) for base, change in pairs]
    means = (np.mean([mean_iou(change) for _, change in pairs]), np.mean(lost))
    margins = [f"{bound([one.margin for one in verdicts]):.4f}" for bound in (min, max)]
    worse = sum(one.word == "worse" for one in verdicts)
    fails = sum(one > MAX_DROP for one in lost)
    said = [f"{number} of {len(pairs)}" for number in (worse, fails)]
    return [*(f"{mean:.4f}" for mean in means), " to ".join(margins), *said]


def verdict(base: Counts, change: Counts, spread: Spread) -> Verdict:
    """Return what the gate says of a change."""
    assert base.images == change.images
    return compared(base.pixels, change.pixels, base.classes, [SCORE], {SCORE: spread})[SCORE]


def mean_iou(one: Counts) -> float:
    """Return the mean IoU over all images together."""
    return float(metrics.scores(one.pixels.sum(0))[SCORE])


if __name__ == "__main__":
    main()
