"""Simulates an annotator who labels what `segpipe next` chooses, against one who labels at random.

    python experiments/next.py --seeds 0 1 2

Both start from the same 50 labelled photographs, and label 25 more in each round, up to 150. In each
round the recipe `quick` is trained on what is labelled, validation included, and scored on the test
split; `next` then chooses with that model. Writes `experiments/next.csv` (a row a round, and what is
labelled after it), and the figure and the table in docs/labels.md. Rounds that have a row do not run
again. SEGPIPE_PET_DIR names the photographs, SEGPIPE_ENCODER_WEIGHTS replaces a download.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import FOLDER, ROOT, Experiment, names_in, params, photographs
from _stages import SCRATCH, Stages, copy_code, lock
from table import cell, put, row_of

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import name_hash, replaces, write_text
from segpipe.common.nested import changed
from segpipe.common.words import percent
from segpipe.label.choice import rank
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import load_model
from segpipe.report import grids

RESULTS, PAGE, CURVE = FOLDER / "next.csv", ROOT / "docs/labels.md", ROOT / "docs/images/next.png"
FIRST, STEP, LAST = 50, 25, 150
WAYS = {"random": "#888888", "entropy": "#0072b2", "disagreement": "#d55e00"}
"""The ways to choose, and their colours: at random, and what `segpipe next --by` has."""


@exits_cleanly
def main() -> None:
    """Run the rounds that have no result, then write figure and table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=["random", "entropy"])
    parser.add_argument("--last", type=int, default=LAST, metavar="N", help="labels of the last round")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="params on top")
    arguments = parser.parse_args()
    pets = photographs()
    pairs = (text.partition("=") for text in arguments.set)
    on_top = {key: yaml.safe_load(value) for key, _, value in pairs}
    with lock():
        copy_code()
        stages = Stages(side_by_side=False)
        for seed in arguments.seeds:
            for way in arguments.ways:
                simulate(stages, pets, way, seed, arguments.last, on_top)
    put(PAGE, "next", shown(results()))


def simulate(stages: Stages, pets: Path, way: str, seed: int, last: int, on_top: dict[str, Any]) -> None:
    """Label, train and score, round by round."""
    names = names_in(pets, "trainval")
    by_chance = sorted(names, key=lambda name: name_hash(name, f"next-{seed}"))
    labelled = by_chance[:FIRST]
    while len(labelled) <= last:
        if (row := known(way, seed, len(labelled))) is None:
            log = SCRATCH / f"logs/next-{way}-{seed}-{len(labelled)}.log"
            print(f"{way}, seed {seed}, {len(labelled)} labels", flush=True)
            content = changed(params(Experiment("quick", seed), on_top), where(pets, labelled))
            score = stages.run(content, log)["original.mean_iou"]
            row = {"way": way, "seed": seed, "labels": len(labelled), "mean_iou": round(score, 5)}
            model = stages.model(content, log)
            store(row | {"next": " ".join(chosen(model, pets, way, by_chance, labelled))})
            row = known(way, seed, len(labelled))
        labelled += str(row["next"]).split()


def where(pets: Path, labelled: Sequence[str]) -> dict[str, Any]:
    """Make a folder of pets of which these are labelled; return the params that name it."""
    folder = SCRATCH / f"next/{name_hash(' '.join(sorted(labelled))):.15f}"
    with replaces(folder) as partial:
        (partial / "annotations").mkdir(parents=True)
        for path in ("images", "annotations/trimaps", "annotations/test.txt"):
            (partial / path).symlink_to((pets / path).resolve())
        write_text(partial / "annotations/trainval.txt", "".join(f"{n}\n" for n in sorted(labelled)))
    return {"data.source": "folder", "data.folder.path": str(folder), "data.folder.layout": "oxford"}


def chosen(
    model: Path, pets: Path, way: str, by_chance: Sequence[str], labelled: Sequence[str]
) -> list[str]:
    """Return what is labelled next: the next ones by chance, or those that the model wants."""
    pool = [name for name in by_chance if name not in {*labelled}]
    if way == "random":
        return pool[:STEP]
    paths = {path.stem: path for path in (pets / "images").iterdir()}
    sources = [Source(paths[name], name) for name in sorted(pool)]
    return [one.name for one in rank(load_model(model), sources, STEP, way).sources]


def results() -> pd.DataFrame:
    """Return what is stored."""
    columns = ["way", "seed", "labels", "mean_iou", "next"]
    return pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=columns)


def known(way: str, seed: int, labels: int) -> pd.Series | None:
    """Return the row of a round, if there is one."""
    rows = results().query("way == @way and seed == @seed and labels == @labels")
    return None if rows.empty else rows.iloc[0]


def store(row: dict[str, Any]) -> None:
    """Add the row of a round."""
    rows = pd.concat([results(), pd.DataFrame([row])]).sort_values(["way", "seed", "labels"])
    write_text(RESULTS, rows.to_csv(index=False))


def shown(rows: pd.DataFrame) -> str:
    """Draw the curves; return Markdown with them, the scores, and how many labels are saved."""
    ways = [way for way in WAYS if way in {*rows.way}]
    draw(rows, ways)
    scores = rows.pivot_table(index="labels", columns="way", values="mean_iou")
    seeds = rows.groupby("way").seed.nunique()
    lines = [
        f"![Mean IoU by number of labels]({CURVE.relative_to(PAGE.parent).as_posix()})",
        "",
        row_of(["labels", *(f"{way} (n = {seeds[way]})" for way in ways)]),
        row_of(["---:"] * (len(ways) + 1)),
    ]
    for labels, of_round in rows.groupby("labels"):
        cells = [cell(of_round[of_round.way == way].mean_iou, 4) for way in ways]
        lines.append(row_of([str(labels), *cells]))
    if "random" in ways:
        said = (reached(scores, way) for way in ways if way != "random")
        lines += ["", *said]
    return "\n".join(lines)


def reached(scores: pd.DataFrame, way: str) -> str:
    """Say with how many labels a way comes to the last score of chance, between rounds linearly."""
    goal, last = scores["random"].dropna().iloc[-1], scores["random"].dropna().index[-1]
    own = scores[way].dropna()
    best = np.maximum.accumulate(own.to_numpy())
    if best[-1] < goal:
        return f"`{way}` does not reach the {goal:.4f} that {last} labels by chance give."
    labels = float(np.interp(goal, best, own.index))
    return (
        f"`{way}` reaches the {goal:.4f} that {last} labels by chance give with {labels:.0f} labels: "
        f"{percent(labels / last, 0)}."
    )


def draw(rows: pd.DataFrame, ways: Sequence[str]) -> None:
    """Draw mean IoU over the number of labels, mean and standard deviation over the seeds."""
    with mpl.rc_context(grids.STYLE):
        figure = Figure(figsize=(4.2, 2.8), layout="constrained")
        axes = figure.subplots()
        for way in ways:
            of_way = rows[rows.way == way].groupby("labels").mean_iou.agg(["mean", "std"])
            spread = of_way["std"].fillna(0)
            axes.errorbar(
                of_way.index, of_way["mean"], spread, color=WAYS[way], marker="o", capsize=2, label=way
            )
        axes.set(xlabel="labelled photographs", ylabel="mean IoU")
        axes.legend(loc="lower right")
    grids.save(figure, CURVE)


if __name__ == "__main__":
    main()
