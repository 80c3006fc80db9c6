"""Predicting on pictures of any bands and depth: seen as their records were, and said where strange."""

import io
import warnings

import keras
import numpy as np
import pytest
import tifffile
from helpers import PETS
from PIL import Image
from test_predict_folder import rows
from test_predictor import card

from segpipe.common import records
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError
from segpipe.predict.images import Input
from segpipe.predict.inputs import left_out
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records
from segpipe.train.saving import save_model

SIZE = (32, 32)


def network(bands):
    image = keras.Input((*SIZE, bands), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(scaled), name="unet")


def banded(bands, intensity, depths=("uint16",)):
    return card(SIZE, bands=bands, intensity=intensity, depths=list(depths))


def written(path, pixels):
    planes = {"planarconfig": "contig"} if pixels.ndim == 3 else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, **planes)
    return path


@pytest.mark.parametrize(
    ("bands", "kind"),
    [((1,), "uint16"), ((4, 2), "int16"), ((2,), "float32"), ("rgb", "uint16"), ((3, 1), "uint8")],
)
@pytest.mark.parametrize("how", ["stretch", "pad"])
def test_a_picture_is_seen_to_the_very_pixels_of_its_record(bands, kind, how, tmp_path, rng):
    root = tmp_path / "data"
    for number in range(16):
        pixels = rng.normal(500 if kind != "uint8" else 100, 30, (50, 70, 4))
        pixels = pixels[..., :3] if bands == "rgb" else pixels
        written(root / f"images/p{number:02d}.tif", pixels.astype(kind))
        (root / "masks").mkdir(exist_ok=True)
        Image.new("L", (70, 50), 1 + number % 3).save(root / f"masks/p{number:02d}.png")
    found = layouts.samples("pairs", root, 0.3, PETS)
    write_raw("a test", found, PETS, False, 100, tmp_path / "raw", 1, bands=bands)
    format_ = RecordFormat(SIZE, how)
    write_records(tmp_path / "raw", PETS, format_, SplitRule(0.3), 100, tmp_path / "records")
    manifest = records.open_records(tmp_path / "records")
    saved = card(SIZE, how, bands=manifest.bands, intensity=manifest.intensity, depths=manifest.depths)
    seen_by = Input.of_card(saved)
    for sample in records.read(manifest, "test"):
        seen = seen_by.fitted(root / f"images/{sample['name']}.tif")
        assert (seen.pixels == sample["image"]).all()
        assert (seen.original, seen.remark) == ((50, 70), "")


@pytest.fixture
def model(tmp_path):
    """Sees band 1 of 16 bits, 100 to 4,000."""
    save_model(network(1), tmp_path / "model.keras", banded([1], [[100, 4000]]))
    return tmp_path / "model.keras"


def test_pictures_outside_the_trained_range_are_said_by_name_at_the_end(predict, tmp_path, rng):
    root = tmp_path / "photos"
    inside = written(root / "inside.tif", rng.integers(100, 4000, (40, 50), np.uint16))
    strange = np.full((40, 50), 40_000, np.uint16)
    strange[:4] = 4000
    outside = written(root / "outside.tif", strange)
    plain = written(root / "plain.tif", rng.integers(0, 255, (40, 50), np.uint8))
    for options in ([], ["--tile"]):
        code, said, _ = predict(root, "-o", tmp_path / "out", *options)
        said = said.splitlines()
        assert code == 0
        notes = [line for line in said if line.startswith(f"note: {root}")]
        assert notes == [
            f"note: {outside}: 90 % of its pixels lie outside the range that the model was trained on, "
            "100 to 4000 (band 1)",
            f"note: {plain}: 8 bits, and the model was trained on uint16; taken as they are",
        ]
        assert not any(str(inside) in line for line in said)
        for name in ("inside", "outside", "plain"):
            assert Image.open(tmp_path / f"out/masks/{name}.png").size == (50, 40)
            assert Image.open(tmp_path / f"out/overlays/{name}.jpg").size == (50, 40)


def test_16_bits_for_a_model_of_8_are_taken_in_their_full_range_and_said(tmp_path):
    grey = np.array([[0, 257, 65535]], np.uint16)
    seen = Input.of_card(card((32, 64))).at_own_size(written(tmp_path / "x.tif", grey))
    assert seen.pixels[0].tolist() == [[0] * 3, [1] * 3, [255] * 3]
    assert seen.remark == "uint16, and the model was trained on 8 bits; taken as 0 to 65535"
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    assert (Input.of_card(card((32, 64))).at_own_size(Image.open(buffer)).pixels == seen.pixels).all()


def test_a_picture_of_other_bands_is_refused_with_those_of_the_model(tmp_path, rng):
    """Whoever predicts cannot choose `data.bands`, of which training speaks."""
    five = written(tmp_path / "five.tif", rng.integers(0, 255, (40, 50, 5), np.uint8))
    for bands, said in (
        ("rgb", "five.tif: 5 bands that are no RGB; expected grey or RGB, as the model takes"),
        ((9, 1), "five.tif: 5 bands in the file; expected 9 at least, as the model's bands say"),
    ):
        for see in (Input.fitted, Input.at_own_size):
            with pytest.raises(BadSampleError) as refused:
                see(Input.of_card(card((32, 64), bands=bands)), five)
            assert str(refused.value) == f"{tmp_path}/{said}"


def test_a_picture_of_other_bands_is_listed_as_failed(predict, tmp_path, rng):
    for name, count in (("four", 4), ("two", 2)):
        pixels = rng.integers(100, 4000, (40, 50, count), np.uint16)
        written(tmp_path / f"photos/{name}.tif", pixels)
    save_model(network(1), tmp_path / "model.keras", banded([4], [[100, 4000]]))
    code, *_ = predict(tmp_path / "photos", "-o", tmp_path / "out")
    assert code == 1
    (failed,) = rows(tmp_path / "out/failed.csv")
    assert failed == {"path": f"{tmp_path}/photos/two.tif", "reason": "2 bands in the file"}
    assert [path.name for path in (tmp_path / "out/masks").iterdir()] == ["four.png"]


def test_a_stack_of_pages_is_listed_as_failed(predict, tmp_path, rng):
    written(tmp_path / "photos/good.tif", rng.integers(100, 4000, (40, 50), np.uint16))
    tifffile.imwrite(tmp_path / "photos/stack.tif", np.zeros((7, 40, 50), np.uint16))
    code, *_ = predict(tmp_path / "photos", "-o", tmp_path / "out")
    assert code == 1
    failed = (tmp_path / "out/failed.csv").read_text()
    assert "stack.tif,holds 7 pages; segpipe takes single pictures" in failed


def test_files_that_are_no_known_picture_are_counted_and_named(predict, tmp_path, rng):
    root = tmp_path / "photos"
    for name in ("a.tif", "b.jfif.tiff"):
        written(root / name, rng.integers(100, 4000, (40, 50), np.uint16))
    for name in ("notes.txt", "more.txt", "raw.heic", ".hidden.txt", "@eaDir/x.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("no picture")
    _, said, _ = predict(root, "-o", tmp_path / "out")
    names = ", ".join(str(root / name) for name in ("more.txt", "notes.txt", "raw.heic"))
    assert said.splitlines()[-1] == f"note: 3 files are no known picture (2 .txt, 1 .heic): {names}"
    assert left_out([str(root / "a.tif")]) == ""


def test_arrays_come_in_the_bands_and_depth_of_the_model(rng):
    deep = Predictor(network(2), banded([4, 2], [[0, 1000], [0, 2000]]))
    pixels = rng.integers(0, 1000, (40, 50, 2), np.uint16)
    mask = deep.predict(pixels)
    assert mask.shape == (40, 50)
    for same in (pixels.astype(np.int16), pixels.astype(np.float32), pixels.astype(np.float64)):
        assert (deep.predict(same) == mask).all()
    assert (deep.predict(np.stack([pixels] * 2))[1] == mask).all()
    one = Predictor(network(1), banded([3], [[0, 1000]]))
    assert (one.predict(pixels[..., 0]) == one.predict(pixels[..., :1])).all()
    with pytest.raises(UserError, match=r"shape \[40, 50, 3\]; .* with 2 channels"):
        deep.predict(np.zeros((40, 50, 3), np.uint16))
    with pytest.raises(UserError, match=r"int64; expected uint8, uint16, int16, float32"):
        deep.predict(np.zeros((40, 50, 2), np.int64))


def test_an_array_outside_the_range_warns_and_a_nan_is_black(rng):
    deep = Predictor(network(1), banded([1], [[0, 1]], ["float32"]))
    seen = deep.input.at_own_size(np.array([[0.2, np.nan, 1]]))
    assert seen.pixels[0, :, 0].tolist() == [51, 0, 255]
    with pytest.warns(UserWarning, match="an image: 100 % of its pixels lie outside the range"):
        deep.predict(np.full((40, 50), 7.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deep.predict(rng.random((40, 50)))


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_shares_are_those_of_the_pixels_with_data_in_pictures_without_a_place_too(
    predict, tmp_path, rng, options
):
    keras.utils.set_random_seed(1)
    save_model(network(1), tmp_path / "float.keras", banded([1], [[0, 1]], ["float32"]))
    pixels = np.full((40, 60), np.nan, np.float32)
    pixels[:10] = rng.random((10, 60))
    picture = written(tmp_path / "nan.tif", pixels)
    predict("--model", tmp_path / "float.keras", picture, "-o", tmp_path / "out", *options)
    mask = np.asarray(Image.open(tmp_path / "out/masks/nan.png"))
    (row,) = rows(tmp_path / "out/shares.csv")
    shares = [float(row[f"share_{name}"]) for name in PETS.names]
    assert shares == pytest.approx([(mask[:10] == value).mean() for value in (1, 2, 3)], abs=1e-6)
    assert shares != pytest.approx([(mask == value).mean() for value in (1, 2, 3)], abs=0.1)
