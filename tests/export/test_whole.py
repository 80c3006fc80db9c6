"""Whole predictors: the masks of `segpipe predict`, in every runtime, from pictures of any size."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_networks import SIZE, card, export, network, photo

from segpipe.common.errors import UserError
from segpipe.evaluate.tiles import weights
from segpipe.export import matrices
from segpipe.export.matrices import Span
from segpipe.export.runtimes import FORMATS
from segpipe.export.whole import picture_type, predictor_graph
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.intensity import Levels
from segpipe.preprocess.resize import resize_pixels
from segpipe.preprocess.tiles import starts

WHOLE = [name for name, made in FORMATS.items() if made.whole]
EDGES = st.integers(1, 200)


def assert_same(found, expected):
    """No more pixels differ than rounding explains."""
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert (found != expected).mean() < 0.001


@settings(max_examples=25)
@given(EDGES, EDGES, st.sampled_from(["stretch", "pad"]), st.integers(0, 2**32))
def test_matrices_resize_as_pillow_does(height, width, how, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found = seen_by_the_network(image, how)
    expected = resize_pixels(image, SIZE, how).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.05, "ties alone may be rounded the other way"


def seen_by_the_network(image, how):
    """What a network that returns its input is shown."""
    shown = keras.Input((*SIZE, 3), dtype="uint8")
    model = keras.Model(shown, keras.layers.Rescaling(1.0)(shown))
    seen = []
    graph = predictor_graph(lambda x, training: seen.append(x.numpy()) or model(x), card(resize=how))
    graph.call(tf.constant(image[None]))
    return seen[0][0].astype(int)


@settings(max_examples=50)
@given(EDGES, st.sampled_from([32, 64]))
def test_tiles_lie_and_are_blended_as_predict_has_them(length, tile):
    expected = starts(length, tile)
    begins = matrices.tile_starts(tf.constant(length), tile)
    assert begins.numpy().tolist() == expected
    found = matrices.blending(begins, tile, tf.constant(length), tf.float64).numpy()
    by_tile = found.reshape(length, len(expected), tile)
    for number, (begin, of_tile) in enumerate(zip(expected, weights(expected, tile), strict=True)):
        inside = min(tile, length - begin)
        diagonal = by_tile[begin : begin + inside, number, :inside].diagonal()
        np.testing.assert_allclose(diagonal, of_tile[:inside], atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_span_that_grows_is_interpolated_between_pixel_centres():
    """Two pixels become four: quarters and three quarters, as drawn by hand."""
    two, four = (Span.all_of(edge, tf.float64) for edge in (2, 4))
    found = matrices.resampling(two, four).numpy()
    np.testing.assert_allclose(found, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"resize": "stretch"}, id="stretch"),
        pytest.param({"resize": "pad"}, id="pad"),
        pytest.param({"resize": "tiles", "tiles": {"scale": 1.0}}, id="tiles"),
        pytest.param({"resize": "tiles", "tiles": {"scale": 0.7}}, id="scaled tiles"),
    ],
)
def test_masks_and_confidences_are_those_of_predict_at_any_size(name, changes, rng, tmp_path):
    model, of = network(), card(**changes)
    run, predictor = export(name, model, of, tmp_path), Predictor(model, of)
    for size in ((32, 64), (150, 97), (20, 31), (75, 130)):
        image = photo(rng, *size)
        (mask,), (confidence,) = run(image[None])
        assert_same(mask, predictor.predict(image))
        expected = predictor.predict_probabilities(image).max(-1)
        np.testing.assert_allclose(confidence, expected, atol=0.02)


@pytest.mark.parametrize("name", ["onnx", "savedmodel"])
@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "tiles"])
def test_pictures_of_one_size_come_in_batches(name, tiles, rng, tmp_path):
    of = card(resize="tiles", tiles={"scale": 1.0}) if tiles else card()
    run = export(name, network(), of, tmp_path)
    images = np.stack([photo(rng, 70, 90) for _ in range(3)])
    together, apart = run(images)[0], [run(image[None])[0][0] for image in images]
    np.testing.assert_array_equal(together, np.stack(apart))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_bands_of_more_bits_are_scaled_inside(name, kind, rng, tmp_path):
    of = card(bands=[2, 7], intensity=[[10, 180], [0, 200]], depths=[kind])
    model = network(2)
    run, predictor = export(name, model, of, tmp_path), Predictor(model, of)
    image = photo(rng, 70, 90, 2).astype(kind)
    if kind == "float32":
        image[:9, :5, 0] = np.nan
    (mask,), _ = run(image[None])
    assert_same(mask, predictor.predict(image))


def test_pictures_of_several_types_with_one_range_come_as_floats():
    assert picture_type(Levels(1, ((0, 1000),), ("int16", "uint16"))) == "float32"


@pytest.mark.parametrize(
    ("ranges", "depths"), [(((0, 1000),), ("uint8", "uint16")), (None, ("int16", "uint16"))]
)
def test_types_that_are_scaled_differently_are_refused(ranges, depths):
    with pytest.raises(UserError, match=rf"pictures of {', '.join(depths)}, .*\(--no-whole\)"):
        picture_type(Levels(1, ranges, depths))
