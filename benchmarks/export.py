"""How fast the 8-bit export is, against the float one: LiteRT, one image, one thread.

The network of the recipe `quick` at 128 px, on noise.
"""

import _bench

import functools
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _networks import network, of_recipe

from segpipe.export.runtimes import FORMATS

PREDICTIONS = 60


def main() -> None:
    """Export, predict, print the ratio."""
    params = of_recipe("quick")
    model = network(params)
    images = np.random.default_rng(0).integers(0, 256, (8, *params.data.image_size, 3), np.uint8)
    runs = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name in ("tflite", "tflite-int8"):
            path = Path(folder, f"{name}.tflite")
            FORMATS[name].write(model, {}, lambda: images, path)
            runs[name] = functools.partial(FORMATS[name].load(path, 1), images[:1])
        seconds = _bench.in_turns(runs, PREDICTIONS)
    _bench.publish(
        "export",
        {f"ms an image, {name}": 1e3 * statistics.median(times) for name, times in seconds.items()},
        {"tflite-int8 / tflite, time": _bench.ratio(seconds, "tflite-int8", "tflite")},
    )


if __name__ == "__main__":
    main()
