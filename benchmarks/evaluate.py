"""What scoring costs beside the network: images a second of `evaluate`, against the bare model's.

A third of the test photographs of SEGPIPE_PET_DIR, scored at 128 px and at their own size, the
predicted masks written; the rival predicts on the same views of the same pictures and does nothing
else. Then the same in tiles at the photographs' own resolution, without other views.
"""

import _bench

import functools
import itertools
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import network, of_recipe

from segpipe.common import records
from segpipe.common.classes import class_table
from segpipe.common.codec import encode_png
from segpipe.common.records import Tiles
from segpipe.common.tfrecord import write_shards
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.masks import Predict
from segpipe.evaluate.tta import augmented
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.tiles import starts
from segpipe.preprocess.write import write_records

ROUNDS, EVERY = 3, 3


def main() -> None:
    """Run the rounds, print the ratios."""
    params = of_recipe("quick")
    table, size = class_table(params.data.classes, params.data.ignore), params.data.image_size
    model, tta = network(params), params.evaluate.tta
    rows, ratios = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch, "raw")
        found = layouts.samples("oxford", _bench.photographs(), 0.2, table)
        write_raw("a benchmark", itertools.islice(found, 0, None, EVERY), table, True, 100, raw)
        for way, predict, tiles in (
            ("stretch", augmented(model, tta.flip, tta.scales), None),
            ("tiles", augmented(model, False, [1.0]), Tiles(1.0)),
        ):
            out = Path(scratch, way)
            write_records(
                raw, table, RecordFormat(size, way, tiles=tiles), SplitRule(0.1), 100, out / "records"
            )
            manifest = records.open_records(out / "records")
            images = np.stack(
                [image for sample in records.read(manifest, "test") for image in seen(sample, size[1])]
            )
            runs = {
                "evaluate": functools.partial(
                    evaluate, predict, manifest, params.evaluate.batch_size, out
                ),
                "the bare model": functools.partial(bare, predict, images, params.evaluate.batch_size),
            }
            seconds = _bench.in_turns(runs, ROUNDS)
            for name, taken in seconds.items():
                rows[f"images/s, {way}, {name}"] = len(images) / statistics.median(taken)
            ratios[f"{way}: evaluate / the bare model, images/s"] = _bench.ratio(
                seconds, "the bare model", "evaluate"
            )
    _bench.publish("evaluate", rows, ratios)


def seen(sample: dict, width: int) -> list[np.ndarray]:
    """Return the images of a record that the network sees: itself, or the tiles of a row."""
    image = sample["image"]
    return [image[:, left : left + width] for left in starts(image.shape[1], width)]


def evaluate(predict: Predict, manifest: records.Manifest, batch_size: int, out: Path) -> None:
    """Score and write the masks, as the stage does."""
    evaluation = Evaluation(predict, manifest, batch_size)
    masks = ({"name": n.encode(), "mask": encode_png(mask)} for n, mask in evaluation.predictions())
    write_shards(out, "test", masks, 100)
    evaluation.metrics()


def bare(predict: Predict, images: np.ndarray, batch_size: int) -> None:
    """Predict, and do nothing else."""
    for first in range(0, len(images), batch_size):
        predict(images[first : first + batch_size])


if __name__ == "__main__":
    main()
