"""`segpipe next`: uncertain pictures come first, near-equal ones once, labelled ones never."""

import errno
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from helpers import PETS, ROOT, interrupt_once, run, set_params
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_suspects import card

from segpipe.common.codec import encode_png
from segpipe.evaluate.masks import log_softmax
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Sample
from segpipe.label import next as next_
from segpipe.label import uncertainty
from segpipe.label.choice import chosen
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor
from segpipe.train.saving import save_model

SIZE = (32, 32)
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
SURE = [math.e**8 / (math.e**8 + 2), *[1 / (math.e**8 + 2)] * 2]
"""The probabilities of a pixel that is all red, green or blue: its logits are 8, 0 and 0."""
SLIGHT = -sum(p * math.log(p) for p in SURE)


def of_colours():
    """A U-Net that is sure of red, green and blue, and of no grey; its encoder sees mean colours."""
    image = keras.Input((*SIZE, 3), dtype="uint8", name="image")
    scaled = keras.Input((*SIZE, 3))
    encoder = keras.Model(
        scaled, [keras.layers.ReLU()(scaled), keras.layers.AveragePooling2D(4)(scaled)], name="encoder"
    )
    fine, coarse = encoder(keras.layers.Rescaling(1 / 255)(image))
    joined = keras.layers.Concatenate()([fine, keras.layers.UpSampling2D(4)(coarse)])
    logits = keras.layers.Conv2D(3, 1, use_bias=False)(joined)
    model = keras.Model(image, logits, name="unet")
    kernel = np.zeros((1, 1, 6, 3), np.float32)
    kernel[0, 0, range(3), range(3)] = 8
    model.layers[-1].set_weights([kernel])
    return model


def of_card(**changes):
    return card(**changes) | {"image_size": SIZE}


def plain(colour, size=(32, 32)):
    return np.full((*size, 3), colour, np.uint8)


def halves(one, other):
    picture = plain(one)
    picture[:, 16:] = other
    return picture


def noisy(colour, seed):
    """A picture of one colour with a texture, by which its hash is known."""
    noise = np.random.default_rng(seed).integers(-20, 21, (8, 8, 1)).repeat(4, 0).repeat(4, 1)
    return (np.array(colour) * 0.8 + 25 + noise).clip(0, 255).astype(np.uint8)


def looked(picture, tmp_path, kind="entropy", **changes):
    Image.fromarray(picture).save(tmp_path / "one.png")
    predictor = Predictor(of_colours(), of_card(**changes))
    ((_, found),) = uncertainty.uncertainties(predictor, [Source(tmp_path / "one.png", "one")], kind)
    return found


def test_each_choice_has_the_largest_product_of_uncertainty_and_distance():
    """Worked out by hand: after the first, the others have 0, 1 x 1.41 and 0.5 x 2; then 0 and 0.71."""
    features = np.array([(1, 0), (1, 0), (0, 1), (-1, 0)], np.float32)
    picked, distances = chosen(np.array([3, 2.9, 1, 0.5]), features, 4)
    assert picked == [0, 2, 3, 1]
    assert distances == pytest.approx([2, 2**0.5, 2**0.5, 0])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12), st.data())
def test_any_pool_gives_as_many_different_pictures_as_are_wanted(pool, data):
    count = data.draw(st.integers(1, len(pool)))
    features = np.eye(3, dtype=np.float32)[[direction for _, direction in pool]]
    values = np.array([value for value, _ in pool], float)
    picked, _ = chosen(values, features, count)
    assert len({*picked}) == count
    assert values[picked[0]] == values.max()
    more, _ = chosen(values, features, len(pool))
    assert more[:count] == picked, "fewer are the first of more"


@pytest.mark.parametrize("how", [{"how": "pad"}, {}, {"how": "tiles", "tiles": {"scale": 1.0}}], ids=str)
def test_entropy_is_the_mean_over_the_picture_alone(how, tmp_path):
    """Padding is black, of which the model is as unsure as of grey."""
    assert looked(plain(RED, (20, 50)), tmp_path, **how).mean == pytest.approx(SLIGHT, rel=1e-3)
    grey = looked(plain(GREY, (20, 50)), tmp_path, **how)
    assert grey.mean == pytest.approx(math.log(3), rel=1e-6)


def test_features_are_the_mean_of_the_encoders_last_output(tmp_path):
    found = looked(halves(RED, GREEN), tmp_path).features
    assert found == pytest.approx(np.array([1, 1, 0]) / 2**0.5, abs=1e-6)


def test_looks_that_are_sure_of_two_classes_disagree_by_ln_2():
    """One class on the left and another on the right, and the other way round."""
    logits = np.zeros((1, 3, 4, 2), np.float32)
    logits[:, :, :2, 0], logits[:, :, 2:, 1] = 50, 50
    one, other = log_softmax(logits), log_softmax(logits[:, :, ::-1])
    assert uncertainty.divergence(one, other) == pytest.approx(np.full((1, 3, 4), math.log(2)), abs=1e-6)
    assert uncertainty.entropy(one) == pytest.approx(np.zeros((1, 3, 4)), abs=1e-6)


def test_no_picture_has_less_uncertainty_than_0_or_minus_0():
    for total in (-1e-6, -0.0, 0.0, 6.0):
        judged = uncertainty._Judged(total, 3, np.ones(2), "")
        mean = uncertainty._together([judged]).mean
        assert (mean, math.copysign(1, mean)) == (max(total, 0) / 3, 1)


def test_looks_that_agree_do_not_disagree(tmp_path):
    assert looked(halves(GREY, RED), tmp_path, "disagreement").mean == pytest.approx(0, abs=1e-6)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    save_model(of_colours(), tmp_path / "models/model.keras", of_card())
    return tmp_path


@pytest.fixture
def command(segpipe):
    """Run the command: its exit code, and all that it printed."""

    def run(*arguments):
        code, *printed = segpipe("next", *arguments)
        return code, "".join(printed)

    return run


def save(folder, **pictures):
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{name}.png")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_near_equal_frames_are_taken_once_and_the_choice_is_the_same_every_time(project, command):
    frames = {f"frame-{n}": halves(GREY, (128, 128, 128 + n % 2)) for n in range(8)}
    save(project / "pool", **frames, red=halves(GREY, RED), green=halves(GREY, GREEN), sure=plain(BLUE))
    code, said = command("pool", "-n", 3, "-o", "to_label")
    assert (code, "3 of 11 pictures to label: to_label" in said) == (0, True), said
    written = files(project / "to_label")
    assert written[:2] != [] and {*written} >= {"images/red.png", "images/green.png"}
    assert sum(name.startswith("images/frame") for name in written) == 1
    first = (project / "to_label.csv").read_bytes()
    assert command("pool", "-n", 3, "-o", "again")[0] == 0
    assert (project / "again.csv").read_bytes() == first
    rows = pd.read_csv("to_label.csv")
    assert rows["rank"].tolist()[:3] == [1, 2, 3]
    assert rows["rank"].isna().sum() == 8
    assert rows["uncertainty"][3:].is_monotonic_decreasing
    assert rows["uncertainty"][0] == pytest.approx(math.log(3), abs=1e-3)


def write_data(folder, **pictures):
    mask = encode_png(np.ones(SIZE, np.uint8))
    found = [
        Sample(name, "test" if number == 0 else "train", name, name, Encoded(encode_png(picture), mask))
        for number, (name, picture) in enumerate(pictures.items())
    ]
    write_raw("a test", iter(found), PETS, False, 100, folder / "data/raw", 1)


def test_labelled_pictures_are_left_out_whatever_their_name_and_format(project, command):
    labelled = {name: noisy(GREY, seed) for seed, name in enumerate(["tested", "one", "two"])}
    write_data(project, **labelled)
    save(project / "pool", new=noisy(GREY, 7), copy=labelled["one"])
    Image.fromarray(labelled["tested"]).save(project / "pool/other name.bmp")
    code, said = command("pool", "-n", 2, "-o", "to_label")
    assert code == 0, said
    assert "note: 2 pictures are left out, since data/raw has them: copy; other name\n" in said
    assert "note: 2 are wanted, and only 1 are left: all are taken" in said
    assert files(project / "to_label") == ["images/new.png"]
    (project / "pool/new.png").unlink()
    code, said = command("pool", "-o", "more")
    assert (code, said.count("\n") and not (project / "more").exists()) == (1, True)
    assert "error: data/raw has all of these 2 pictures, with their labels" in said


@pytest.mark.slow
def test_ctrl_c_while_pictures_are_written_leaves_nothing_and_the_same_command_works(project):
    save(project / "pool", **{f"p{n}": noisy(GREY, n) for n in range(100)})
    wanted = ["segpipe", "next", "pool", "-n", "100", "-o", "chosen", "--labels", "coco"]
    stopped = interrupt_once(project / ".chosen.partial", project, *wanted)
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr + stopped.stdout
    assert sorted(path.name for path in project.iterdir()) == ["models", "params.yaml", "pool"]
    assert run(*wanted, cwd=project).returncode == 0


def test_a_table_that_cannot_be_written_leaves_no_folder_that_the_same_command_would_refuse(
    project, command, monkeypatch
):
    save(project / "pool", a=noisy(GREY, 0), b=noisy(RED, 1))

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(next_, "write_text", full)
        code, printed = command("pool", "-o", "chosen")
    assert (code, "chosen.csv: No space left on device; make room" in printed) == (1, True)
    assert not (project / "chosen").exists()
    assert command("pool", "-o", "chosen")[0] == 0


def test_predictions_of_the_chosen_pictures_go_out_as_labels(project, command):
    save(project / "pool", one=halves(RED, GREEN), two=plain(BLUE))
    set_params(project, {"data.classes": PETS.to_json()["classes"]})
    code, said = command("pool", "-n", 1, "-o", "to_label", "--labels", "coco")
    assert code == 0, said
    assert "there is no data/raw here" in said
    (sample,) = layouts.samples("coco", project / "to_label", 0.3, PETS)
    mask = sample.content.read()[1]
    assert sample.name == "one"
    assert (mask[:, :16] == 0).all() and (mask[:, 16:] == 1).all()


def test_pictures_that_exif_turns_unseen_are_said_with_labels_of_coco(project, command):
    """Turned upside down, a picture keeps its size, which tells no reader on which view labels lie."""
    save(project / "pool", one=halves(RED, GREEN))
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(halves(RED, GREEN)).save(project / "pool/turned.png", exif=exif)
    set_params(project, {"data.classes": PETS.to_json()["classes"]})
    code, said = command("pool", "-o", "to_label", "--labels", "coco")
    assert code == 0, said
    assert (
        "note: 1 pictures whose labels a tool may read in another way: pool/turned.png: EXIF turns it, "
        "and COCO does not say so: its labels lie on the upright picture\n"
    ) in said
    assert "EXIF" not in command("pool", "-o", "cvat", "--labels", "cvat")[1]


def test_chosen_pictures_in_folders_called_as_splits_are_said(project, command):
    save(project / "pool", **{"train/a": plain(GREY), "other/b": plain(GREY), "val/c": plain(GREY)})
    code, said = command("pool", "-o", "to_label")
    assert (code, "sub-folders are called as splits are (train, val)" in said) == (0, True), said
    assert "called as splits" not in command("pool/train", "-o", "alone")[1]


def test_labels_of_other_classes_are_refused(project, command):
    save(project / "pool", one=plain(RED))
    rows = [{"name": name, "value": n, "colour": f"#00000{n}"} for n, name in enumerate("ab", 1)]
    set_params(project, {"data.classes": rows})
    code, said = command("pool", "-o", "to_label", "--labels", "coco")
    assert code == 1
    assert (
        "models/model.keras knows the classes pet, background, border, and params.yaml has a, b" in said
    )
    assert not (project / "to_label").exists()
    assert command("pool", "-o", "to_label")[0] == 0, "pictures alone have no classes"


def test_what_cannot_be_read_is_left_out_and_said(project, command):
    save(project / "pool", one=plain(RED))
    (project / "pool/bad.jpg").write_bytes(b"no picture")
    (project / "pool/notes.txt").write_text("no picture")
    code, said = command("pool", "-o", "to_label")
    assert code == 0, said
    assert "note: 1 pictures cannot be read, and are left out: pool/bad.jpg" in said
    assert "note: 1 files are no known picture (1 .txt): pool/notes.txt" in said
    (project / "pool/one.png").unlink()
    code, said = command("pool", "-o", "more")
    assert (code, "error: none of 1 pictures can be read" in said) == (1, True)


SPACES = ("9.41\u202fAM", "\u5199\u771f\u30001", "a\u00a0b")  # as macOS and Japanese writers have them


@pytest.mark.parametrize("tool", [None, "coco", "labelme"])
def test_names_with_any_spaces_are_taken_and_those_that_no_file_can_hold_are_left_out_and_said(
    project, command, tool
):
    set_params(project, {"data.classes": PETS.to_json()["classes"]})
    save(project / "pool", **{name: plain(RED) for name in SPACES})
    for name in ("two\nlines", os.fsdecode(b"caf\xe9"), "n" * 251):
        Image.fromarray(plain(RED)).save(project / f"pool/{name}.png")
    code, said = command("pool", "-o", "to_label", *(["--labels", tool] if tool else []))
    assert code == 0, said
    bad, whole = (3, [*SPACES]) if tool == "labelme" else (2, [*SPACES, "n" * 251])
    assert f"note: {bad} pictures cannot be read, and are left out: " in said
    assert r"pool/caf\udce9.png: an unprintable letter in its name" in said
    assert r"pool/two\nlines.png: an unprintable letter" in said
    assert f"{len(whole)} of 6 pictures to label" in said
    copies = [Path(one).stem for one in files(project / "to_label") if one.endswith(".png")]
    assert sorted(copies) == sorted(whole)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_to_a_folder_stays_and_its_target_is_written(project, command, is_there):
    if is_there:
        (project / "large_disk").mkdir()
    (project / "to_label").symlink_to("large_disk")
    save(project / "pool", red=halves(GREY, RED))
    code, said = command("pool", "-n", 1, "-o", "to_label")
    assert code == 0, said
    assert (project / "to_label").is_symlink()
    assert files(project / "large_disk") == ["images/red.png"]


@pytest.mark.parametrize(
    ("pool", "out", "said"),
    [
        ("empty", "to_label", "error: empty: holds no image"),
        ("missing", "to_label", "error: missing: no such file or folder"),
        ("pool", "pool/to_label", "error: the output folder pool/to_label is inside the input pool"),
        ("pool", "full", "error: full exists, and may hold corrections"),
        ("pool", "ranked", "error: ranked.csv exists, and would be overwritten; choose another -o"),
        ("../pool", ".", "error: .: no name; give a new folder by its name for -o"),
    ],
)
def test_a_pool_or_folder_that_will_not_do_is_one_line(project, command, pool, out, said):
    for name in ("empty", "full"):
        (project / name).mkdir()
    (project / "full/mine.json").write_text(json.dumps("by hand"))
    (project / "ranked.csv").write_text("MY TABLE")
    save(project / "pool", one=plain(RED))
    os.chdir(project / "empty" if out == "." else project)
    code, printed = command(pool, "-o", out)
    assert code == 1
    assert printed.startswith(said)
    assert printed.count("\n") == 1
    assert files(project / "full") == ["mine.json"]
    assert (project / "ranked.csv").read_text() == "MY TABLE"
