"""A served model gives the masks of `segpipe predict`, and finds the same pictures foreign."""

import json

import numpy as np
import onnx
import pytest
from served import png
from whole_networks import card, export, network, photo

from segpipe.common.network import with_features
from segpipe.common.network_traits import Components, traits_of_network
from segpipe.common.profile import Profile, reference
from segpipe.predict.predictor import Predictor
from segpipe.serve.model import load
from segpipe.serve.requests import Upload


def card_of(*outputs, **changes):
    """The card of an ONNX file with these outputs beside mask and confidence."""
    tensors = {"input": "image", "output": "mask", "confidence": "confidence"}
    named = tensors | {name: name for name in outputs}
    described = {key: {"name": name, "type": "uint8"} for key, name in named.items()}
    return card(segpipe="0.6.0", format=4, export={"whole": True, **described}, **changes)


def profile_of(model, images):
    """A profile of what a network sees in images of its size."""
    logits, features = with_features(model).predict_on_batch(images)
    components = Components.of(features)
    found = traits_of_network(logits, features, ["pet", "background", "border"], components)
    references = {name: reference(name, [one[name] for one in found]) for name in found[0]}
    return Profile(references, 1.0, 9, 1, components.to_json())


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A network, its profile, and its whole predictor in ONNX."""
    rng, model = np.random.default_rng(0), network()
    profile = profile_of(model, np.stack([photo(rng, 32, 64) for _ in range(6)]))
    folder = tmp_path_factory.mktemp("known")
    export("onnx", model, card_of("logits", "features", profile=profile.to_json()), folder)
    return model, profile, folder / "model.onnx"


def served_with(path, of, folder):
    """Load a copy of an ONNX file with another card."""
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"segpipe.json": json.dumps(of)})
    onnx.save(model, folder / "model.onnx")
    return load(folder / "model.onnx")


def test_each_trait_of_a_picture_is_as_foreign_to_the_server_as_to_predict(known, rng, tmp_path):
    model, profile, path = known
    images = (photo(rng, 70, 90), 255 - photo(rng, 70, 90))
    assert {"confidence", "novelty"} < {*profile.references}
    for name, expected_of in profile.references.items():
        alone = Profile({name: expected_of}, 1.0, 9, 1, profile.features)
        of = card_of("logits", "features", profile=alone.to_json())
        served, predictor = served_with(path, of, tmp_path), Predictor(model, of)
        for image in images:
            found = served.predict(served.read(Upload("a.png", png(image)), 10**6)).mark
            expected = predictor.mark(image)
            assert (found.trait, found.foreign) == (name, expected.foreign)
            assert found.score == pytest.approx(expected.score, rel=1e-3, abs=1e-3)


def test_a_file_without_the_networks_outputs_judges_by_the_pictures_own_traits(known, tmp_path):
    """Older code exported such files."""
    _, profile, path = known
    references = {**profile.references, "brightness": reference("brightness", [100, 101, 102])}
    of = card_of(profile=Profile(references, 1.0, 9, 1, profile.features).to_json())
    served = served_with(path, of, tmp_path)
    black = served.read(Upload("a.png", png(np.zeros((50, 80, 3), np.uint8))), 10**6)
    assert served.predict(black).mark.trait == "brightness"


@pytest.mark.slow
def test_masks_are_those_of_predict_on_photographs(tmp_path, pet_dir):
    of = card_of()
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
