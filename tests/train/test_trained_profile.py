"""The profile that training gives a model: who tells what, and that the model stays as it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import some_quick
from test_training import IDENTITY, computing_in, manifest_of, new_network, setup_of, with_changes

from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.common.network import with_features
from segpipe.common.network_traits import Components, prediction_traits
from segpipe.common.profile import KEPT, KEY, Profile
from segpipe.common.records import Tiles
from segpipe.common.traits import FILE, Measured, read_traits, write_traits
from segpipe.predict.predictor import load_model
from segpipe.preprocess.traits import traits_of
from segpipe.train import loop, provenance
from segpipe.train.profile import profile
from segpipe.train.samples import Arrays
from segpipe.train.saving import save_model


@pytest.fixture
def samples(rng):
    def some(count, prefix):
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return Arrays(
            images, np.zeros((count, 32, 32), np.uint8), [f"{prefix}{n}" for n in range(count)]
        )

    return some(10, "train"), some(6, "val")


@pytest.fixture
def manifest(samples, tmp_path):
    """Records of the samples, with their traits."""
    return with_traits(samples, tmp_path)


def with_traits(samples, folder):
    rows = [
        Measured(name, split, traits_of(image))
        for split, some in zip(("train", "val"), samples, strict=True)
        for name, image in zip(some.names, some.images, strict=True)
    ]
    return replace(manifest_of(samples[0]), folder=folder, traits=write_traits(folder, rows))


@pytest.fixture
def network(samples):
    return new_network(samples[0], with_changes())


def test_the_camera_is_told_by_training_and_the_network_by_validation(network, samples, manifest):
    found = profile(network, manifest, *samples, batch_size=4)
    counts = {name: one.values.size for name, one in found.references.items()}
    assert {name for name, count in counts.items() if count == 10} == {*traits_of(samples[0].images[0])}
    of_network = {name for name, count in counts.items() if count == 6}
    assert of_network == {
        "confidence", "share of a", "share of b", "novelty", *(f"features {n}" for n in range(1, 5))
    }  # fmt: skip
    assert (found.judged, found.beyond) == (6, 1)


def test_the_farthest_validation_picture_sets_the_limit_and_is_not_foreign(network, samples, manifest):
    training, validation = samples
    validation.images[3] //= 8
    found = profile(network, with_traits(samples, manifest.folder), training, validation, 4)
    mark = found.mark(traits_of(validation.images[3]))
    assert mark.score == pytest.approx(1, abs=0.001)
    assert not mark.foreign


def test_the_saved_model_marks_its_validation_pictures_as_training_did(
    network, samples, manifest, tmp_path
):
    found = profile(network, manifest, *samples, batch_size=4)
    card = provenance.card(IDENTITY, manifest, {}, 1.0, None, found)
    save_model(network, tmp_path / "model.keras", card)
    predictor = load_model(tmp_path / "model.keras")
    assert Profile.of_card(read_card(tmp_path / "model.keras")).to_json() == found.to_json()
    marks = [predictor.mark(image) for image in samples[1].images]
    assert all(mark.score <= 1 for mark in marks), "none of those that set the limit is foreign"
    assert predictor.mark(np.zeros((32, 32, 3), np.uint8)).foreign
    told = predictor.foreign_check.network_traits([*samples[1].images], network.predict_on_batch)
    for name in ("confidence", "novelty", "features 1"):
        values = sorted(one[name] for one in told)
        assert values == pytest.approx(found.references[name].values.tolist(), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("precision", some_quick(["bfloat16", "float16"], "float16"))
def test_a_model_trained_in_16_bits_is_saved_with_a_profile_of_what_it_says_in_32(
    samples, manifest, tmp_path, precision
):
    training, validation = samples
    with computing_in(precision) as params:
        network = new_network(training, params)
        setup = replace(setup_of(training, tmp_path, params), manifest=manifest, validation=validation)
        progress = loop.train(network, setup)
        loop.save_calibrated(network, setup, progress, tmp_path / "model.keras")
    predictor = load_model(tmp_path / "model.keras")
    known = Profile.of_card(read_card(tmp_path / "model.keras"))
    told = predictor.foreign_check.network_traits(
        [*validation.images], predictor.network.predict_on_batch
    )
    for name in ("confidence", "novelty", "features 1"):
        values = sorted(one[name] for one in told)
        assert values == pytest.approx(known.references[name].values.tolist(), rel=2e-3, abs=2e-3)


def test_it_changes_neither_weights_nor_the_saved_network(network, samples, manifest, tmp_path):
    save_model(network, tmp_path / "before.keras", {"any": "card"})
    profile(network, manifest, *samples, batch_size=4)
    save_model(network, tmp_path / "after.keras", {"any": "card"})
    assert (tmp_path / "before.keras").read_bytes() == (tmp_path / "after.keras").read_bytes()


def test_it_is_the_same_every_time_and_for_every_batch_size(network, samples, manifest):
    first, again, other = (profile(network, manifest, *samples, batch_size=n) for n in (4, 4, 3))
    assert first.to_json() == again.to_json()
    assert other.limit == pytest.approx(first.limit, rel=0.01)


def test_records_without_traits_give_no_profile_and_it_says_so(network, samples, manifest, capsys):
    assert profile(network, replace(manifest, traits=None), *samples, batch_size=4) is None
    assert "no profile of the pictures: the records hold none of their traits" in capsys.readouterr().out
    assert KEY not in provenance.card(IDENTITY, manifest, {}, 1.0)


def test_a_network_of_tiles_is_judged_by_the_camera_alone_its_tiles_as_one_picture(samples, tmp_path):
    manifest = replace(with_traits(samples, tmp_path), tiles=Tiles(1.0))
    tiles = [replace(some, names=[f"{name}@0,0" for name in some.names]) for some in samples]
    tiles[0] = replace(tiles[0], names=[*tiles[0].names[:9], "train0@0,32"])
    found = profile(None, manifest, *tiles, batch_size=4)
    assert found.features is None
    assert {one.values.size for one in found.references.values()} == {9}


def test_of_many_pictures_some_are_kept(tmp_path, rng):
    names = [f"{n}" for n in range(KEPT + 50)]
    rows = [Measured(name, "train", {"brightness": float(name)}) for name in names]
    rows += [Measured("val", "val", {"brightness": 9.0})]
    empty = [np.zeros((len(some), 1, 1), np.uint8) for some in (names, ["val"])]
    training, validation = Arrays(empty[0], empty[0], names), Arrays(empty[1], empty[1], ["val"])
    manifest = replace(manifest_of(training), folder=tmp_path, traits=write_traits(tmp_path, rows))
    tiled = [
        replace(some, names=[f"{name}@0,0" for name in some.names]) for some in (training, validation)
    ]
    found = profile(None, replace(manifest, tiles=Tiles(1.0)), *tiled, batch_size=4)
    assert found.references["brightness"].values.size == KEPT


def test_a_table_of_traits_that_is_not_the_manifests_is_refused(tmp_path):
    entry = write_traits(tmp_path, [Measured("a, b", "val", {"noise": 1 / 3})])
    assert read_traits(tmp_path, entry) == [Measured("a, b", "val", {"noise": 0.333333})]
    (tmp_path / FILE).write_text("name,split,noise\n")
    with pytest.raises(UserError, match=r"traits.csv: not the manifest's .* --force preprocess"):
        read_traits(tmp_path, entry)
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="missing, the manifest lists it"):
        read_traits(tmp_path, entry)


def test_what_logits_say_is_worked_out_by_hand():
    odds = np.array([[[[3.0, 1.0], [1.0, 1.0]], [[1.0, 4.0], [1.0, 9.0]]]], np.float32)
    (told,) = prediction_traits(np.log(odds), ["a", "b"])
    assert told["confidence"] == pytest.approx((0.75 + 0.5 + 0.8 + 0.9) / 4)
    assert (told["share of a"], told["share of b"]) == (0.5, 0.5)


def test_components_are_the_directions_in_which_features_differ_most():
    along = np.array([3.0, -3, 1, -1], np.float32)
    features = np.zeros((4, 5), np.float32)
    features[:, 2] = 10 + along
    found = Components.of(features)
    assert len(found.axes) == 1
    (one,) = found.traits(np.array([[0, 0, 10 + 5**0.5, 0, 0]], np.float32))
    assert one["features 1"] == pytest.approx(1), "the deviation is the root of 5"


def test_novelty_is_what_the_components_do_not_span(rng):
    flat = np.zeros((50, 9), np.float32)
    flat[:, :4] = rng.normal(0, 5, (50, 4))
    flat[:, 4:] = rng.normal(0, 0.1, (50, 5))
    found = Components.of(flat)
    within, outside = found.traits(np.eye(9, dtype=np.float32)[[0, 8]] * 3)
    assert within["novelty"] < 3
    assert outside["novelty"] > 8
    again = Components.from_json(found.to_json())
    assert again.traits(flat) == found.traits(flat)


@pytest.mark.parametrize(("count", "value"), [(1, 3.0), (1, 0.0), (3, 0.1), (100, 1234.567)])
def test_pictures_that_are_all_alike_still_tell_how_far_another_is(count, value):
    found = Components.of(np.full((count, 4), value, np.float32))
    near, far = found.traits(value + np.array([[0, 0, 0, 1], [0, 0, 0, 4]], np.float32))
    assert np.isfinite([*near.values(), *far.values()]).all()
    assert far["novelty"] == pytest.approx(4 * near["novelty"], rel=0.01)
    json.dumps(found.to_json(), allow_nan=False)


def test_features_that_are_all_alike_have_no_component():
    found = Components.of(np.ones((3, 4), np.float32))
    assert found.axes.shape == (0, 4)
    assert np.isfinite(found.traits(np.ones((1, 4), np.float32))[0]["novelty"])


def test_the_logits_of_the_observed_network_are_the_networks(network, samples):
    logits, features = with_features(network).predict_on_batch(samples[0].images)
    assert logits == pytest.approx(network.predict_on_batch(samples[0].images), abs=1e-5)
    assert features.shape[0] == 10
    assert features.ndim == 2
