"""What scoring costs beside the network: images a second of `evaluate`, against the bare model's.

The test photographs of SEGPIPE_PET_DIR, scored at 128 px and at their own size, the predicted masks
written; the rival predicts on the same views of the same pictures and does nothing else.
"""

import _bench

import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import network, of_recipe

from segpipe.common import records
from segpipe.common.classes import class_table
from segpipe.common.codec import encode_png
from segpipe.common.tfrecord import write_shards
from segpipe.evaluate.evaluation import Evaluation
from segpipe.evaluate.tta import augmented
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.preprocess.cut import Cut
from segpipe.preprocess.write import write_records

ROUNDS = 3


def main() -> None:
    """Run the rounds, print the ratio."""
    params = of_recipe("default")
    table, size = class_table(params.data.classes, params.data.ignore), params.data.image_size
    batch_size, tta = params.evaluate.batch_size, params.evaluate.tta
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        write_raw(
            "a benchmark",
            layouts.samples("oxford", _bench.photographs(), 0.2, table),
            table,
            True,
            100,
            out / "raw",
        )
        write_records(out / "raw", table, size, "stretch", Cut(0.1), 100, out / "records")
        manifest = records.open_records(out / "records")
        images = np.stack([sample["image"] for sample in records.read(manifest, "test")])
        predict = augmented(network(params), tta.flip, tta.scales)

        def evaluate() -> None:
            evaluation = Evaluation(predict, manifest, batch_size)
            predictions = evaluation.predictions()
            masks = ({"name": n.encode(), "mask": encode_png(mask)} for n, mask in predictions)
            write_shards(out, "test", masks, 100)
            evaluation.metrics()

        def bare() -> None:
            for first in range(0, len(images), batch_size):
                predict(images[first : first + batch_size])

        seconds = _bench.in_turns({"evaluate": evaluate, "the bare model": bare}, ROUNDS)
    rows = {f"images/s, {name}": len(images) / statistics.median(s) for name, s in seconds.items()}
    _bench.publish(
        "evaluate",
        rows,
        {"evaluate / the bare model, images/s": _bench.ratio(seconds, "the bare model", "evaluate")},
    )


if __name__ == "__main__":
    main()
