"""A served model gives the masks of `segpipe predict`."""

import numpy as np
import pytest
from whole_networks import card, export, network

from segpipe.predict.predictor import Predictor
from segpipe.serve.model import load
from segpipe.serve.requests import Upload


@pytest.mark.slow
def test_masks_are_those_of_predict_on_photographs(tmp_path, pet_dir):
    tensors = {"input": "image", "output": "mask", "confidence": "confidence"}
    described = {key: {"name": name, "type": "uint8"} for key, name in tensors.items()}
    of = card(segpipe="0.6.0", format=4, export={"whole": True, **described})
    model = network()
    export("onnx", model, of, tmp_path)
    served, predictor = load(tmp_path / "model.onnx"), Predictor(model, of)
    paths = sorted((pet_dir / "images").glob("*.jpg"))[::40]
    assert len(paths) > 5
    for path in paths:
        picture = served.read(Upload(path.name, path.read_bytes()), 10**8)
        mask = served.predict(picture).mask
        probabilities = predictor.predict_probabilities(np.asarray(picture.seen))
        assert (mask == probabilities.argmax(-1)).mean() > 0.999
