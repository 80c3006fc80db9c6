"""What `segpipe predict` costs beside its network: images a second, against the bare model's.

Photographs of SEGPIPE_PET_DIR, the model of params.yaml with random weights, on all cores. The rival is
`predict_on_batch` on the same pictures, decoded and resized before, in batches of 32. All run in turn in
one process; ratios are medians of the ratios round by round.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.config import class_table, load_params
from segpipe.data.records import Manifest
from segpipe.prediction.folder import Done, Failed, Options, Predicted, Work, predict_files
from segpipe.prediction.inputs import find
from segpipe.prediction.predictor import Predictor
from segpipe.pretrained import Backbone
from segpipe.training import loop

IMAGES, BATCH, ROUNDS = 320, 32, 9


class MasksOnly(Work):
    """Decodes, resizes, predicts and scales masks back, and writes nothing."""

    def write(self, predicted: Predicted | Failed) -> Done | Failed:
        """Only make the mask."""
        if isinstance(predicted, Failed):
            return predicted
        mask = predicted.result.mask()
        return Done(predicted.source, mask.shape, np.bincount(mask.ravel()))


def build() -> tuple[keras.Model, Predictor]:
    """The model of params.yaml, bare and as if it was loaded."""
    params = load_params(Path(__file__).resolve().parents[1] / "params.yaml")
    table, size = class_table(params.data), params.data.size
    encoder = params.model.encoder.model_copy(update={"trainable": False})
    manifest = Manifest(Path(), "photographs", size, "stretch", table, {}, [])
    network = loop.build_model(
        Backbone(encoder.name, encoder.alpha, None),
        params.model.model_copy(update={"encoder": encoder}),
        manifest,
        params.seed,
    )
    return network, Predictor(network, {"image_size": size, "resize": "stretch", **table.to_json()})


def seconds(work: Callable[[], object]) -> float:
    """The time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Run the rounds, print the ratios."""
    photographs = os.environ.get("SEGPIPE_PET_DIR")
    if not photographs:
        print("SEGPIPE_PET_DIR is not set: predicting is not measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        sources = find([f"{photographs}/images"], out)[:IMAGES]
        network, predictor = build()
        images = np.stack([one.image for one in map(Work(predictor, out, Options()).shrink, sources)])

        def bare() -> None:
            for first in range(0, len(images), BATCH):
                network.predict_on_batch(images[first : first + BATCH])

        runs = {
            "the bare model": bare,
            "decode, resize, predict, masks": lambda: [
                *MasksOnly(predictor, out, Options()).results(sources)
            ],
            "the same and write all files": lambda: predict_files(predictor, sources, out, Options()),
        }
        for run in runs.values():
            run()
        rounds = [[seconds(run) for run in runs.values()] for _ in range(ROUNDS)]
    for position, name in enumerate(runs):
        speed = len(sources) / statistics.median(times[position] for times in rounds)
        ratio = statistics.median(times[0] / times[position] for times in rounds)
        print(f"{name:32} {speed:7.1f} images/s  {ratio:6.1%} of the bare model's")
    print("bound for masks 80 %")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak memory {peak * (1 if sys.platform == 'darwin' else 1024) / 1e6:,.0f} MB    bound 1500 MB"
    )


if __name__ == "__main__":
    main()
