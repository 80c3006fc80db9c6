"""`segpipe drift`: 0 for pictures like those of training, 1 for others, 2 where it cannot tell."""

import functools
import json
import os
import sys
import zipfile

import keras
import numpy as np
import pandas as pd
import pytest
from helpers import PETS
from PIL import Image, ImageFilter

from segpipe import cli
from segpipe.common.modelfile import CARD, CARD_FORMAT, read_card
from segpipe.common.profile import Profile, limit, reference
from segpipe.preprocess.traits import traits_of
from segpipe.train.saving import save_model

SIZE = (32, 32)


def photo(rng):
    """Noise on a few large patches, as bright and as colourful as it happens."""
    patches = rng.normal(rng.normal(120, 20), 30, (3, 4, 3))
    large = np.repeat(np.repeat(patches, 20, 0), 20, 1)
    noisy = large + rng.normal(0, 8, (*large.shape[:2], 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def profile(rng):
    """What is known of 80 photos, with the limit that 40 others set."""
    known, judged = ([traits_of(np.asarray(photo(rng))) for _ in range(count)] for count in (80, 40))
    references = {name: reference(name, [one[name] for one in known]) for name in known[0]}
    distances = [max(references[name].distance(one[name]) for name in one) for one in judged]
    most, beyond = limit(distances)
    return Profile(references, most, len(judged), beyond, None)


def saved(path, **more):
    """A model that sees colours alone, and the card of one for these photos."""
    image = keras.Input((*SIZE, 3), dtype="uint8")
    logits = keras.layers.Conv2D(3, 1)(keras.layers.Rescaling(1 / 255)(image))
    card = {"format": CARD_FORMAT, "segpipe": "0.0.9", "libraries": {"keras": "3.0.0"}}
    card |= {"image_size": SIZE, "resize": "stretch", **PETS.to_json(), **more}
    save_model(keras.Model(image, logits, name="unet"), path, card)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    known = profile(np.random.default_rng(1))
    return saved(tmp_path_factory.mktemp("model") / "model.keras", profile=known.to_json())


@pytest.fixture
def photos(tmp_path, rng):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for number in range(30):
        photo(rng).save(folder / ("deeper" if number % 2 else "") / f"{number:02d}.png")
    return folder


@pytest.fixture
def drift(model, tmp_path, monkeypatch, segpipe):
    """Run the command: exit code, what it printed, what it complained of."""
    monkeypatch.chdir(tmp_path)
    # The last of two values of an option counts.
    return functools.partial(segpipe, "drift", "--model", model)


def changed(folder, change):
    for path in folder.rglob("*.png"):
        change(Image.open(path)).save(path)


def test_pictures_of_the_same_kind_are_alike(drift, photos, tmp_path):
    code, said, _ = drift(photos)
    assert code == 0
    assert "alike: no trait of 30 pictures shifted by more than chance" in said
    assert (tmp_path / "logs/drift/index.html").is_file()


@pytest.mark.parametrize(
    ("change", "trait"),
    [
        (lambda picture: picture.filter(ImageFilter.GaussianBlur(2)), "sharpness"),
        (lambda picture: picture.convert("L").convert("RGB"), "saturation"),
        (lambda picture: picture.point(lambda value: value // 2), "brightness"),
    ],
)
def test_a_changed_camera_is_named_by_the_trait_that_it_changed(drift, photos, change, trait, tmp_path):
    changed(photos, change)
    code, said, _ = drift(photos)
    assert code == 1
    assert "different: " in said
    assert f"\n{trait}: " in said
    page = (tmp_path / "logs/drift/drift.md").read_text()
    assert f"| {trait} |" in page
    assert f"Pictures farthest by {trait}" in page


def test_it_says_from_which_middle_to_which_a_trait_moved(drift, model, photos, tmp_path):
    changed(photos, lambda picture: picture.point(lambda value: value // 2))
    _, said, _ = drift(photos)
    known = read_card(model)["profile"]["traits"]["brightness"]
    now = pd.read_csv(tmp_path / "logs/drift.csv").brightness
    assert f"\nbrightness: {np.median(known):.3g} to {now.median():.3g}, " in said
    assert now.median() == pytest.approx(np.median(known) / 2, rel=0.15)


def test_the_table_has_a_row_a_picture_the_farthest_first(drift, photos, tmp_path):
    Image.new("RGB", (80, 60), (255, 255, 255)).save(photos / "white.png")
    drift(photos)
    table = pd.read_csv(tmp_path / "logs/drift.csv")
    assert len(table) == 31
    assert table.path[0] == str(photos / "white.png")
    assert table.distance[0] > 1
    assert table.foreign_by.notna()[0]
    assert table.brightness[0] == 255
    assert table.distance.is_monotonic_decreasing


def test_a_name_that_is_no_utf_8_keeps_its_bytes_in_the_table(drift, photos, tmp_path):
    (photos / "00.png").rename(photos / os.fsdecode(b"\xff\xfe.png"))
    code, _, complained = drift(photos)
    assert (code, complained) == (0, "")
    assert b"photos/\xff\xfe.png,0." in (tmp_path / "logs/drift.csv").read_bytes()


def test_an_error_of_segpipe_itself_cannot_tell(drift, photos, monkeypatch):
    def fails(*parts):
        raise KeyError("glow")

    monkeypatch.setattr("segpipe.drift.compare.compare", fails)
    code, _, complained = drift(photos)
    assert code == 2
    assert "KeyError: 'glow'" in complained
    assert complained.endswith(
        "error: an error of segpipe's own (see above); report it with this traceback\n"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": float("nan")}, "the profile in the card holds NaN, infinity or no values"),
        ({"traits": {"tint": [1.0, float("nan")]}}, "the profile in the card holds NaN, infinity or no"),
        ({"traits": {}}, "the profile in the card holds NaN, infinity or no values"),
        ({"judged": None}, "the profile in the card cannot be used ("),
    ],
)
def test_a_damaged_profile_cannot_tell(segpipe, photos, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    known = profile(np.random.default_rng(1)).to_json() | changes
    path = saved(tmp_path / "model.keras", profile=known)
    code, _, complained = segpipe("drift", "--model", path, photos)
    assert (code, said in complained) == (2, True)
    assert complained.endswith("train the model again with `dvc repro train`\n")


def test_the_same_pictures_give_the_same_page(drift, photos, tmp_path):
    pages = []
    for _ in range(2):
        drift(photos)
        pages.append((tmp_path / "logs/drift/index.html").read_bytes())
    assert pages[0] == pages[1]


def test_unreadable_pictures_and_other_files_are_counted_and_named(drift, photos):
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("neither")
    code, said, _ = drift(photos)
    assert code == 0
    assert "note: 1 pictures could not be read: " in said
    assert "broken.jpg" in said
    assert "1 files are no known picture (1 .txt)" in said


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (None, "no such folder"),
        ([], "holds no image"),
        ([b"no picture"], "no picture can be read; the first: "),
    ],
)
def test_a_folder_without_a_picture_cannot_tell(drift, tmp_path, files, complaint):
    folder = tmp_path / "empty"
    if files is not None:
        folder.mkdir()
        for number, content in enumerate(files):
            (folder / f"{number}.png").write_bytes(content)
    code, _, complained = drift(folder)
    assert (code, complained.count("\n")) == (2, 1)
    assert complaint in complained
    assert not (tmp_path / "logs/drift").exists()


def test_a_single_picture_cannot_tell(drift, tmp_path, rng):
    (tmp_path / "one").mkdir()
    photo(rng).save(tmp_path / "one/0.png")
    code, _, complained = drift(tmp_path / "one")
    assert code == 2
    assert "1 pictures are too few" in complained


def test_a_model_of_an_older_card_cannot_tell_and_says_that_it_must_be_trained_again(
    drift, photos, tmp_path
):
    code, _, complained = drift(photos, "--model", saved(tmp_path / "older.keras"))
    assert (code, complained.count("\n")) == (2, 1)
    assert "older.keras: the model has no profile of its training pictures" in complained
    assert "train it again" in complained


def test_without_write_access_it_says_where_and_leaves_nothing(drift, photos, locked_disk):
    code, _, complained = drift(photos, "--out", locked_disk / "drift")
    assert (code, complained.count("\n")) == (2, 1)
    assert complained.startswith(f"error: {locked_disk}/") and "Read-only file system" in complained
    assert [path.name for path in locked_disk.iterdir()] == ["kept"]


def test_a_place_that_cannot_be_written_is_named(drift, photos, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, _, complained = drift(photos, "--out", tmp_path / "file/drift")
    assert (code, complained.count("\n")) == (2, 1)
    assert str(tmp_path / "file") in complained


def test_a_folder_of_something_else_is_not_replaced(drift, photos, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    code, _, complained = drift(photos, "--out", tmp_path / "mine")
    assert code == 2
    assert "holds something other than drift" in complained
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"


def test_a_table_of_something_else_is_not_overwritten_and_one_of_drift_is(drift, photos, tmp_path):
    (tmp_path / "mine.csv").write_text("MY TABLE\n")
    (tmp_path / "ours.csv").mkdir()
    (tmp_path / "ours.csv/letter.txt").write_text("dear")
    for out in ("mine", "ours"):
        code, _, complained = drift(photos, "--out", out)
        assert (code, complained.count("\n")) == (2, 1)
        assert complained.startswith(f"error: {out}.csv is no table of drift, and would be overwritten")
    assert (tmp_path / "mine.csv").read_text() == "MY TABLE\n"
    assert (tmp_path / "ours.csv/letter.txt").read_text() == "dear"
    (tmp_path / "mine.csv").unlink()
    assert drift(photos, "--out", "mine")[0] == drift(photos, "--out", "mine")[0] == 0


def test_pictures_of_one_name_and_other_suffixes_all_count(drift, photos):
    for path in photos.glob("*.png"):
        Image.open(path).save(path.with_suffix(".tif"))
    code, said, _ = drift(photos)
    assert (code, "45 pictures" in said) == (0, True)


def test_the_table_has_the_whole_name_of_the_page_s_folder(drift, photos, tmp_path):
    (tmp_path / "data.csv").write_text("mine")
    code, said, _ = drift(photos, "--out", "data.v1")
    assert (code, "all: data.v1.csv; page: " in said) == (0, True)
    assert (tmp_path / "data.csv").read_text() == "mine"
    assert len(pd.read_csv(tmp_path / "data.v1.csv")) == 30


def test_a_page_without_a_name_cannot_be_written(drift, photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", ".."):
        code, _, complained = drift(photos, "--out", out)
        assert (code, complained.count("\n")) == (2, 1)
    code, _, complained = drift(photos, "--out", ".")
    assert ".: no name; give a folder by its name" in complained


def test_info_shows_usual_values_and_not_those_of_every_picture(model, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["segpipe", "info", str(model)])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    low, middle, high = Profile.of_card(read_card(model)).references["brightness"].usual
    assert f"brightness:\n    - {low:.4g}\n    - {middle:.4g}\n    - {high:.4g}\n" in said
    assert said.count("\n") < 100


def test_the_profile_takes_a_few_kilobytes_of_the_card(model):
    with zipfile.ZipFile(model) as archive:
        assert len(json.dumps(json.loads(archive.read(CARD))["profile"])) < 20_000
