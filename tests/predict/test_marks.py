"""`segpipe predict` marks foreign pictures: in its table, and in one line at the end."""

import csv

import numpy as np
import pytest
from PIL import Image
from test_predictor import card, network

from segpipe import load_model
from segpipe.common.profile import Mark, Profile, describe, reference
from segpipe.predict.foreign import summary
from segpipe.preprocess.traits import traits_of
from segpipe.train.saving import save_model


def picture(brightness):
    """Noise about a brightness."""
    rng = np.random.default_rng(brightness)
    return Image.fromarray(rng.integers(brightness - 20, brightness + 20, (40, 50, 3), np.uint8))


def known():
    """A profile of brightness alone, 80 to 120; twice as far from the middle is the limit."""
    values = [traits_of(np.asarray(picture(level)))["brightness"] for level in range(80, 121)]
    return Profile({"brightness": reference("brightness", values)}, 2.0, 29, 1, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_model(network((32, 32), 3), path, card((32, 32), profile=known().to_json()))
    return path


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, brightness in {"usual": 104, "dark": 30, "bright": 200}.items():
        picture(brightness).save(tmp_path / f"photos/{name}.png")
    return tmp_path / "photos"


def rows(path):
    with path.open(newline="") as file:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("options", [[], ["--tta"], ["--tile"]])
def test_foreign_pictures_are_marked_in_the_table_and_counted_in_one_line(
    predict, photos, tmp_path, options
):
    code, said, _ = predict(photos, "-o", tmp_path / "out", *options)
    assert code == 0, "a foreign picture is predicted as any other"
    table = rows(tmp_path / "out/shares.csv")
    assert {name: row["foreign_by"] for name, row in table.items()} == {
        "usual.png": "", "dark.png": "brightness", "bright.png": "brightness"
    }  # fmt: skip
    reach = known().references["brightness"]
    of_dark = traits_of(np.asarray(picture(30)))["brightness"]
    assert float(table["dark.png"]["distance"]) == pytest.approx(reach.distance(of_dark) / 2, abs=1e-4)
    (line,) = [line for line in said.splitlines() if "foreign to the model" in line]
    assert line.startswith("note: 2 of 3 pictures are foreign to the model, by brightness 2 (3.3 % of")
    assert "the farthest is " in line
    assert "bright.png" in line


def test_without_a_foreign_picture_nothing_is_said(predict, photos, tmp_path):
    _, said, _ = predict(photos / "usual.png", "-o", tmp_path / "out")
    assert "note: " not in said


def test_a_model_without_a_profile_marks_nothing_and_says_so(predict, photos, tmp_path):
    save_model(network((32, 32), 3), tmp_path / "older.keras", card((32, 32)))
    _, said, _ = predict(photos, "-o", tmp_path / "out", "--model", tmp_path / "older.keras")
    assert "note: no picture is marked as foreign: the model has no profile" in said
    assert rows(tmp_path / "out/shares.csv")["dark.png"]["distance"] == ""


def test_one_picture_is_judged_from_python(model, photos):
    predictor = load_model(model)
    mark = predictor.mark(photos / "dark.png")
    assert (mark.foreign, mark.trait) == (True, "brightness")
    assert not predictor.mark(np.asarray(picture(104))).foreign


def test_sizes_are_told_in_pixels():
    assert describe(Mark(1.5, "size", 9.0, 8.0, 8.5)) == (
        "1.50 times the limit: size 512 px, known pictures 256 px to 362 px"
    )


def test_the_summary_names_the_commonest_trait_first():
    of_noise, of_size = Mark(1.2, "noise", 9, 1, 2), Mark(1.1, "size", 9, 8, 8.5)
    every = [("a", of_size), ("b", of_noise), ("c", of_noise), ("d", Mark(0.2, "tint", 0, 0, 1))]
    said = summary(every, 0.01)
    assert said.startswith("3 of 4 pictures are foreign to the model, by noise 2, size 1 (1.0 % of")
    assert "the farthest is b, 1.20 times the limit: noise 9" in said
