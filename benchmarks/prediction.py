"""What `segpipe predict` costs beside its network: images a second, against the bare model's.

Photographs of SEGPIPE_PET_DIR and the model of params.yaml on all cores. The rival is `predict_on_batch`
on the same pictures, decoded and resized before, in batches of 32. `masks` decodes, resizes, predicts
and scales masks back; `all files` writes what `segpipe predict` does too. Then one photograph, enlarged
to 4000 x 3000 px, in tiles: `segpipe predict --tile` against the bare model on the same tiles.
"""

import _bench

import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import network, of_recipe
from PIL import Image

from segpipe.common.classes import class_table
from segpipe.evaluate.tiles import tiled, tiles_of
from segpipe.fetch.sample import Problem
from segpipe.predict.folder import Done, FilePredictor, Options, Step, predict_files
from segpipe.predict.inputs import find
from segpipe.predict.predictor import Prediction, Predictor

IMAGES, BATCH, ROUNDS = 320, 32, 5
LARGE, LARGE_ROUNDS = (4000, 3000), 3


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
        images = np.stack([predictor.input.fitted(source.path).pixels for source in sources])
        seconds = _bench.in_turns(
            {
                "the bare model": lambda: bare(predictor, images),
                "masks": lambda: [*MasksOnly(predictor, out, Options()).results(sources)],
                "all files": lambda: predict_files(predictor, sources, out, Options()),
            },
            ROUNDS,
        )
        of_large = in_tiles(predictor, sources[0].path, out)
    rows = {f"images/s, {name}": len(sources) / statistics.median(seconds[name]) for name in seconds}
    rows |= {f"s, 4000 x 3000 in tiles, {name}": statistics.median(of_large[name]) for name in of_large}
    rows["MB, peak memory"] = _bench.peak_mb()
    ratios = {
        f"{name} / the bare model, images/s": _bench.ratio(seconds, "the bare model", name)
        for name in ("masks", "all files")
    }
    ratios["in tiles / the bare model, tiles/s"] = _bench.ratio(of_large, "the bare model", "in tiles")
    _bench.publish("prediction", rows, ratios)


def bare(predictor: Predictor, images: np.ndarray) -> None:
    """Predict images of the network's size, and do nothing else."""
    for first in range(0, len(images), BATCH):
        predictor.network.predict_on_batch(images[first : first + BATCH])


def in_tiles(predictor: Predictor, photograph: Path, out: Path) -> dict[str, list[float]]:
    """Return the seconds of a large photograph in tiles: as `segpipe predict` does it, and bare."""
    path = out / "large.jpg"
    with Image.open(photograph) as picture:
        picture.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(path, quality=90)
    sources = find([str(path)], out / "tiles")
    pixels = predictor.seen(path).pixels
    read = tiles_of(pixels, predictor.size)
    tiles = np.stack([*tiled(read, (pixels.shape[0], pixels.shape[1]), predictor.size)])
    runs = {
        "the bare model": lambda: bare(predictor, tiles),
        "in tiles": lambda: predict_files(predictor, sources, out / "tiles", Options(tile=True)),
    }
    return _bench.in_turns(runs, LARGE_ROUNDS)


if __name__ == "__main__":
    main()
