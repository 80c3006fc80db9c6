"""The time of a stage's start, and of a `dvc repro` that has nothing to do.

A start is the stage's imports. The no-op `dvc repro` is compared with that of a DVC project with one
stage, one dependency and one output.
"""

import _bench

import statistics
import tempfile
from functools import partial
from pathlib import Path

from _projects import DVC, PYTHON, clone, name_committer, run

STAGES = ("fetch", "fetch_encoder", "preprocess", "train", "evaluate", "report")
ROUNDS = 5
SMALL = (
    "data.source=synthetic", "data.synthetic.train=12", "data.synthetic.test=4", "data.image_size=32",
    "model.encoder.weights=none", "model.encoder.alpha=0.35", "train.epochs=1", "train.warmup_epochs=0",
    "train.steps_per_epoch=1", "evaluate.tta.scales=[1.0]",
)  # fmt: skip
BARE = """
stages:
  copy:
    cmd: cp given made
    deps: [given]
    outs: [made]
"""


def main() -> None:
    """Run the rounds and publish the ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        ours, bare = finished(Path(scratch, "segpipe")), one_stage(Path(scratch, "bare"))
        runs = {name: partial(run, ours / "stages", PYTHON, "-c", f"import {name}") for name in STAGES}
        runs["import tensorflow"] = partial(run, ours, PYTHON, "-c", "import tensorflow")
        runs["segpipe --help"] = partial(run, ours, "segpipe", "--help")
        runs["dvc repro"] = partial(run, ours, *DVC, "repro")
        runs["dvc repro of one stage"] = partial(run, bare, *DVC, "repro")
        seconds = _bench.in_turns(runs, ROUNDS)
    ratios = {
        f"start of {name} / import tensorflow, time": _bench.ratio(seconds, name, "import tensorflow")
        for name in ("train", "evaluate", "report")
    }
    ratios["dvc repro / of one stage, time"] = _bench.ratio(
        seconds, "dvc repro", "dvc repro of one stage"
    )
    _bench.publish("stages", {f"s, {name}": statistics.median(s) for name, s in seconds.items()}, ratios)


def finished(folder: Path) -> Path:
    """Clone the last commit, and run everything there on a few drawings."""
    clone(folder)
    run(folder, *DVC, "exp", "run", *(word for param in SMALL for word in ("-S", param)))
    return folder


def one_stage(folder: Path) -> Path:
    """Make a DVC project of one stage, and run it."""
    folder.mkdir()
    run(folder, "git", "init", "--quiet")
    name_committer(folder)
    run(folder, *DVC, "init", "--quiet")
    (folder / "given").write_text("given", encoding="utf-8")
    (folder / "dvc.yaml").write_text(BARE, encoding="utf-8")
    run(folder, *DVC, "repro")
    return folder


if __name__ == "__main__":
    main()
