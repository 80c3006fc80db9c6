"""Layouts of the user's own folder: what goes together, what is drawn, what is refused."""

import shutil

import pytest
from own_folders import FOLDERS, HEIGHT, WIDTH, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.records import open_records, read
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Problem, Sample
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records

CATS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    ),
    (255,),
)


def found(root, layout, table=CATS, share=0.3):
    return list(layouts.samples(layout, root, share, table))


def names(root, layout, **more):
    items = [item for item in found(root, layout, **more) if isinstance(item, Sample)]
    return {split: {s.name for s in items if s.split == split} for split in ("train", "val", "test")}


# --- splits -------------------------------------------------------------------------------------


def test_train_val_and_test_are_what_their_names_say(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    for split, found_there in names(tmp_path, "splits").items():
        assert {name.split("/")[0] for name in found_there} == {split}


def test_val_is_the_test_split_where_there_is_no_other(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    shutil.rmtree(tmp_path / "testannot")  # a challenge's test images, without masks
    split = names(tmp_path, "splits")
    assert {name.split("/")[0] for name in split["test"]} == {"val"}
    assert len(split["train"]) == 10


def test_train_alone_is_split_by_hash(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    for part in ("val", "test"):
        shutil.rmtree(tmp_path / f"{part}annot")
    split = names(tmp_path, "splits")
    assert len(split["train"]) + len(split["test"]) == 10
    assert split["test"]


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("train", "train_labels", "_L"),
        ("train", "train-masks", ""),
        ("train/img", "train/gt", "_gt"),
        ("imgs/train", "labels/train", "_label"),
        ("images/training", "annotations/training", ""),
    ],
)
def test_the_usual_words_for_images_and_masks_are_known(tmp_path, rng, images, masks, ending):
    for part in ("train", "test"):
        save(photo(rng), tmp_path / images.replace("train", part) / "a.jpg")
        save(Image.new("L", (WIDTH, HEIGHT)), tmp_path / masks.replace("train", part) / f"a{ending}.png")
    word = "training" if "training" in images else "train"
    assert names(tmp_path, "splits") == {
        "train": {f"{word}/a"}, "val": set(), "test": {word.replace("train", "test") + "/a"},
    }  # fmt: skip
    assert next(iter(layouts.layouts_of(tmp_path))) == "splits"


def test_a_folder_without_parts_for_training_is_named(pairs):
    for kind in ("images", "masks"):
        (pairs / kind / "test").mkdir()
        for path in (pairs / kind).glob("photo*"):
            path.rename(path.parent / "test" / path.name)
    with pytest.raises(UserError, match=r"no folders for training, but test/; expected train/ with"):
        found(pairs, "splits")


# --- Carvana ------------------------------------------------------------------------------------


def test_the_views_of_a_car_stay_together_in_test_and_in_validation(tmp_path, rng):
    FOLDERS["Carvana"][1](tmp_path / "cars", rng)
    table = ClassTable(
        (SegmentationClass("ground", 0, "#000000"), SegmentationClass("car", 255, "#ffffff"))
    )
    items = found(tmp_path / "cars", "carvana", table, 0.2)
    write_raw("cars", items, table, False, 100, tmp_path / "raw", processes=1)
    format_ = RecordFormat((32, 32), "stretch")
    write_records(
        tmp_path / "raw", table, format_, SplitRule(0.25), 100, tmp_path / "records", threads=1
    )
    manifest = open_records(tmp_path / "records")
    cars = {s: [sample["name"].split("_")[0] for sample in read(manifest, s)] for s in manifest.splits}
    assert sum(map(len, cars.values())) == 32
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {*cars[one]} & {*cars[other]}
    assert all(cars[split].count(car) == 4 for split in cars for car in cars[split])


def test_a_number_at_the_end_of_a_name_makes_no_car(tmp_path, rng):
    for number in range(1, 13):
        save(photo(rng), tmp_path / f"photo_{number:02d}.jpg")
        save(Image.new("L", (WIDTH, HEIGHT)), tmp_path / f"photo_{number:02d}_mask.gif")
    assert all(s.group == "" for s in found(tmp_path, "carvana"))
    split = names(tmp_path, "carvana")
    assert split["train"]
    assert split["test"]


def test_a_car_without_a_mask_is_reported(tmp_path, rng):
    FOLDERS["one folder"][1](tmp_path, rng)
    (tmp_path / "car 3_mask.gif").unlink()
    (problem,) = (item for item in found(tmp_path, "carvana") if isinstance(item, Problem))
    assert str(problem).startswith("car 3.jpg: no mask for its partner; expected a file of the same")


# --- VOC ----------------------------------------------------------------------------------------


def test_vocs_val_is_the_test_split_until_there_is_one(tmp_path, rng):
    FOLDERS["VOC"][1](tmp_path, rng)
    assert names(tmp_path, "voc")["test"] == {f"2007_{n:06d}" for n in range(10, 14)}
    lists = tmp_path / "ImageSets/Segmentation"
    (lists / "test.txt").write_text("2007_000010\n")
    (lists / "val.txt").write_text("2007_000011\n")
    split = names(tmp_path, "voc")
    assert split["test"] == {"2007_000010"}
    assert split["val"] == {"2007_000011"}
    assert len(split["train"]) == 10


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["coco", "labelme"])
def test_a_folder_without_annotations_is_named(pairs, layout):
    with pytest.raises(UserError, match="no JSON file"):
        found(pairs, layout)
