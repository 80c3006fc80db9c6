"""What `benchmarks/serve.py` serves: a whole predictor, in a runtime that the environment names."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

SERVED = "SEGPIPE_BENCH_SERVED"  # environment variable with the runtime and the path of the export


def app() -> Any:
    """Return the app; TensorFlow takes the place of ONNX Runtime, all else is as in `segpipe serve`."""
    from segpipe.serve.app import create_app
    from segpipe.serve.model import Served, load
    from segpipe.serve.settings import Settings

    name, path = json.loads(os.environ[SERVED])
    if name.startswith("onnx"):
        return create_app(load(Path(path)), Settings(model=path))
    from segpipe.common.modelfile import read_card
    from segpipe.export.savedmodel import load_whole

    return create_app(Served(read_card(Path(path)), load_whole(Path(path), 1)), Settings(model=path))


def noise() -> list[Any]:
    """Return pictures to calibrate on."""
    return [*np.random.default_rng(0).integers(0, 256, (8, 375, 500, 3), np.uint8)]


def export() -> None:
    """Write the whole predictor of the recipe `quick`."""
    from _networks import network, of_recipe

    from segpipe.common.classes import class_table
    from segpipe.export.runtimes import FORMATS
    from segpipe.export.whole import predictor_graph

    name, path = json.loads(os.environ[SERVED])
    params = of_recipe("quick")
    tensors = {"input": "image", "output": "mask", "confidence": "confidence"}
    described = {key: {"name": tensor, "type": "uint8"} for key, tensor in tensors.items()}
    card = {
        "segpipe": "0.6.0", "format": 4, "image_size": list(params.data.image_size), "resize": "stretch",
        "bands": "rgb", "intensity": None, "depths": ["uint8"],
        **class_table(params.data.classes, params.data.ignore).to_json(),
        "export": {"whole": True, **described},
    }  # fmt: skip
    whole = FORMATS[name].whole
    assert whole
    graph = predictor_graph(network(params), card, whole.batch, whole.real)
    whole.write(graph, card, noise, Path(path))


if __name__ == "__main__":
    export()
