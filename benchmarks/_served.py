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
    settings = Settings(model=path)
    settings.to_environment()  # each connection reads them
    if name.startswith("onnx"):
        return create_app(load(Path(path)), settings)
    import tensorflow as tf

    from segpipe.common.modelfile import read_card

    card, predictor = read_card(Path(path)), tf.saved_model.load(path)

    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = predictor.serve(images)
        return [outputs[name].numpy() for name in ("mask", "confidence", "logits", "features")]

    return create_app(Served(card, run), settings)


def noise() -> list[Any]:
    """Return pictures to calibrate on."""
    return [*np.random.default_rng(0).integers(0, 256, (8, 375, 500, 3), np.uint8)]


def profile(model: Any, classes: list[str]) -> Any:
    """Return a profile of noise: to compare a picture with it takes as long as with any other."""
    from segpipe.common.network import with_features
    from segpipe.common.network_traits import Components, traits_of_network
    from segpipe.common.profile import Profile, reference
    from segpipe.preprocess.intensity import RGB_OF_8_BITS, fit
    from segpipe.preprocess.traits import traits_of

    size = model.input_shape[1:3]
    images = np.stack([fit(image, None, RGB_OF_8_BITS, size, "stretch") for image in noise()])
    logits, features = with_features(model).predict_on_batch(images)
    components = Components.of(features)
    of_network = traits_of_network(logits, features, classes, components)
    traits = [traits_of(image) | one for image, one in zip(noise(), of_network, strict=True)]
    references = {name: reference(name, [one[name] for one in traits]) for name in traits[0]}
    return Profile(references, 1.0, len(traits), 1, components.to_json())


def export() -> None:
    """Write the whole predictor of the recipe `quick`."""
    from _networks import network, of_recipe

    from segpipe.common.classes import class_table
    from segpipe.common.profile import KEY
    from segpipe.export.runtimes import FORMATS
    from segpipe.export.whole import predictor_graph

    name, path = json.loads(os.environ[SERVED])
    params = of_recipe("quick")
    model, classes = network(params), class_table(params.data.classes, params.data.ignore)
    tensors = {"input": "image", "output": "mask", "confidence": "confidence"}
    tensors |= {name: name for name in ("logits", "features")}
    described = {key: {"name": tensor, "type": "uint8"} for key, tensor in tensors.items()}
    card = {
        "segpipe": "0.6.0", "format": 4, "image_size": list(params.data.image_size), "resize": "stretch",
        "bands": "rgb", "intensity": None, "depths": ["uint8"],
        **classes.to_json(), KEY: profile(model, classes.names).to_json(),
        "export": {"whole": True, **described},
    }  # fmt: skip
    whole = FORMATS[name].whole
    assert whole
    graph = predictor_graph(model, card, whole.batch, whole.real)
    whole.write(graph, card, noise, Path(path))


if __name__ == "__main__":
    export()
