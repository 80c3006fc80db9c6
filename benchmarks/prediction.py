"""What `segpipe predict` costs beside its network: images a second, against the bare model's.

Photographs of SEGPIPE_PET_DIR and the model of params.yaml on all cores. The rival is `predict_on_batch`
on the same pictures, decoded and resized before, in batches of 32. `masks` decodes, resizes, predicts
and scales masks back; `all files` writes what `segpipe predict` does too.
"""

import _bench

import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import network, of_recipe

from segpipe.common.classes import class_table
from segpipe.fetch.sample import Problem
from segpipe.predict.folder import Done, FilePredictor, Options, Step, predict_files
from segpipe.predict.inputs import find
from segpipe.predict.predictor import Prediction, Predictor

IMAGES, BATCH, ROUNDS = 320, 32, 5


class MasksOnly(FilePredictor):
    """Decodes, resizes, predicts and scales masks back, and writes nothing."""

    def write(self, predicted: Step[Prediction]) -> Step[Done]:
        """Only make the mask."""
        source, prediction = predicted
        if isinstance(prediction, Problem):
            return source, prediction
        mask = prediction.mask()
        return source, Done(mask.shape, np.bincount(mask.ravel()), "")


def main() -> None:
    """Run the rounds, print the ratios."""
    params = of_recipe("quick")
    model, size = network(params), params.data.image_size
    card = {
        "image_size": size,
        "resize": "stretch",
        **class_table(params.data.classes, params.data.ignore).to_json(),
    }
    predictor = Predictor(model, card)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        sources = find([str(_bench.photographs() / "images")], out)[:IMAGES]
        images = np.stack([predictor.input.fitted(one.path).pixels for one in sources])

        def bare() -> None:
            for first in range(0, len(images), BATCH):
                model.predict_on_batch(images[first : first + BATCH])

        seconds = _bench.in_turns(
            {
                "the bare model": bare,
                "masks": lambda: [*MasksOnly(predictor, out, Options()).results(sources)],
                "all files": lambda: predict_files(predictor, sources, out, Options()),
            },
            ROUNDS,
        )
    rows = {f"images/s, {name}": len(sources) / statistics.median(seconds[name]) for name in seconds}
    rows["MB, peak memory"] = _bench.peak_mb()
    ratios = {
        f"{name} / the bare model, images/s": _bench.ratio(seconds, "the bare model", name)
        for name in ("masks", "all files")
    }
    _bench.publish("prediction", rows, ratios)


if __name__ == "__main__":
    main()
