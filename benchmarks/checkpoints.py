"""What a checkpoint at the end of every epoch costs, as a share of the epoch.

300 training and 30 validation images of 128 px, the model and the params that params.yaml holds, the
encoder frozen. Epochs and checkpoints alternate in one process; the ratio is that of the medians.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.classes import IGNORE
from segpipe.config import class_table, load_params
from segpipe.data import pipeline
from segpipe.data.records import Manifest
from segpipe.model.losses import cross_entropy
from segpipe.pretrained import Backbone
from segpipe.training import loop
from segpipe.training.optimizer import build_optimizer
from segpipe.training.phases import phases
from segpipe.training.progress import Progress, save
from segpipe.training.scores import RunningScores
from segpipe.unfinished import Unfinished

EPOCHS = 7


def main() -> None:
    """Train, save, print the ratio."""
    params = load_params(Path(__file__).resolve().parents[1] / "params.yaml")
    table = class_table(params.data)
    encoder = params.model.encoder.model_copy(update={"trainable": False})
    manifest = Manifest(Path(), "noise", params.data.size, params.data.resize, table, {}, [])
    backbone = Backbone(encoder.name, encoder.alpha, None)
    model_params = params.model.model_copy(update={"encoder": encoder})
    network = loop.build_model(backbone, model_params, manifest, params.seed)
    training, validation = (_noise(count, manifest) for count in (300, 30))
    steps = pipeline.steps_per_pass(training, params.train.batch_size)
    (phase,) = phases(params.train, trains_encoder=False)
    network.compile(
        build_optimizer(network.trainable_variables, {}, params.train, phase, steps),
        loss=cross_entropy,
        metrics=[RunningScores(len(table))],
        jit_compile=False,
    )
    progress = Progress(best_weights=network.get_weights())
    epochs, saves = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        run = Unfinished(Path(folder))
        for epoch in range(EPOCHS):
            start = time.perf_counter()
            network.fit(
                pipeline.train_batches(
                    training,
                    params.train.batch_size,
                    range(epoch * steps, (epoch + 1) * steps),
                    params.seed,
                    params.train.augment,
                ),
                steps_per_epoch=steps,
                validation_data=pipeline.validation_batches(validation, params.train.batch_size),
                verbose=0,
            )
            middle = time.perf_counter()
            progress.epoch = epoch + 1
            save(run, progress, network)
            epochs.append(middle - start)
            saves.append(time.perf_counter() - middle)
        size = run.checkpoints[0].stat().st_size
    _, *epochs = epochs  # the first one holds TensorFlow's tracing
    epoch_time, save_time = statistics.median(epochs), statistics.median(saves)
    print(f"epoch of 300 images      {epoch_time:8.3f} s  (median of {len(epochs)})")
    print(f"checkpoint of {size / 1e6:4.0f} MB    {save_time:8.3f} s  (median of {len(saves)})")
    print(f"checkpoint / epoch       {save_time / epoch_time:8.1%}    bound 3 %")


def _noise(count: int, manifest: Manifest) -> pipeline.Arrays:
    rng = np.random.default_rng(0)
    shape = (count, *manifest.size)
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    masks = rng.integers(0, len(manifest.classes), shape).astype(np.uint8)
    masks[:, 0] = IGNORE
    return pipeline.Arrays(images, masks, [str(number) for number in range(count)])


if __name__ == "__main__":
    main()
