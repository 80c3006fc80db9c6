"""`segpipe predict`: pictures in files, folders and globs; what is written, what is refused."""

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import PETS, draw_photo, environment, make_project, run, run_stage, set_params
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_predictor import card, network

from segpipe import cli, load_model
from segpipe.common import records
from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.evaluate import metrics
from segpipe.fetch.integrity import decode_pair
from segpipe.predict import folder, outputs
from segpipe.predict.inputs import find
from segpipe.predict.predictor import Predictor


@pytest.fixture
def photos(tmp_path, rng):
    """Five pictures at three depths, of three formats."""
    root = tmp_path / "photos"
    names = ("one.jpg", "two.PNG", "trip/one.jpg", "trip/day 2/über.webp", "trip/day 2/x.y.png")
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (4, 5, 3), np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((70, 50 + number)).save(root / name)
    (root / "notes.txt").write_text("no picture")
    (root / "._one.jpg").write_text("what macOS leaves")
    return root


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_masks_overlays_and_shares_with_its_names_kept(
    predict, model, photos, tmp_path
):
    code, said, _ = predict(photos, "-o", tmp_path / "out")
    assert code == 0
    names = ["one", "trip/day 2/x.y", "trip/day 2/über", "trip/one", "two"]
    assert files(tmp_path / "out") == [
        *(f"masks/{name}.png" for name in names),
        *(f"overlays/{name}.jpg" for name in names),
        "shares.csv",
    ]
    assert "5 pictures in" in said
    assert "1 = pet, 2 = background, 3 = border" in said
    expected = load_model(model).predict(photos / "trip/day 2/x.y.png")
    written = Image.open(tmp_path / "out/masks/trip/day 2/x.y.png")
    assert (np.asarray(written) == expected + 1).all(), "the table's values: 1, 2, 3"
    assert (np.asarray(written.convert("RGB")) == PETS.palette[expected]).all()


def test_the_table_of_shares_has_a_row_a_picture(predict, photos, tmp_path):
    predict(photos, "-o", tmp_path / "out")
    table = rows(tmp_path / "out/shares.csv")
    shares = ["share_pet", "share_background", "share_border"]
    assert list(table[0]) == ["path", "height", "width", *shares, "distance", "foreign_by"]
    by_path = {row["path"]: row for row in table}
    assert len(by_path) == len(table) == 5
    row = by_path[str(photos / "trip/one.jpg")]
    mask = np.asarray(Image.open(tmp_path / "out/masks/trip/one.png"))
    assert (row["height"], row["width"]) == tuple(map(str, mask.shape)) == ("52", "70")
    for value, name in enumerate(PETS.names, 1):
        assert float(row[f"share_{name}"]) == pytest.approx((mask == value).mean(), abs=1e-6)


def test_an_overlay_is_half_picture_and_half_colour(predict, photos, tmp_path):
    predict(photos, "-o", tmp_path / "out")
    picture = np.asarray(Image.open(photos / "two.PNG"), int)
    colour = np.asarray(Image.open(tmp_path / "out/masks/two.png").convert("RGB"), int)
    drawn = np.asarray(Image.open(tmp_path / "out/overlays/two.jpg"), int)
    assert abs(drawn - (picture + colour) / 2).mean() < 8, "but for what JPEG changes"


@pytest.mark.parametrize(
    "table",
    [
        PETS,
        ClassTable((SegmentationClass("car", 255, "#0072b2"), SegmentationClass("road", 0, "#999999"))),
        ClassTable(
            (SegmentationClass("a", "#800000", "#0072b2"), SegmentationClass("b", "#00ff7f", "#999999")),
            ignore=("#000000",),
        ),
    ],
    ids=["values", "binary", "colours"],
)
def test_a_written_mask_is_one_that_training_would_read_as_the_same_classes(table, rng, tmp_path):
    mask = rng.integers(0, len(table), (30, 40), np.uint8)
    outputs.write_mask(tmp_path / "mask.png", mask, table)
    outputs.write_overlay(tmp_path / "image.jpg", np.zeros((30, 40, 3), np.uint8), mask, table)
    image, drawn = ((tmp_path / name).read_bytes() for name in ("image.jpg", "mask.png"))
    _, values = decode_pair(image, drawn, "image", "mask", table.by_colour)
    assert table.unknown_values(values) == {}
    assert (table.to_indices(values) == mask).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1, 2, 3), "1 = a, 2 = b, 3 = c"),
        (((7, 4), 2, 0), "7 = a, 2 = b, 0 = c"),
        (("cat", ("hound", "poodle"), "rest"), "0 = a, 1 = b, 2 = c"),
        ((0, "cat", (5, "dog")), "0 = a, 1 = b, 5 = c"),
        (("#ff0000", "#00ff00", "#0000ff"), "0 = a, 1 = b, 2 = c"),
    ],
)
def test_the_numbers_that_are_printed_are_those_in_the_masks(tmp_path, values, said):
    rows = (SegmentationClass(n, v, f"#00000{n}") for n, v in zip("abc", values, strict=True))
    table = ClassTable(tuple(rows))
    assert outputs.numbers(table) == said
    outputs.write_mask(tmp_path / "mask.png", np.arange(3, dtype=np.uint8)[None], table)
    written = np.asarray(Image.open(tmp_path / "mask.png"))[0]
    assert ", ".join(f"{value} = {name}" for value, name in zip(written, "abc", strict=True)) == said


def scores_of_masks(out, truth, table):
    """Score written masks by their name: truth holds class indices."""
    total, boundaries = np.zeros((len(table),) * 2, np.int64), 0
    for name, indices in truth.items():
        mask = table.to_indices(np.asarray(Image.open(out / f"masks/{name}.png")))
        total += metrics.confusion_matrix(indices, mask, len(table))
        boundaries += metrics.boundary_counts(indices, mask, len(table))
    scores = metrics.summarise(total, table.names)
    return {**scores, "boundary_f1": metrics.summarise_boundaries(boundaries)}


def original_scores(project):
    content = json.loads((project / "results/evaluate/metrics.json").read_text())
    return {key: value for key, value in content["original"].items() if key != "interval"}


@pytest.mark.parametrize(
    ("flip", "scales", "options"),
    [(False, [1.0], []), (True, [1.0, 2.0], ["--tta", "--scales", "1,2"])],
    ids=["one view", "four views"],
)
def test_the_test_split_scores_exactly_what_metrics_json_says(
    finished_project, tmp_path, predict, model, flip, scales, options
):
    """By a random model, which knows every class."""
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    (project / "models/model.keras").unlink()
    shutil.copy(model, project / "models")
    set_params(project, {"evaluate.tta.flip": flip, "evaluate.tta.scales": scales})
    result = run_stage("evaluate", project)
    assert result.returncode == 0, result.stderr
    assert min(original_scores(project)["iou"].values()) > 0
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "sub").mkdir(parents=True)
    for shard in (project / "data/raw").glob("test-*"):
        for sample in read_shard(shard):
            (photos / "sub" / f"{sample['name'].decode()}.png").write_bytes(sample["image"])
    manifest = records.open_records(project / "data/records")
    truth = {f"sub/{s['name']}": s["original_mask"] for s in records.read(manifest, "test")}
    code, _, _ = predict(photos, "-o", out, *options)
    assert code == 0
    assert scores_of_masks(out, truth, manifest.classes) == original_scores(project)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stretch", "pad"])
def test_real_photographs_score_exactly_what_metrics_json_says(pet_dir, predict, tmp_path, how):
    """From the user's own JPEGs, not from what fetch made of them."""
    project = make_project(
        tmp_path / "project",
        **{
            "data.source": "folder",
            "data.folder.path": str(pet_dir),
            "data.folder.layout": "oxford",
            "data.image_size": [64, 96],
            "data.resize": how,
            "data.on_bad": "skip",
        },
    )
    for stage in ("fetch", "fetch_encoder", "preprocess", "train", "evaluate"):
        result = run("python", f"stages/{stage}.py", cwd=project)
        assert result.returncode == 0, result.stderr
    manifest = records.open_records(project / "data/records")
    truth = {s["name"]: s["original_mask"] for s in records.read(manifest, "test")}
    pictures = [pet_dir / f"images/{name}.jpg" for name in truth]
    out = tmp_path / "out"
    assert predict(*pictures, "-o", out, "--model", project / "models/model.keras")[0] == 0
    assert scores_of_masks(out, truth, manifest.classes) == original_scores(project)
    assert len(truth) > 200


def test_bad_files_are_reported_at_the_end_and_the_rest_is_done(predict, photos, tmp_path):
    whole = (photos / "one.jpg").read_bytes()
    bad = {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.png": b"",
        "trip/text.png": b"no picture",
        "trip/locked.jpg": whole,
    }
    for name, content in bad.items():
        (photos / name).write_bytes(content)
    (photos / "trip/locked.jpg").unlink()
    (photos / "trip/locked.jpg").symlink_to("nowhere")
    code, said, complained = predict(photos, "-o", tmp_path / "out")
    assert code == 1
    assert "5 pictures in" in said
    assert len(files(tmp_path / "out/masks")) == len(rows(tmp_path / "out/shares.csv")) == 5
    assert "error: 4 of 9 pictures could not be read, all listed in" in complained
    reasons = {row["path"]: row["reason"] for row in rows(tmp_path / "out/failed.csv")}
    assert {Path(path).relative_to(photos).as_posix() for path in reasons} == {*bad}
    assert reasons[str(photos / "empty.png")] == "an empty file"
    assert all(f"{path}: {reason}" in complained for path, reason in reasons.items())

    for name in bad:
        (photos / name).unlink()
    assert predict(photos, "-o", tmp_path / "out")[0] == 0
    assert not (tmp_path / "out/failed.csv").exists(), "another run, another list"


def test_of_many_bad_files_the_first_twenty_are_named(predict, photos, tmp_path):
    for number in range(30):
        (photos / f"bad {number:02d}.jpg").write_bytes(b"")
    code, _, complained = predict(photos, "-o", tmp_path / "out")
    assert code == 1
    assert complained.count("an empty file") == 20
    assert complained.endswith("... and 10 more\n")
    assert len(rows(tmp_path / "out/failed.csv")) == 30


def test_odd_pictures_are_predicted_as_training_reads_them(predict, model, tmp_path, rng):
    odd = tmp_path / "odd"
    odd.mkdir()
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.convert("CMYK").save(odd / "cmyk.jpg")
    picture.convert("P").save(odd / "palette.png")
    picture.convert("LA").save(odd / "grey alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(odd / "16 bit.png")
    picture.convert("P").save(odd / "still.gif")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(odd / "turned.jpg", exif=turned)
    assert predict(odd, "-o", tmp_path / "out")[0] == 0
    predictor = load_model(model)
    for path in odd.iterdir():
        expected = predictor.predict(path)
        written = np.asarray(Image.open(tmp_path / f"out/masks/{path.stem}.png"))
        assert (written == expected + 1).all(), path.name
        assert written.shape == ((60, 40) if path.stem == "turned" else (40, 60))


def test_a_huge_picture_is_reported_and_not_unpacked(predict, photos, tmp_path):
    Image.new("1", (8, 8)).save(photos / "huge.png")
    small = (photos / "huge.png").read_bytes()
    header = struct.pack(">II", 30_000, 20_000) + small[24:29]
    check = zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    (photos / "huge.png").write_bytes(small[:16] + header + check + small[33:])
    code, _, complained = predict(photos, "-o", tmp_path / "out")
    assert code == 1
    assert "huge.png: a picture of 600000000 pixels\n" in complained


def test_an_animation_is_reported(predict, photos, tmp_path):
    frames = [Image.new("L", (60, 40), 80 * number) for number in range(3)]
    frames[0].save(photos / "clip.gif", save_all=True, append_images=frames[1:])
    code, _, complained = predict(photos, "-o", tmp_path / "out")
    assert code == 1
    assert "clip.gif: an animation: holds 3 frames; segpipe takes single pictures\n" in complained


def test_globs_keep_the_folders_below_their_first_wildcard(predict, photos, tmp_path):
    assert predict(f"{photos}/**/*.jpg", photos / "two.PNG", "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out/masks") == ["one.png", "trip/one.png", "two.png"]


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("*.jpg", "out"),
        ("*.jpg", "trip/x"),
        ("t*/*.jpg", "out"),
        ("*/*.jpg", "trip/x"),
        ("one.jpg", "."),
    ],
)
def test_the_output_may_lie_where_a_pattern_does_not_reach(photos, monkeypatch, given, out):
    monkeypatch.chdir(photos)
    assert "one" in {Path(source.name).name for source in find([given], Path(out))}


def test_a_name_with_brackets_is_a_name(photos, tmp_path):
    (photos / "one.jpg").rename(photos / "[1].jpg")
    assert [s.name for s in find([str(photos / "[1].jpg")], tmp_path / "out")] == ["[1]"]


@pytest.mark.parametrize(
    ("inputs", "out", "words"),
    [
        (["photos"], "photos", "the output folder photos is inside the input photos"),
        (["photos"], "photos/out", "the output folder photos/out is inside the input photos"),
        (["photos/**/*.jpg"], "photos/trip/x", "is inside the input"),
        (["photos/*/*.jpg"], "photos/x", "is inside the input"),
        (["photos/t*/*/*.webp"], "photos/trip", "is inside the input"),
        (["photos/trip/../.."], "out", "the output folder out is inside the input"),
        (["out/masks"], "out", "the input out/masks is inside the output folder out"),
        (["out/overlays/a.jpg"], "out", "the input out/overlays/a.jpg is inside the output folder"),
        (["no such.jpg"], "out", "no such.jpg: no such file or folder"),
        (["photos/*.gif"], "out", "photos/*.gif: matches no file"),
        (["empty"], "out", "empty: holds no image (.bmp, .dcm, .gif"),
        (["twins"], "out", "twins/a.jpg and twins/a.png would both be written to a.png; rename one"),
        (
            ["photos/one.jpg", "photos/trip/one.jpg"],
            "out",
            "Pictures keep their folders where the input is the folder above those",
        ),
    ],
)
def test_what_cannot_go_well_is_refused_before_anything_is_done(
    predict, photos, tmp_path, monkeypatch, inputs, out, words
):
    monkeypatch.chdir(tmp_path)
    for name in ("twins/a.jpg", "twins/a.png", "out/masks/a.png", "out/overlays/a.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "one.jpg", name)
    Path("empty").mkdir()
    before = files(tmp_path)
    code, _, complained = predict(*inputs, "-o", out)
    assert code == 1
    assert words in complained
    assert complained.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize("own", ["masks", "overlays"])
def test_true_masks_in_the_output_folder_are_never_written_over(predict, photos, tmp_path, own):
    """Somebody's data may have the pictures in `images` and their masks in `masks`, beside them."""
    mine = tmp_path / "mine"
    shutil.copytree(photos, mine / "images")
    (mine / own).mkdir()
    (mine / own / "one.png").write_bytes(b"drawn by hand")
    before = files(tmp_path)
    code, _, complained = predict(mine / "images", "-o", mine)
    assert (code, complained.count("\n")) == (1, 1)
    assert complained.startswith(f"error: {mine / own} holds files that `segpipe predict` did not write")
    assert files(tmp_path) == before
    assert (mine / own / "one.png").read_bytes() == b"drawn by hand"
    assert predict(mine / "images", "-o", tmp_path / "out")[0] == 0
    assert predict(mine / "images", "-o", tmp_path / "out")[0] == 0, "its own are written anew"


def test_one_file_given_twice_is_predicted_once(predict, photos, tmp_path):
    assert predict(photos, photos / "one.jpg", f"{photos}/*.jpg", "-o", tmp_path / "out")[0] == 0
    assert len(rows(tmp_path / "out/shares.csv")) == 5


STEMS = st.text("ab.é é[*", min_size=1, max_size=4).filter(lambda s: s.strip(". ") and s[0] != ".")
TREES = st.sets(
    st.tuples(
        st.lists(STEMS.map(lambda s: f"dir {s}"), max_size=2).map(tuple),
        STEMS,
        st.sampled_from([".jpg", ".PNG", ".webp"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_every_picture_of_a_tree_has_a_name_of_its_own_or_the_tree_is_refused(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree") / "in"
    for folders, stem, suffix in tree:
        path = root.joinpath(*folders, stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stem.encode())
    stems = {(folders, stem) for folders, stem, _ in tree}
    if len(stems) < len(tree):
        with pytest.raises(UserError, match="would both be written to"):
            find([str(root)], root.parent / "out")
        return
    found = find([str(root)], root.parent / "out")
    assert {source.name for source in found} == {"/".join([*f, s]) for f, s in stems}
    for source in found:
        assert source.path.relative_to(root).as_posix().startswith(f"{source.name}.")


def test_names_of_any_bytes_and_any_length_are_kept(predict, photos, tmp_path):
    long, odd = "n" * 251 + ".jpg", os.fsdecode(b"caf\xe9 \n.jpg")
    for name in (long, odd):
        shutil.copy(photos / "one.jpg", photos / name)
    assert predict(photos, "-o", tmp_path / "out")[0] == 0
    masks = tmp_path / "out/masks"
    assert (masks / long.replace(".jpg", ".png")).is_file()
    assert (masks / odd.replace(".jpg", ".png")).is_file()
    assert os.fsencode(str(photos / odd)) in (tmp_path / "out/shares.csv").read_bytes()


def test_an_overlay_of_a_picture_that_jpeg_cannot_hold_has_every_nth_pixel(predict, photos, tmp_path):
    Image.new("RGB", (65_501, 3), "red").save(photos / "strip.png")
    out = tmp_path / "out"
    assert predict(photos, "-o", out)[0] == 0
    assert Image.open(out / "masks/strip.png").size == (65_501, 3)
    assert Image.open(out / "overlays/strip.jpg").size == (32_751, 2)


def test_a_picture_whose_files_have_too_long_a_name_is_listed_and_the_rest_is_done(
    predict, photos, tmp_path
):
    """Names have 255 bytes at most: a mask is longer than a picture without suffix, by `.png`."""
    too_long, out = photos / ("n" * 252), tmp_path / "out"
    shutil.copy(photos / "one.jpg", too_long)
    code, _, complained = predict(photos, too_long, "-o", out)
    assert (code, "1 of 6 pictures could not be read" in complained) == (1, True)
    failed = rows(out / "failed.csv")
    assert failed == [
        {"path": str(too_long), "reason": "a name that is too long for a file that is written of it"}
    ]
    assert len(files(out / "masks")) == len(rows(out / "shares.csv")) == 5


@pytest.mark.parametrize("how", ["npz", "png"])
@pytest.mark.parametrize("options", [[], ["--tile"], ["--tta"], ["--scales", "1,2"]])
def test_probabilities_come_back_in_16_bits(predict, model, photos, tmp_path, how, options):
    out = tmp_path / "out"
    assert predict(photos, "-o", out, "--probabilities", how, *options)[0] == 0
    expected = load_model(model).predict_probabilities(
        photos / "trip/one.jpg",
        tile="--tile" in options,
        tta="--tta" in options,
        scales=(1.0, 2.0) if "--scales" in options else (1.0,),
    )
    stem = out / "probabilities/trip/one"
    if how == "npz":
        with np.load(f"{stem}.npz") as content:
            assert content.files == PETS.names
            read = [content[name] for name in PETS.names]
    else:
        names = ("0_pet", "1_background", "2_border")
        read = [np.asarray(Image.open(stem / f"{name}.png")) for name in names]
    assert all(channel.dtype == np.uint16 for channel in read)
    np.testing.assert_allclose(np.stack(read, -1) / 65535, expected, atol=0.51 / 65535)
    mask = np.asarray(Image.open(out / "masks/trip/one.png"))
    second, first = np.sort(expected, -1)[..., -2:].transpose(2, 0, 1)
    clear = first - second > 2 / 65535
    assert (np.argmax(read, 0)[clear] + 1 == mask[clear]).all()


def test_class_names_may_be_anything(tmp_path, rng):
    names = ["file", "a/b", "a b", "x" * 40]
    channels = rng.random((4, 5, 6), np.float32)
    for write in outputs.WRITERS.values():
        write(tmp_path / "p", channels, names)
    with np.load(tmp_path / "p.npz") as content:
        assert (content["a/b"] == (channels[1] * 65535).round()).all()
    assert files(tmp_path / "p") == ["0_file.png", "1_a_b.png", "2_a_b.png", f"3_{'x' * 40}.png"]


def test_tiles_on_the_command_line_are_those_of_python(predict, model, tmp_path, rng):
    pixels = rng.integers(0, 256, (100, 210, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    assert predict(tmp_path / "large.png", "-o", tmp_path / "out", "--tile")[0] == 0
    predictor = load_model(model)
    mask = np.asarray(Image.open(tmp_path / "out/masks/large.png"))
    assert (mask == predictor.predict(pixels, tile=True) + 1).all()
    assert (mask != predictor.predict(pixels) + 1).any()


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ("1;2", "--scales 1;2: expected numbers with commas, such as 1,1.25"),
        ("", "--scales : expected numbers"),
        ("1,0", "a scale of 0; expected 0.25 to 4"),
        ("1,1.25", "the scales 1 and 1.25 both come to 32 x 32 px, because edges are multiples of 32;"),
    ],
)
def test_scales_that_cannot_be_meant_are_refused_before_anything_is_done(
    predict, photos, tmp_path, scales, words
):
    code, _, complained = predict(photos, "-o", tmp_path / "out", "--scales", scales)
    assert code == 1
    assert complained.startswith(f"error: {words}")
    assert complained.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(model, tmp_path, rng):
    predictor = load_model(model)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / "picture.jpg")
    (source,) = find([str(tmp_path / "picture.jpg")], tmp_path / "out")

    def peak(count):
        sources = [source._replace(name=str(number)) for number in range(count)]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        work = folder.FilePredictor(predictor, tmp_path / "out", folder.Options())
        for _ in work.results(sources):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak - before

    peak(130)  # imports, and Keras' graph
    few, many = peak(130), peak(1040)
    assert many < 1.25 * few, "no picture, no row"


@pytest.mark.parametrize("ending", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_run_that_is_ended_leaves_whole_files_and_the_next_one_writes_the_rest(
    model, photos, tmp_path, predict, ending
):
    shutil.copytree(photos, tmp_path / "many/0")
    for number in range(1, 400):
        shutil.copytree(tmp_path / "many/0", tmp_path / f"many/{number}", copy_function=os.link)
    out = tmp_path / "out"
    command = ["segpipe", "predict", tmp_path / "many", "-o", out, "--model", model]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    while not (out / "overlays/3").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(ending)
    _, complained = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in complained
    written = [path for path in out.rglob("*.*") if path.suffix in (".png", ".jpg")]
    assert 6 < len(written) < 2 * 2000
    for path in written:
        Image.open(path).load()
    assert not (out / "shares.csv").exists()
    if ending == signal.SIGINT:
        assert [*out.rglob(".*.partial")] == []
    assert predict(tmp_path / "many/3", "-o", out)[0] == 0
    assert len(rows(out / "shares.csv")) == 5


def test_a_model_that_is_missing_is_named_at_once(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["segpipe", "predict", str(photos), "-o", str(tmp_path / "out")])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.startswith(
        "error: models/model.keras: no such file; `dvc repro train`"
    )


def test_a_predictor_needs_no_more_than_network_and_card():
    predictor = Predictor(network((32, 32)), card((32, 32)))
    assert predictor.batch_size == 32
    assert Predictor(network((512, 512)), card((512, 512))).batch_size == 2


def test_without_write_access_it_says_where_and_leaves_nothing(predict, tmp_path, rng, locked_disk):
    draw_photo(rng, 40, 30)[0].save(tmp_path / "a.png")
    code, _, complained = predict(tmp_path / "a.png", "-o", locked_disk / "out")
    assert (code, complained.count("\n")) == (1, 1)
    assert complained.startswith(f"error: {locked_disk}/out") and "Read-only file system" in complained
    assert [path.name for path in locked_disk.iterdir()] == ["kept"]
