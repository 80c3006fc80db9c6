"""Whole predictors: the masks of `segpipe predict`, in every runtime, from pictures of any size."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from helpers import error_line, plain_params, run, set_params, some_quick
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from whole_networks import SIZE, card, export, network, photo

from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.modelfile import read_card
from segpipe.common.records import Tiles, read_manifest
from segpipe.evaluate.tiles import weights
from segpipe.export import taps
from segpipe.export.agreement import Agreement
from segpipe.export.run import _objection
from segpipe.export.runtimes import FORMATS
from segpipe.export.taps import Span, Taps
from segpipe.export.whole import _AtOnce, _Tiled, picture_type
from segpipe.predict.predictor import Predictor, load_model
from segpipe.preprocess.intensity import Levels
from segpipe.preprocess.resize import resize_pixels
from segpipe.preprocess.tiles import starts

WHOLE = [name for name, made in FORMATS.items() if made.whole and made.exact]
EDGES = st.integers(1, 200)


def assert_same(name, found, expected):
    """Masks are equal; TensorFlow Lite has no float64, so that it rounds ties in another way."""
    assert (found.dtype, found.shape) == (np.uint8, expected.shape)
    assert (found != expected).mean() <= (0.01 if name == "tflite" else 0.0002)


@settings(max_examples=25)
@given(EDGES, EDGES, st.sampled_from(["stretch", "pad"]), st.integers(0, 2**32))
@example(300, 225, "stretch", 0)  # many ties, which Pillow does not round half up
@example(33, 1, "stretch", 1)
def test_the_network_sees_every_pixel_as_predict_shows_it(height, width, how, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    seen = []

    def network(pixels):
        seen.append(pixels.numpy()[0])
        return [tf.zeros((1, *SIZE, 1))]

    network.size = SIZE
    network.bands, network.decided = 3, lambda planes: (planes, planes)
    _AtOnce(network, how, tf.float64)(tf.constant(image.transpose(2, 0, 1)), [height, width])
    np.testing.assert_array_equal(seen[0], resize_pixels(image, SIZE, how))


def matrix(of, sources):
    """The same as a matrix of all sources, float64 [targets, sources]."""
    found = np.zeros((len(of.sources), sources))
    for row, places, of_places in zip(found, of.sources.numpy(), of.weights.numpy(), strict=True):
        np.add.at(row, places, of_places)
    return found


@settings(max_examples=25)
@given(st.integers(1, 3000), st.sampled_from([32, 64]))
@example(33, 32)  # two tiles, one pixel apart
@example(57, 32)  # three tiles over one pixel
def test_tiles_lie_and_are_blended_as_predict_has_them(length, tile):
    expected = starts(length, tile)
    begins = taps.tile_starts(tf.constant(length), tile)
    assert begins.numpy().tolist() == expected
    by_tile = taps.tile_weights(begins, tile, tf.float64)
    np.testing.assert_allclose(by_tile, weights(expected, tile), atol=1e-12)
    blended = matrix(taps.blending(begins, by_tile, tf.constant(length)), len(expected) * tile)
    for number, (begin, of_tile) in enumerate(zip(expected, weights(expected, tile), strict=True)):
        inside = min(tile, length - begin)
        part = blended[begin : begin + inside, number * tile : number * tile + inside]
        np.testing.assert_allclose(part.diagonal(), of_tile[:inside], atol=1e-12)
    np.testing.assert_allclose(blended.sum(1), 1)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (2, 4, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]),
        (4, 2, [[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]]),
        (3, 3, np.eye(3)),
    ],
)
def test_a_span_is_interpolated_between_pixel_centres(source, target, expected):
    """Two pixels become four, four two, and three stay, as drawn by hand."""
    found = taps.resampling(*(Span.all_of(edge, tf.float64) for edge in (source, target)))
    np.testing.assert_allclose(matrix(found, source), expected, atol=1e-12)


def test_taps_add_up_a_few_sources():
    """Targets of 10, 20 and 30: their first as it is, and half of the others."""
    few = Taps(tf.constant([[0, 0], [1, 2]]), tf.constant([[1.0, 0.0], [0.5, 0.5]]))
    assert few.apply(tf.constant([[[10], [20], [30]]], tf.uint8)).numpy().tolist() == [[[10.0], [25.0]]]


def test_an_edge_takes_memory_by_its_pixels_and_not_by_their_square():
    """Each of 40,000 pixels lies in two tiles at most, of 1,666."""
    begins = taps.tile_starts(tf.constant(40_000), 32)
    found = taps.blending(begins, taps.tile_weights(begins, 32, tf.float64), tf.constant(40_000))
    assert found.sources.shape == (40_000, 2)


@pytest.mark.parametrize("real", [tf.float32, tf.float64], ids=lambda real: real.name)
@pytest.mark.parametrize(
    ("edge", "scale", "seen"), [(90, 0.35, 31), (45, 0.7, 31), (1290, 1.55, 2000), (80_001, 0.5, 40_001)]
)
def test_tiles_scale_an_edge_to_the_size_of_predict_in_any_real_type(edge, scale, seen, real):
    """31.5 is 31 where the scale's float64 is below its decimals; all edges of a photograph too."""
    tiled = _Tiled(None, scale, real)
    assert int(tiled._scaled(tf.constant(edge))) == seen
    edges = np.arange(1, 4001)
    expected = [Tiles(scale).scaled((one, one))[0] for one in edges.tolist()]
    assert tiled._scaled(tf.constant(edges, tf.int32)).numpy().tolist() == expected


WAYS = {
    "stretch": {"resize": "stretch"},
    "pad": {"resize": "pad"},
    "tiles": {"resize": "tiles", "tiles": {"scale": 1.0}},
    "scaled tiles": {"resize": "tiles", "tiles": {"scale": 0.7}},
}
QUICK = {("onnx", "pad"), ("onnx", "tiles"), ("savedmodel", "scaled tiles")}
RUNS = [
    pytest.param(
        name, changes, marks=() if (name, way) in QUICK else pytest.mark.slow, id=f"{name} {way}"
    )
    for name in WHOLE
    for way, changes in WAYS.items()
]


@pytest.mark.parametrize(("name", "changes"), RUNS)
def test_masks_and_confidences_are_those_of_predict_at_any_size(name, changes, rng, tmp_path):
    model, of = network(), card(**changes)
    predict, predictor = export(name, model, of, tmp_path), Predictor(model, of)
    for size in ((32, 64), (150, 97), (20, 31), (75, 130), (45, 85)):
        image = photo(rng, *size)
        (mask,), (confidence,) = predict(image[None])
        assert_same(name, mask, predictor.predict(image))
        expected = predictor.predict_probabilities(image).max(-1)
        np.testing.assert_allclose(confidence, expected, atol=0.05 if name == "tflite" else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_confidences_are_those_of_logits_over_the_temperature(name, rng, tmp_path):
    """Training divides the weights of the last layer by it."""
    model, image = network(), photo(rng, *SIZE)
    logits = 20 * model.predict_on_batch(image[None])[0].astype(float)  # far enough apart
    for part in model.get_layer("logits").weights:
        part.assign(part * 20 / 1.7)
    _, (confidence,) = export(name, model, card(), tmp_path)(image[None])
    by_temperature = [softmax(logits / one, axis=-1).max(-1) for one in (1.7, 1.0)]
    np.testing.assert_allclose(confidence, by_temperature[0], atol=1e-4)
    assert np.abs(by_temperature[0] - by_temperature[1]).mean() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "savedmodel"])
@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "tiles"])
def test_pictures_of_one_size_come_in_batches(name, tiles, rng, tmp_path):
    of = card(resize="tiles", tiles={"scale": 1.0}) if tiles else card()
    predict = export(name, network(), of, tmp_path)
    images = np.stack([photo(rng, 70, 90) for _ in range(3)])
    together, apart = predict(images)[0], [predict(image[None])[0][0] for image in images]
    np.testing.assert_array_equal(together, np.stack(apart))


@pytest.mark.parametrize("name", some_quick(WHOLE))
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_bands_of_more_bits_are_scaled_inside(name, kind, rng, tmp_path):
    of = card(bands=[2, 7], intensity=[[10, 180], [0, 200]], depths=[kind])
    model = network(2)
    predict, predictor = export(name, model, of, tmp_path), Predictor(model, of)
    image = photo(rng, 70, 90, 2).astype(kind)
    if kind == "float32":
        image[:9, :5, 0] = np.nan
    (mask,), _ = predict(image[None])
    assert_same(name, mask, predictor.predict(image))


def test_pictures_of_several_types_with_one_range_come_as_floats():
    assert picture_type(Levels(1, ((0, 1000),), ("int16", "uint16"))) == "float32"


@pytest.mark.parametrize(
    ("ranges", "depths"), [(((0, 1000),), ("uint16", "uint8")), (None, ("int16", "uint16"))]
)
def test_types_that_are_scaled_differently_are_refused(ranges, depths):
    with pytest.raises(UserError, match=rf"pictures of {', '.join(depths)}, .*\(--no-whole\)"):
        picture_type(Levels(1, ranges, depths))


def export_command(project, *arguments):
    return run("segpipe", "export", *arguments, cwd=project)


@pytest.fixture(scope="module")
def exported(finished_project, tmp_path_factory):
    """A project whose tiny model was exported as whole predictors, as is the default."""
    project = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"export.licence": "cc-by-4.0"})
    result = export_command(project, "--to", "onnx")
    assert result.returncode == 0, result.stderr
    return project


def test_the_default_onnx_takes_a_file_as_it_is_and_gives_predicts_mask(exported, rng):
    predictor = load_model(exported / "models/model.keras")
    image = photo(rng, 61, 45)
    session = onnxruntime.InferenceSession(exported / "models/export/onnx/model.onnx")
    (mask,) = session.run(["mask"], {"image": image[None]})
    np.testing.assert_array_equal(mask[0], predictor.predict(image))


def test_its_card_names_what_it_takes_who_taught_it_and_how_good_it_is(exported):
    found = read_card(exported / "models/export/onnx/model.onnx")
    export = found["export"]
    assert export["input"]["shape"] == ["any", "any", "any", 3]
    assert [export[key]["type"] for key in ("input", "output", "confidence")] == [
        "uint8", "uint8", "float32"
    ]  # fmt: skip
    assert found["records"]["manifest_sha256"] == sha256(exported / "data/records/manifest.json")
    scored = json.loads((exported / "results/evaluate/metrics.json").read_text())["original"]
    assert export["scores"]["mean_iou"] == pytest.approx(scored["mean_iou"], abs=1e-4)
    trained = read_manifest(exported / "data/records").count("train")
    assert export["pictures"].startswith(f"RGB, like the {trained} training pictures")


def test_findings_say_how_far_masks_and_scores_are_those_of_predict(exported):
    found = json.loads((exported / "results/export/onnx.json").read_text())["onnx"]
    assert found["images"] == 6
    assert found["agreement"] == 1 - found["changed"]
    assert found["agreement"] > 0.999
    assert found["least_agreement"] <= found["agreement"]
    assert found["score_difference"] <= 0.0005


def test_the_model_card_has_a_header_that_the_hubs_own_library_reads(exported):
    path = exported / "models/export/onnx/MODEL_CARD.md"
    card = ModelCard.load(path)
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "onnx")
    assert card.data.pipeline_tag == "image-segmentation"
    scored = json.loads((exported / "results/evaluate/metrics.json").read_text())["original"]
    by_type = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert by_type["mean_iou"] == pytest.approx(scored["mean_iou"], abs=1e-4)
    rows = [line.split(" | ") for line in card.text.splitlines() if line.startswith("| mean\\_iou")]
    interval = scored["interval"]["mean_iou"]
    assert rows[0][2:] == [f"{interval['low']:.4f}", f"{interval['high']:.4f} |"]
    trained = read_manifest(exported / "data/records").count("train")
    drop = json.loads((exported / "results/export/onnx.json").read_text())["onnx"]["drop"]
    assert abs(drop) < 0.00005
    of_model = (
        "All scores here and below are the trained model's. The mean IoU of this export differs by "
    )
    for said in (
        f"{of_model}+0.0000.",
        "## Where it fails",
        f"| train | {trained} |",
        "`cc-by-4.0`",
        "SHA-256",
    ):
        assert said in card.text


@pytest.mark.slow
def test_a_picture_that_left_the_raw_data_is_named(exported, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(exported, project, symlinks=True)
    shutil.rmtree(project / "data/raw")
    line = error_line(export_command(project, "--to", "onnx"))
    assert line.startswith("error: data/raw/summary.json: no such file; `dvc repro`")


@pytest.mark.slow
def test_integers_hold_no_whole_predictor(exported):
    line = error_line(export_command(exported, "--to", "tflite-int8", "--whole"))
    assert "computes with integers alone, and so holds the network alone" in line


def test_a_card_of_someone_else_is_not_replaced(exported, tmp_path):
    (tmp_path / "MODEL_CARD.md").write_text("# My own words\n")
    line = error_line(export_command(exported, "--to", "onnx", "-o", str(tmp_path / "pets.onnx")))
    assert "MODEL_CARD.md: is not a card that segpipe wrote" in line
    assert not (tmp_path / "pets.onnx").exists()


def test_agreement_counts_pixels_and_names_the_worst_picture_by_hand():
    """Of 4 + 8 pixels 1 differs: 11 / 12 agree; the worst picture has 3 of 4."""
    agreement = Agreement(None, None, ["a", "b"])
    small, large = np.zeros((2, 2), np.uint8), np.zeros((2, 4), np.uint8)
    wrong = small.copy()
    wrong[0, 0] = 1
    agreement._enter("small", small, wrong, small)
    agreement._enter("large", large, large, large)
    found = agreement.findings()
    assert found["agreement"] == 11 / 12
    assert found["least_agreement"] == 3 / 4
    assert found["score_difference"] == 1, "class b has a score on one side alone"


@pytest.mark.parametrize(
    ("agreement", "off", "said"),
    [(0.9991, 0.0004, ""), (0.9989, 0.0, "99.890 % of the pixels"), (1.0, 0.0006, "off by 0.0006")],
)
def test_other_masks_than_predicts_are_refused(agreement, off, said):
    params = plain_params().export
    found = {"drop": 0.0, "agreement": agreement, "score_difference": off}
    reason = _objection(found, params, exact=True)
    assert said in reason
    assert bool(reason) == bool(said)
