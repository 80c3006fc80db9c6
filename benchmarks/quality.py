"""Time to quality: seconds of training until validation is as good as the tutorial's at its end.

The photographs of SEGPIPE_PET_DIR with the weights of SEGPIPE_ENCODER_WEIGHTS: the tutorial's 20 epochs,
and the stage `train` with the recipe `quick`, whose epochs are halved to look twice as often. Both
validate, after each epoch, on the same photographs at 128 px, the pipeline's validation split, and train
on its training split. Seconds run from the first step on, tracing included, the tutorial's without
validation. Draws both curves.
"""

import _bench

import os
import subprocess
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tutorial
from _projects import DVC, PYTHON, clone, environment, run
from matplotlib import pyplot as plt

from segpipe import metrics, recipes
from segpipe.data import records
from segpipe.data.arrays import Arrays, load

EPOCHS = 20
IN_HALVES = {"train.epochs": 20, "train.steps_per_epoch": 25, "train.warmup_epochs": 2}
FIGURE = _bench.RESULTS / "quality.png"

Curve = list[tuple[float, float]]
"""Seconds and validation mean IoU, after each epoch."""


def main() -> None:
    """Train both, print the ratio, draw the curves."""
    pets = _bench.photographs().resolve()
    weights = os.environ.get("SEGPIPE_ENCODER_WEIGHTS")
    if not weights:
        raise SystemExit("error: SEGPIPE_ENCODER_WEIGHTS is not set: not measured")
    with tempfile.TemporaryDirectory() as scratch:
        project = clone(Path(scratch, "segpipe"))
        settings = {
            **recipes.settings("quick", _bench.ROOT / "experiments"),
            **IN_HALVES,
            "data.source": "folder",
            "data.folder.path": str(pets),
            "data.folder.layout": "oxford",
            "model.encoder.weights": str(Path(weights).resolve()),
        }
        params = [w for word in recipes.words(settings) for w in ("-S", word)]
        run(project, *DVC, "exp", "run", *params, "preprocess", "fetch_encoder")
        ours = of_stage(project)
        validation = load(records.open_records(project / "data/records"), "val")
        theirs = of_tutorial(pets, weights, validation)
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


def of_stage(project: Path) -> Curve:
    """Run the stage `train`; the time of an epoch is when the stage says that it ended."""
    stage = subprocess.Popen(
        [PYTHON, "stages/train.py"], cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    start, curve = time.perf_counter(), []
    assert stage.stdout
    for line in stage.stdout:
        if line.startswith("epoch "):
            score = line.partition("validation mean IoU ")[2].split()[0]
            curve.append((time.perf_counter() - start, float(score)))
        elif not curve:
            start = time.perf_counter()  # the last thing that is said before the first step
    if stage.wait():
        raise SystemExit("error: the stage train failed")
    return curve


def of_tutorial(pets: Path, weights: str, validation: Arrays) -> Curve:
    """Train as the tutorial does, but for the photographs of the validation split."""
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
    """Validates after each epoch, and counts the seconds between."""

    def __init__(self, images: tf.data.Dataset, masks: np.ndarray) -> None:
        super().__init__()
        self.images, self.masks = images, masks
        self.curve: Curve = []
        self.spent = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop it, and validate."""
        self.spent += time.perf_counter() - self.start
        prediction = self.model.predict(self.images, verbose=0).argmax(-1).astype(np.uint8)
        confusion = metrics.confusion_matrix(self.masks, prediction, tutorial.CLASSES)
        self.curve.append((self.spent, float(metrics.mean_present(metrics.iou(confusion)))))


def draw(curves: dict[str, Curve]) -> None:
    """Mean IoU over seconds."""
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
