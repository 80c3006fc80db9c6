"""`train.sampling`: which samples a pass draws, by the classes that they hold."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import error_line, make_project, plain_params, run_stage, set_params
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays
from test_samples import STRONG, write_records
from test_training import train, with_changes

from segpipe.common.errors import UserError
from segpipe.train.augment import DRAWS
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays, load, locate, preview_samples, subset
from segpipe.train.sampling import cumulative, describe, probabilities

COUNT, BATCH, A_PASS = 20, 4, 5
ENGINE = TensorFlowEngine()
NAMES = ["road", "car", "pole"]
PLAIN = plain_params().train.augment.model_copy(update={"flip": False})
FLIP = PLAIN.model_copy(update={"flip": True})
HELD = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)


def numbered():
    """20 samples of 8 x 8 px that tell their number; all hold road, 5 hold a car, 1 holds a pole."""
    images = np.random.default_rng(0).integers(0, 200, (COUNT, 8, 8, 3), np.uint8)
    images[..., 1] = np.arange(COUNT)[:, None, None]
    masks = np.zeros((COUNT, 8, 8), np.uint8)
    masks[3:8, 0, 0] = 1
    masks[7, 7, 7] = 2
    masks[:, 4] = 255
    return Arrays(images, masks, [str(number) for number in range(COUNT)])


SAMPLES = numbered()
UNEVEN = probabilities({"car": 3, "pole": 10}, SAMPLES.held, NAMES)
"""3 of 34 for four samples, 10 of 34 for one, and 1 of 34 for the others: they sum to 37."""


def batches(steps, drawn=UNEVEN, seed=0, params=PLAIN, samples=SAMPLES):
    found = ENGINE.train_batches(samples, steps, Batching(BATCH, seed, params, None, drawn))
    return list(found.as_numpy_iterator())


def order(found):
    return np.concatenate([images[:, 0, 0, 1] for images, _ in found])


def assert_drawn_as_often_as_expected(numbers):
    """Within five standard deviations of a binomial distribution."""
    counts = np.bincount(numbers, minlength=COUNT)
    expected = len(numbers) * UNEVEN
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected * (1 - UNEVEN))).all()


def test_balanced_chooses_a_class_and_then_a_sample_that_holds_it():
    """1/3 * 1/4 for road, 1/3 * 1/2 for a car, 1/3 for the pole."""
    found = probabilities("balanced", HELD, NAMES)
    assert found == pytest.approx([1 / 12, 1 / 12 + 1 / 6, 1 / 12, 1 / 12 + 1 / 6 + 1 / 3])


def test_weights_count_by_the_highest_of_the_classes_that_a_sample_holds():
    """Road is not named: its weight is 1."""
    assert probabilities({"pole": 5}, HELD, NAMES) == pytest.approx([1 / 8, 1 / 8, 1 / 8, 5 / 8])
    found = probabilities({"car": 3, "pole": 2}, HELD, NAMES)
    assert found == pytest.approx([1 / 8, 3 / 8, 1 / 8, 3 / 8])
    found = probabilities({"road": 0.5, "car": 0.25}, HELD, NAMES)
    assert found == pytest.approx([1 / 5, 1 / 5, 1 / 5, 2 / 5])


def test_a_class_that_no_sample_holds_changes_nothing_unless_it_is_named():
    held = HELD * [True, True, False]
    assert probabilities("balanced", held, NAMES) == pytest.approx(
        probabilities("balanced", HELD[:, :2], NAMES[:2])
    )
    assert probabilities({"car": 2}, held, NAMES) == pytest.approx([1 / 6, 1 / 3, 1 / 6, 1 / 3])
    with pytest.raises(
        UserError, match=r"^train\.sampling names 'pole', but no training sample holds this class$"
    ):
        probabilities({"car": 2, "pole": 5}, held, NAMES)
    with pytest.raises(UserError, match="names 'wire', but no training sample holds"):
        probabilities({"wire": 2}, held, NAMES)  # records that params no longer fit


def test_a_sample_without_a_class_is_drawn_by_weights_alone():
    """All of its pixels are ignored."""
    held = np.array([[0, 0, 0], [1, 0, 0]], bool)
    assert probabilities("balanced", held, NAMES).tolist() == [0, 1]
    assert probabilities({"road": 4}, held, NAMES) == pytest.approx([1 / 5, 4 / 5])
    for wanted in ("balanced", {}):
        with pytest.raises(UserError, match=r"^train\.sampling: no training sample holds a class"):
            probabilities(wanted, held[:1], NAMES)


@st.composite
def classes_held(draw):
    """Which classes some samples hold; one holds all."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    held = draw(drawn_arrays(bool, shape))
    held[0] = True
    return held


def letters(held):
    return [chr(ord("a") + index) for index in range(held.shape[1])]


weights = st.floats(1e-3, 1e3)


@given(classes_held(), st.data())
def test_probabilities_sum_to_one_and_none_is_zero_but_of_a_sample_without_a_class(held, data):
    names = letters(held)
    by_name = data.draw(st.dictionaries(st.sampled_from(names), weights))
    for wanted in ("balanced", by_name):
        found = probabilities(wanted, held, names)
        assert found.sum() == pytest.approx(1)
        assert (found[held.any(1)] > 0).all()
        assert (found >= 0).all()
        assert cumulative(found)[-1] == 1


@given(classes_held(), st.data())
def test_a_sample_that_holds_more_is_drawn_no_less_often(held, data):
    names = letters(held)
    by_name = data.draw(st.dictionaries(st.sampled_from(names), weights))
    for wanted in ("balanced", by_name):
        found = probabilities(wanted, held, names)
        for one in range(len(held)):
            if held[one].any():
                more = (held[one] <= held).all(1)
                assert (found[more] >= found[one] * (1 - 1e-9)).all()


@given(classes_held(), weights, st.data())
def test_a_higher_weight_draws_samples_with_the_class_no_less_often_and_the_others_no_more(
    held, weight, data
):
    names = letters(held)
    by_name = data.draw(st.dictionaries(st.sampled_from(names), weights))
    name = data.draw(st.sampled_from(names))
    before = probabilities({**by_name, name: weight}, held, names)
    after = probabilities({**by_name, name: 2 * weight}, held, names)
    holds = held[:, names.index(name)]
    assert after[holds].sum() >= before[holds].sum() * (1 - 1e-9)
    assert (after[~holds] <= before[~holds] * (1 + 1e-9)).all()


def test_enormous_weights_have_a_finite_sum():
    held = np.repeat([[False, True], [True, False]], 1000, axis=0)
    found = probabilities({"a": 1e308, "b": 1e308}, held, ["a", "b"])
    assert found == pytest.approx(np.full(2000, 1 / 2000))


@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 1 - 2**-53])
def test_what_has_no_probability_is_never_drawn(value):
    """Neither at the beginning, in the middle nor at the end."""
    bounds = cumulative(np.array([0, 0.25, 0, 0.75, 0]))
    expected = 1 if value < 0.25 else 3
    assert np.searchsorted(bounds, value, side="right") == expected
    assert tf.searchsorted(bounds, np.array([value]), side="right").numpy() == [expected]


def test_one_line_compares_draws_and_samples_for_the_rarest_classes():
    assert describe(np.array([0.2, 0.2, 0.2, 0.4]), HELD, NAMES) == (
        "sampling: pole is in 40 % of the draws, in 25 % of the samples; car in 60 %, in 50 %; "
        "road in 100 %, in 100 %"
    )
    held = np.tri(300, dtype=bool)[:, :9]
    held[:, 8] = False
    line = describe(np.full(300, 1 / 300), held[:, ::-1], list("ihgfedcba"))
    assert line.startswith("sampling: h is in 97.7 % of the draws, in 97.7 % of the samples; g in 98 %")
    assert line.endswith("; d in 99 %, in 99 %"), "five are named, and none that no sample holds"


def test_a_class_is_held_by_one_pixel_and_255_is_none():
    assert SAMPLES.held.shape == (COUNT, 255)
    assert SAMPLES.held[:, 0].all()
    assert np.flatnonzero(SAMPLES.held[:, 1]).tolist() == [3, 4, 5, 6, 7]
    assert np.flatnonzero(SAMPLES.held[:, 2]).tolist() == [7]
    assert not SAMPLES.held[:, 3:].any()
    ignored = Arrays(SAMPLES.images[:1], np.full((1, 8, 8), 255, np.uint8), ["0"])
    assert not ignored.held.any()


def test_samples_in_the_shards_hold_what_those_in_memory_do(tmp_path, rng):
    manifest = write_records(tmp_path, rng, 0.02, train=23, val=6)
    kept, read = load(manifest, "train"), locate(manifest, "train")
    kept.masks[:7] = 0
    read.held[:7, 1] = False
    for count in (0, 9):
        few, same = subset(kept, count), subset(read, count)
        np.testing.assert_array_equal(few.held, same.held)
        assert few.held[:, 1].tolist() == [int(name.split()[1].rstrip("x")) >= 7 for name in few.names]
    assert read.only([]).held.shape == (0, 255)
    validation = load(manifest, "val"), locate(manifest, "val")
    shown = [preview_samples(of, 3) for of in validation]
    np.testing.assert_array_equal(shown[0].held, shown[1].held)


def uniform_order(seed, number):
    """A pass as it was drawn before there was `train.sampling`: its order, and the samples' draws."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.constant(number, tf.int64)])
    order_key, draw_key = tf.unstack(tf.random.split(tf.cast(key, tf.int32), 2))
    shuffled = tf.random.experimental.stateless_shuffle(tf.range(COUNT), order_key)
    draws = tf.gather(tf.random.stateless_uniform([COUNT, DRAWS], draw_key), shuffled)
    return shuffled.numpy(), draws.numpy()


@pytest.mark.parametrize("seed", [0, 5])
def test_uniform_is_unchanged_bit_for_bit(seed):
    found = batches(range(3 * A_PASS), None, seed, FLIP)
    for number in range(3):
        expected, draws = uniform_order(seed, number)
        images, masks = map(np.concatenate, zip(*found[number * A_PASS :][:A_PASS], strict=True))
        flipped = draws[:, 0] < 0.5
        assert images[:, 0, 0, 1].tolist() == expected.tolist()
        for of, whole in ((images, SAMPLES.images), (masks, SAMPLES.masks)):
            chosen = whole[expected]
            chosen[flipped] = chosen[flipped][:, :, ::-1]
            assert (of == chosen).all()


def test_in_a_data_set_the_draws_are_those_of_tensorflow_run_eagerly():
    found = order(batches(range(3 * A_PASS), seed=5))
    expected = []
    for number in range(3):
        order_key = tf.random.split(tf.constant([5, number], tf.int32), 2)[0]
        values = tf.random.stateless_uniform([COUNT], order_key, dtype=tf.float64)
        expected += np.searchsorted(np.cumsum(UNEVEN), values, side="right").tolist()
    assert found.tolist() == expected


def test_samples_are_drawn_as_often_as_their_probabilities_say():
    assert_drawn_as_often_as_expected(order(batches(range(500 * A_PASS))))


def test_passes_and_seeds_differ_and_one_seed_gives_one_run():
    first, same, other = (order(batches(range(3 * A_PASS), seed=seed)) for seed in (1, 1, 2))
    assert first.tolist() == same.tolist() != other.tolist()
    assert len({tuple(first[n * COUNT : (n + 1) * COUNT]) for n in range(3)}) == 3


@pytest.mark.parametrize("start", [0, 3, 5, 7, 12])
def test_any_step_can_be_the_first(start):
    """Of passes of 5 steps: at the border of two, and within one."""
    strong = AugmentParams(**STRONG)
    whole, rest = (batches(range(begin, 17), params=strong) for begin in (0, start))
    assert len(rest) == 17 - start
    for one, same in zip(whole[start:], rest, strict=True):
        assert all((a == b).all() for a, b in zip(one, same, strict=True))


def test_a_sample_drawn_twice_in_a_pass_is_augmented_in_two_ways():
    always = np.eye(COUNT)[7]
    found = batches(range(A_PASS), always, params=AugmentParams(**STRONG))
    assert len({image.tobytes() for images, _ in found for image in images}) == COUNT


def test_batches_from_the_shards_are_those_from_memory_to_the_bit(tmp_path, rng):
    manifest = write_records(tmp_path, rng, 0.02, train=COUNT)
    pairs = [
        batches(range(3, 13), samples=of(manifest, "train"), params=AugmentParams(**STRONG))
        for of in (load, locate)
    ]
    for one, same in zip(*pairs, strict=True):
        assert all((a == b).all() for a, b in zip(one, same, strict=True))


ON_JAX = """
import sys, numpy as np
from helpers import plain_params
from segpipe.train.engine import Batching
from segpipe.train.on_jax import JaxEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays

given, engine = np.load(sys.argv[2]), JaxEngine()
print(engine.prepare(plain_params().train.model_copy(update={"devices": int(sys.argv[1])})))
samples = Arrays(given["images"], given["masks"], [str(n) for n in range(len(given["images"]))])
plain = plain_params().train.augment.model_copy(update={"flip": False})
strong = AugmentParams(**STRONG)

def batches(steps, drawn, params=plain):
    found = list(engine.train_batches(samples, steps, Batching(4, 5, params, None, drawn)))
    return np.concatenate([images for images, _ in found]), np.concatenate([m for _, m in found])

def order(steps, drawn):
    return batches(steps, drawn)[0][:, 0, 0, 1]

images, masks = batches(range(17), given["uneven"], strong)
rest = {str(start): batches(range(start, 17), given["uneven"], strong)[0] for start in (3, 5, 7)}
np.savez(
    sys.argv[3], uniform=order(range(15), None), drawn=order(range(2500), given["uneven"]),
    images=images, masks=masks, same=batches(range(5), np.eye(len(images))[7][:20], strong)[0],
    flips=batches(range(15), None, plain.model_copy(update={"flip": True}))[0], **rest,
)
"""


def drawn_on_jax(folder, devices):
    """What JAX draws on so many devices."""
    pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    np.savez(folder / "given.npz", images=SAMPLES.images, masks=SAMPLES.masks, uneven=UNEVEN)
    done = subprocess.run(
        [
            sys.executable, "-c", ON_JAX.replace("STRONG", repr(STRONG)), str(devices),
            folder / "given.npz", folder / "found.npz",
        ],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("running on 2 virtual CPU devices" in done.stdout) == (devices == 2)
    return dict(np.load(folder / "found.npz"))


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    return drawn_on_jax(tmp_path_factory.mktemp("jax"), 1)


def test_on_jax_uniform_is_unchanged_bit_for_bit(on_jax):
    for number in range(3):
        some = slice(number * COUNT, (number + 1) * COUNT)
        random = np.random.Generator(np.random.Philox(key=[5, number]))
        expected = random.permutation(COUNT)
        draws = random.random((COUNT, DRAWS), np.float32)
        assert on_jax["uniform"][some].tolist() == expected.tolist()
        chosen, flipped = SAMPLES.images[expected], draws[expected, 0] < 0.5
        chosen[flipped] = chosen[flipped][:, :, ::-1]
        assert (on_jax["flips"][some] == chosen).all()


def test_on_jax_samples_are_drawn_as_often_as_their_probabilities_say(on_jax):
    assert_drawn_as_often_as_expected(on_jax["drawn"])


def test_on_jax_any_step_can_be_the_first(on_jax):
    for start in (3, 5, 7):
        assert (on_jax["images"][start * BATCH :] == on_jax[str(start)]).all()


def test_on_jax_a_sample_drawn_twice_in_a_pass_is_augmented_in_two_ways(on_jax):
    assert len({image.tobytes() for image in on_jax["same"]}) == COUNT


@pytest.mark.slow
def test_on_jax_two_devices_are_given_the_batches_of_one(on_jax, tmp_path):
    two = drawn_on_jax(tmp_path, 2)
    assert on_jax.keys() == two.keys()
    for name, found in on_jax.items():
        np.testing.assert_array_equal(two[name], found)


@pytest.mark.slow
def test_training_says_at_its_start_what_is_drawn_and_goes_on_where_it_stopped(tmp_path, capsys):
    """Ten of 12 samples hold a alone, two hold b alone."""
    masks = np.zeros((12, 32, 32), np.uint8)
    masks[10:] = 1
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    samples = Arrays(images, masks, [f"photo {number}" for number in range(12)])
    params = with_changes(sampling="balanced", epochs=2)
    network, progress = train(samples, tmp_path, params)
    line = "sampling: b is in 50 % of the draws, in 16.7 % of the samples; a in 50 %, in 83.3 %"
    assert line in capsys.readouterr().out.splitlines()
    (tmp_path / "run/epoch-0002.npz").unlink()
    again, _ = train(samples, tmp_path, params)
    said = capsys.readouterr().out
    assert "resuming run" in said
    assert line in said
    for weights, same in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, same)
    train(samples, tmp_path, with_changes(epochs=1))
    assert "sampling" not in capsys.readouterr().out
    assert progress.epoch == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_stage_trains_by_sampling_and_refuses_a_class_that_no_sample_holds(tmp_path, backend):
    if backend == "jax":
        pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    project = make_project(
        tmp_path / "project", **{"train.sampling": {"border": 5.0}, "train.backend": backend}
    )
    for stage in ("fetch", "fetch_encoder", "preprocess", "train"):
        done = run_stage(stage, project)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(?m)^sampling: \w+ is in [\d.]+ % of the draws, in ", done.stdout)
    manifest = json.loads((project / "data/records/manifest.json").read_text())
    lacking = {"name": "wire", "value": 9, "colour": "#000000"}
    classes = [{k: c[k] for k in ("name", "value", "colour")} for c in manifest["classes"]]
    set_params(project, {"data.classes": [*classes, lacking], "train.sampling": {"wire": 2.0}})
    assert run_stage("fetch", project).returncode == 0
    assert run_stage("preprocess", project).returncode == 0
    assert error_line(run_stage("train", project)) == (
        "error: train.sampling names 'wire', but no training sample holds this class\n"
    )
