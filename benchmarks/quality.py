"""Time to quality: seconds of training until validation is as good as the tutorial's at its end.

Data are the photographs of SEGPIPE_PET_DIR, encoder weights those of SEGPIPE_ENCODER_WEIGHTS. The
tutorial trains 20 epochs; the stage `train` runs the recipe `quick`, with epochs a fifth as long so that
it validates five times as often. Both train on the pipeline's training split and validate after each
epoch on its validation split at 128 px. Seconds include training steps and tracing, but no validation.
The tutorial's last score differs much from seed to seed: it is trained with three seeds, and the median
counts. The curves are drawn.
"""

import _bench

import itertools
import os
import re
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tutorial
from _projects import DVC, PYTHON, clone, run
from matplotlib import pyplot as plt

from segpipe.common import records
from segpipe.evaluate import metrics
from segpipe.params import recipes
from segpipe.train.samples import Arrays, load

EPOCHS = 20
SEEDS = range(3)
IN_FIFTHS = {
    "data.image_size": 128,
    "train.epochs": 50,
    "train.steps_per_epoch": 12,
    "train.warmup_epochs": 5,
}
SAID = re.compile(r"epoch .*validation mean IoU (?P<score>\S+) .* (?P<rate>\d+) images/s")
FIGURE = _bench.RESULTS / "quality.png"

Curve = list[tuple[float, float]]
"""Seconds and validation mean IoU, after each epoch."""


def main() -> None:
    """Train both, publish the ratio, draw the curves."""
    pets = _bench.photographs().resolve()
    weights = os.environ.get("SEGPIPE_ENCODER_WEIGHTS")
    if not weights:
        raise SystemExit("error: SEGPIPE_ENCODER_WEIGHTS is not set: not measured")
    with tempfile.TemporaryDirectory() as scratch:
        project = clone(Path(scratch, "segpipe"))
        settings = {
            **recipes.settings("quick", _bench.ROOT / "experiments"),
            **IN_FIFTHS,
            "data.source": "folder",
            "data.folder.path": str(pets),
            "data.folder.layout": "oxford",
            "model.encoder.weights": str(Path(weights).resolve()),
        }
        params = [w for word in recipes.overrides(settings) for w in ("-S", word)]
        run(project, *DVC, "exp", "run", *params, "preprocess", "fetch_encoder")
        ours = of_stage(project, int(settings["train.batch_size"]) * IN_FIFTHS["train.steps_per_epoch"])
        validation = load(records.open_records(project / "data/records"), "val")
        runs = [of_tutorial(pets, weights, validation, seed) for seed in SEEDS]
    theirs = sorted(runs, key=lambda curve: curve[-1][1])[len(runs) // 2]
    reached = theirs[-1][1]
    needed = next((seconds for seconds, score in ours if score >= reached), None)
    if needed is None:
        raise SystemExit(f"error: quick never reached {reached:.3f}, what the tutorial has at its end")
    draw({"the tutorial": theirs, "quick": ours})
    _bench.publish(
        "quality",
        {
            "s, the tutorial's 20 epochs": theirs[-1][0],
            "mean IoU, the tutorial's last epoch": reached,
            "s, quick until it has that": needed,
            "mean IoU, quick's last epoch": ours[-1][1],
            "s, quick": ours[-1][0],
        },
        {"quick / the tutorial, time to the same mean IoU": needed / theirs[-1][0]},
    )


def of_stage(project: Path, images: int) -> Curve:
    """Run the stage `train`; return its curve, timed by the rates that it prints.

    Args:
        project: a folder with records and encoder.
        images: how many it trains on in an epoch.
    """
    said = run(project, PYTHON, "stages/train.py")
    epochs = [match for line in said.splitlines() if (match := SAID.match(line))]
    seconds = itertools.accumulate(images / int(match["rate"]) for match in epochs)
    return list(zip(seconds, (float(match["score"]) for match in epochs), strict=True))


def of_tutorial(pets: Path, weights: str, validation: Arrays, seed: int) -> Curve:
    """Train as the tutorial does, without the photographs of the validation split."""
    keras.utils.set_random_seed(seed)
    pairs = {Path(pair[0]).stem: pair for pair in tutorial.files(pets, "trainval")}
    held_out = [pairs.pop(name) for name in validation.names]
    watch = Watch(tutorial.encoded(held_out).map(tutorial.load).batch(len(held_out)), validation.masks)
    tutorial.network(weights).fit(
        tutorial.train_batches(list(pairs.values())),
        epochs=EPOCHS,
        steps_per_epoch=len(pairs) // tutorial.BATCH,
        callbacks=[watch],
        verbose=0,
    )
    return watch.curve


class Watch(keras.callbacks.Callback):
    """Validates after each epoch, and sums the seconds of training."""

    def __init__(self, images: tf.data.Dataset, masks: np.ndarray) -> None:
        super().__init__()
        self.images, self.masks = images, masks
        self.curve: Curve = []
        self.spent = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock, and validate."""
        self.spent += time.perf_counter() - self.start
        prediction = self.model.predict(self.images, verbose=0).argmax(-1).astype(np.uint8)
        confusion = metrics.confusion_matrix(self.masks, prediction, tutorial.CLASSES)
        self.curve.append((self.spent, float(metrics.mean_present(metrics.iou(confusion)))))


def draw(curves: dict[str, Curve]) -> None:
    """Draw mean IoU over seconds."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (name, curve), colour in zip(curves.items(), ("#999999", "#0072b2"), strict=True):
        axes.plot(*zip(*curve, strict=True), "o-", color=colour, label=name)
    axes.axhline(curves["the tutorial"][-1][1], color="#999999", linestyle="--", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("validation mean IoU")
    axes.legend()
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
