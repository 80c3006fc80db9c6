"""Models of tiles: they predict as they were trained and scored, at the picture's own resolution."""

import shutil

import keras
import numpy as np
import pytest
from helpers import git, make_project, run_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_predict_folder import original_scores, scores_of_masks
from test_predictor import card, network, photo

from segpipe.common.codec import decode_png
from segpipe.common.records import open_records
from segpipe.common.tfrecord import read_shard
from segpipe.evaluate import tiles
from segpipe.fetch.sample import BadSampleError
from segpipe.predict.predictor import Predictor
from segpipe.train.saving import save_model


def of_tiles(scale, kernel=1, size=(32, 64)):
    return Predictor(network(size, kernel), card(size, "tiles", tiles={"scale": scale}))


@pytest.fixture(scope="module")
def by_pixel():
    return of_tiles(1.0)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 100), st.integers(1, 150))
def test_a_picture_of_any_size_is_seen_at_its_own_resolution_without_being_asked_to(
    by_pixel, height, width
):
    image = photo(np.random.default_rng(height * 1000 + width), height, width)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(network((None, None))(image[None])))[0]
    found = by_pixel.predict_probabilities(image)
    assert found.shape == (height, width, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(4000, 50), (50, 4000)])
def test_long_and_narrow_pictures_are_predicted(by_pixel, rng, size):
    assert by_pixel.predict(photo(rng, *size)).shape == size


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.6])
def test_a_scaled_prediction_is_that_of_the_scaled_picture_brought_back(rng, scale):
    predictor, image = of_tiles(scale, 5), photo(rng, 90, 201)
    height, width = (int(edge * scale + 0.5) for edge in (90, 201))
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    at_scale = of_tiles(1.0, 5).predict_probabilities(small)
    (expected,) = tiles.at_original([at_scale], (height, width), (90, 201), height)
    np.testing.assert_allclose(predictor.predict_probabilities(image), expected, atol=1e-5)


def test_a_picture_of_less_than_a_pixel_at_the_models_scale_is_refused(rng):
    with pytest.raises(BadSampleError, match=r"100x4 px, less than one at scale 0\.1"):
        of_tiles(0.1).predict(photo(rng, 4, 100))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Pictures of several tiles, and a random model of tiles, which knows every class."""
    made = make_project(
        tmp_path_factory.mktemp("tiles") / "project",
        **{
            "data.resize": "tiles",
            "data.tiles.scale": 0.8,
            "data.synthetic.size": 120,
            "data.image_size": 32,
        },
    )
    for stage in ("fetch", "preprocess"):
        result = run_stage(stage, made)
        assert result.returncode == 0, result.stderr
    (made / "models").mkdir(exist_ok=True)
    save_model(
        network((32, 32), 3), made / "models/model.keras", card([32, 32], "tiles", tiles={"scale": 0.8})
    )
    result = run_stage("evaluate", made)
    assert result.returncode == 0, result.stderr
    return made


def test_the_test_pictures_score_exactly_what_metrics_json_says(project, predict, tmp_path):
    assert min(original_scores(project)["iou"].values()) > 0
    photos, truth = tmp_path / "photos", {}
    photos.mkdir()
    for shard in (project / "data/raw").glob("test-*"):
        for sample in read_shard(shard):
            name = sample["name"].decode()
            (photos / f"{name}.png").write_bytes(sample["image"])
            truth[name] = decode_png(sample["mask"])
    assert min(min(mask.shape) for mask in truth.values()) > 2 * 32
    code, said, _ = predict(photos, "-o", tmp_path / "out", "--model", project / "models/model.keras")
    assert code == 0
    assert "objects larger than it knows" not in said
    classes = open_records(project / "data/records").classes
    assert scores_of_masks(tmp_path / "out", truth, classes) == original_scores(project)


@pytest.mark.slow
def test_a_model_of_another_scale_is_refused(project, tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True)
    (copy / "models/model.keras").unlink()
    save_model(
        network((32, 32), 3), copy / "models/model.keras", card([32, 32], "tiles", tiles={"scale": 1.0})
    )
    result = run_stage("evaluate", copy)
    assert result.returncode == 1
    assert "at 32 x 32 px (tiles, scale 1), but the records have" in result.stderr
    assert git(copy, "status --porcelain results") == git(project, "status --porcelain results")


def test_tiles_of_a_model_that_learned_whole_pictures_are_remarked(predict, tmp_path, rng):
    Image.fromarray(photo(rng, 90, 90)).save(tmp_path / "a.png")
    code, said, _ = predict(tmp_path / "a.png", "-o", tmp_path / "out", "--tile")
    assert code == 0
    assert (
        "note: the model was trained on whole pictures, resized to 32 x 32 px: in tiles it sees" in said
    )
