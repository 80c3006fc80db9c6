"""How fast the 8-bit export is, as a share of the float one's time: LiteRT, one image, one thread.

The model that params.yaml holds, 128 px, weights random and images noise: neither changes what is
computed. Predictions of the two alternate in one process; the ratio is that of the medians.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.config import class_table, load_params
from segpipe.data.records import Manifest
from segpipe.export.runtimes import FORMATS
from segpipe.pretrained import Backbone
from segpipe.training import loop

PREDICTIONS = 60


def main() -> None:
    """Export, predict, print the ratio."""
    params = load_params(Path(__file__).resolve().parents[1] / "params.yaml")
    encoder, size = params.model.encoder, params.data.size
    manifest = Manifest(Path(), "noise", size, params.data.resize, class_table(params.data), {}, [])
    backbone = Backbone(encoder.name, encoder.alpha, None)
    network = loop.build_model(backbone, params.model, manifest, params.seed)
    images = np.random.default_rng(0).integers(0, 256, (8, *size, 3), np.uint8)
    seconds: dict[str, list[float]] = {"tflite": [], "tflite-int8": []}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        predict = {}
        for name in seconds:
            path = Path(folder, f"{name}.tflite")
            FORMATS[name].write(network, {}, lambda: images, path)
            predict[name] = FORMATS[name].load(path, 1)
        for number in range(PREDICTIONS):
            for name, taken in seconds.items():
                start = time.perf_counter()
                predict[name](images[number % 8][None])
                taken.append(time.perf_counter() - start)
    floats, integers = (1000 * statistics.median(taken[5:]) for taken in seconds.values())
    print(f"tflite {floats:.1f} ms, tflite-int8 {integers:.1f} ms an image: {integers / floats:.0%}")


if __name__ == "__main__":
    main()
