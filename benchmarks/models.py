"""Every encoder, and every decoder: parameters, multiplications, images a second, size in 8 bits.

    python benchmarks/models.py            # writes benchmarks/results/models.json, and docs/models.md

Networks as `quick` has them, with one part replaced: noise of 128 px, random weights, which change no
speed. A network takes turns with that of `quick`, so that a machine that is slower for a while changes
no row; its images a second are the median of these ratios times those of `quick`.
"""

import _bench

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _networks import learner, network, of_recipe
from table import put, row_of

from segpipe.common.errors import UserError
from segpipe.common.nested import changed
from segpipe.export.runtimes import FORMATS
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS
from segpipe.params.load import Params
from segpipe.plan import cost
from segpipe.train.engine import current_engine

PAGE = _bench.ROOT / "docs/models.md"
ROUNDS = 7
QUICK = of_recipe("quick")
OWN_WIDTHS = {"pix2pix": [512, 256, 128, 64], "unet": [512, 256, 128, 64], "light": [512, 256, 128, 64]}
"""Widths of the decoders that are made for more channels than `quick` has."""


def main() -> None:
    """Measure all, publish the rows, write the table."""
    current_engine().prepare(QUICK.train)
    encoder, decoder = QUICK.model.encoder.name, QUICK.model.decoder.name
    pairs = dict.fromkeys(
        [*((name, decoder) for name in ENCODERS), *((encoder, name) for name in DECODERS)]
    )
    reference = runs(of_pair(encoder, decoder))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    rates: dict[str, list[float]] = {use: [] for use in reference}
    for pair in pairs:
        rows[pair] = sizes(of_pair(*pair))
        for use, run in runs(of_pair(*pair)).items():
            seconds = _bench.in_turns({"here": run, "quick": reference[use]}, ROUNDS)
            rates[use] += [batch(use) / second for second in seconds["quick"]]
            rows[pair][use] = _bench.ratio(seconds, "quick", "here")
        print(*pair, rows[pair], file=sys.stderr, flush=True)
    of_quick = {use: statistics.median(found) for use, found in rates.items()}
    found = {f"images/s, {use}, quick": rate for use, rate in of_quick.items()}
    for pair, row in rows.items():
        found |= {
            f"{what}, {', '.join(pair)}": value for what, value in row.items() if value is not None
        }
    _bench.publish("models", found, {})
    put(PAGE, "sizes", table(rows, of_quick))


def of_pair(encoder: str, decoder: str) -> Params:
    """Return the params of `quick` with another encoder or decoder."""
    filters = OWN_WIDTHS.get(decoder, QUICK.model.decoder.filters)
    values = {
        "model.encoder.name": encoder, "model.decoder.name": decoder, "model.decoder.filters": filters,
        "model.encoder.layers": "default",
    }  # fmt: skip
    return Params.model_validate(changed(QUICK.model_dump(), values))


def runs(params: Params) -> dict[str, Callable[[], object]]:
    """Return a training step, and a prediction, by what they are."""
    trained, saved = learner(params), network(params)
    of_train, of_predict = noise("train"), noise("predict")
    masks = np.random.default_rng(0).integers(0, len(params.data.classes), of_train.shape[:3], np.uint8)
    return {
        "train": lambda: trained.train_on_batch(of_train, masks),
        "predict": lambda: saved.predict_on_batch(of_predict),
    }


def sizes(params: Params) -> dict[str, Any]:
    """Return parameters, multiply-accumulates of an image, bytes in 8 bits (None: no such export)."""
    made = network(params)
    found = {"params": cost.count(made.weights), "MACs": cost.macs(made), "int8 bytes": None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        try:
            FORMATS["tflite-int8"].write(made, {}, lambda: list(noise("train")), path)
        except UserError:
            return found
        return found | {"int8 bytes": path.stat().st_size}


def noise(use: str) -> np.ndarray:
    """Return a batch of images, as large as `quick` has for a use."""
    return np.random.default_rng(0).integers(0, 256, (batch(use), *QUICK.data.image_size, 3), np.uint8)


def batch(use: str) -> int:
    """Return the number of images in a batch of `quick`."""
    return (QUICK.train if use == "train" else QUICK.evaluate).batch_size


def table(rows: dict[tuple[str, str], dict[str, Any]], of_quick: dict[str, float]) -> str:
    """Return the table in Markdown."""
    heads = ["encoder", "decoder", "params, M", "MACs, M", "training, images/s", "prediction, images/s"]
    lines = [row_of([*heads, "int8, MB"]), row_of(["---", "---", *["---:"] * 5])]
    for pair, row in rows.items():
        rates = [f"{row[use] * rate:.0f}" for use, rate in of_quick.items()]
        int8 = f"{row['int8 bytes'] / 1e6:.1f}" if row["int8 bytes"] else "none"
        millions = f"{row['params'] / 1e6:.1f}", f"{row['MACs'] / 1e6:.0f}"
        lines.append(row_of([*(f"`{name}`" for name in pair), *millions, *rates, int8]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
