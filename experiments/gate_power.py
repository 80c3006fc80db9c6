"""Measures what the gate `worse: significant` calls worse: table and curves of docs/pull-requests.md.

Pairs of equal models are simulated from the counts of two networks on the same 298 test images of the
pets (`gate_power/`). Test images are drawn from these with replacement. For each image a coin decides
which of the two networks counts as the base and which as the change, so that neither is better. Two
networks differ more in single images than two seeds of one do.

Seeds move both models as a whole: each makes a share more or fewer mistakes in every image, normally
distributed, so that its mean IoU has the standard deviation that the rows of `results.csv` with three
seeds have on average. The gate does not know it: it gets what three or ten seeds measured (drawn from
the chi-squared distribution), or nothing. In the same way the change is then made worse by a given loss
of mean IoU.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import optimize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import ROOT
from table import put, row_of

from segpipe.common.words import percent
from segpipe.evaluate import metrics
from segpipe.evaluate.counts import decode
from segpipe.report import grids
from segpipe.review.chance import Difference, Spread, compared, holm, with_seeds

FOLDER = Path(__file__).parent
SCORE = "mean_iou"
SEEDS = 3
"""How many seeds a row of the results has."""
MEASURED = (3, 10)
"""How many seeds `segpipe noise` trains."""
MAX_DROP = 0.01  # of the gate to compare with
IMAGES = (100, 300, 1000, 3000)
LOSSES = (0.0, 0.005, 0.01, 0.02, 0.03)
GATES = [*(f"{seeds} seeds" for seeds in MEASURED), "no seeds", f"`max_drop: {MAX_DROP}`"]
SHADES = ("#9ecae1", "#6baed6", "#2171b5", "#08306b")
"""Colours of the curves, the more images the darker."""
PAGE, CURVES = ROOT / "docs/pull-requests.md", ROOT / "docs/images/gate-power.png"


@dataclass(frozen=True)
class World:
    """What the simulation draws from."""

    networks: np.ndarray  # counts of two networks, int64 [2, images, 3, classes]
    classes: list[str]
    deviation: float  # of the mean IoU between seeds


def main() -> None:
    """Simulate each number of test images and each loss, then write the table and draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, default=1000, help="of equal models, for each number of images"
    )
    parser.add_argument("--worse", type=int, default=300, help="pairs for each loss")
    arguments = parser.parse_args()
    world = known()
    print(f"seeds have a standard deviation of {world.deviation:.4f}")
    rows = []
    for images in IMAGES:
        for loss in LOSSES:
            pairs = arguments.worse if loss else arguments.pairs
            shares = np.mean([called(world, images, loss, seed) for seed in range(pairs)], axis=0)
            rows.append([images, loss, *shares])
            print(*rows[-1], flush=True)
    shares_of_worse = pd.DataFrame(rows, columns=["images", "loss", *GATES])
    draw(shares_of_worse)
    put(PAGE, "gate_power", table(shares_of_worse))


def table(shares: pd.DataFrame) -> str:
    """Return the curves' figure and the table in Markdown: shares of pairs that are called worse."""
    lines = [
        f"![Share of pairs called worse, by true loss]({CURVES.relative_to(PAGE.parent).as_posix()})",
        "",
        row_of(["test images", "true loss", *GATES]),
        row_of(["---:"] * (2 + len(GATES))),
    ]
    for images, loss, *called_worse in shares.itertuples(index=False):
        cells = [str(images), f"{loss:g}" if loss else "none", *map(percent, called_worse)]
        lines.append(row_of(cells))
    return "\n".join(lines)


def draw(shares: pd.DataFrame) -> None:
    """Draw the share called worse over the true loss: a panel a gate, a curve a number of images."""
    with mpl.rc_context(grids.STYLE):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        panels = figure.subplots(1, len(GATES), sharey=True)
        for axes, gate in zip(panels, GATES, strict=True):
            for shade, (images, of_images) in zip(SHADES, shares.groupby("images"), strict=True):
                axes.plot(of_images.loss, of_images[gate], color=shade, label=f"{images} images")
            axes.axhline(0.05, color="#888888", linewidth=0.8, linestyle=":")
            axes.set(title=gate.replace("`", ""), xlabel="true loss of mean IoU")
        panels[0].set_ylabel("share called worse")
        panels[-1].legend(fontsize=7)
    grids.save(figure, CURVES)


def known() -> World:
    """Read the two networks' counts, and the spread of seeds over the rows that have three."""
    one, other = (decode(path.read_text()) for path in sorted((FOLDER / "gate_power").glob("*.json")))
    assert one.images == other.images
    scores = pd.read_csv(FOLDER / "results.csv").groupby("name")["original.mean_iou"]
    variances = scores.var()[scores.count() == SEEDS]
    return World(np.stack([one.pixels, other.pixels]), one.classes, variances.mean() ** 0.5)


def called(world: World, images: int, loss: float, seed: int) -> list[bool]:
    """Simulate a pair; return whether each gate calls the change worse.

    The gates know the spread that so many seeds have measured, the images' chance alone, and `MAX_DROP`.
    """
    rng = np.random.default_rng([images, seed])
    drawn = rng.integers(world.networks.shape[1], size=images)
    of_base = rng.integers(2, size=images)
    pair = world.networks[of_base, drawn], world.networks[1 - of_base, drawn]
    moved = world.deviation * rng.standard_normal(2) - (0, loss)
    before, after = (moved_by(side, change) for side, change in zip(pair, moved, strict=True))
    alone = compared(before, after, world.classes, [SCORE], {})[SCORE].difference
    spreads = [
        Spread(world.deviation * (rng.chisquare(seeds - 1) / (seeds - 1)) ** 0.5, seeds)
        for seeds in MEASURED
    ]
    tested = [*(with_seeds(alone, spread) for spread in spreads), alone]
    return [*map(is_worse, tested), alone.before - alone.after > MAX_DROP]


def is_worse(difference: Difference) -> bool:
    """Return what the gate says of a single score."""
    return holm([difference])[0].word == "worse"


def moved_by(counts: np.ndarray, change: float) -> np.ndarray:
    """Return counts, [images, 3, classes], whose mean IoU is another by `change`."""
    score = metrics.scores(counts.sum(0))[SCORE]

    def missing(share: float) -> float:
        return metrics.scores(with_fewer_mistakes(counts.sum(0), share))[SCORE] - score - change

    return with_fewer_mistakes(counts, optimize.brentq(missing, -0.9, 0.9))


def with_fewer_mistakes(counts: np.ndarray, share: float) -> np.ndarray:
    """Return counts with a share fewer mistakes (more, where it is negative) of each class and image."""
    hits, truth, predicted = np.moveaxis(counts, -2, 0)
    right = hits + share * (truth - hits)
    return np.stack([right, truth, right + (1 - share) * (predicted - hits)], axis=-2)


if __name__ == "__main__":
    main()
