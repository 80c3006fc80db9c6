"""The user's own splits hold, however folders and lists are called; what is not read as one is said."""

import json

import pytest
from own_folders import photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import matching
from segpipe.fetch.sample import Note, Problem, Sample

TABLE = ClassTable((SegmentationClass("cat", 1, "#0072b2"),))


@pytest.fixture
def draw(tmp_path, rng):
    """Draw pictures and masks of these names below a folder."""

    def write(names, image="images/{}.jpg", mask="masks/{}.png"):
        for name in names:
            save(photo(rng), tmp_path / image.format(name))
            save(Image.new("L", (40, 30), 1), tmp_path / mask.format(name))
        return tmp_path

    return write


def read(root, layout=None, test_share=0.5):
    """Return the names of each split by their last part, problems, and notes."""
    layout = layout or next(iter(layouts.layouts_of(root)))
    found = list(layouts.samples(layout, root, test_share, TABLE))
    splits: dict = {}
    for one in found:
        if isinstance(one, Sample):
            splits.setdefault(one.split, set()).add(one.name.rpartition("/")[2])
    problems = [str(one) for one in found if isinstance(one, Problem)]
    return splits, problems, [one.text for one in found if isinstance(one, Note)]


@pytest.mark.parametrize(
    ("image", "mask", "train", "held_out"),
    [
        ("images/{0}/{1}.jpg", "annotations/{0}/{1}.png", "train2017", "val2017"),
        ("{0}/seq0/Images/{1}.jpg", "{0}/seq0/Labels/{1}.png", "uavid_train", "uavid_val"),
        ("{0}/images/{1}.jpg", "{0}/masks/{1}.png", "train_set", "test_set"),
        ("{0}/Images/{1}.jpg", "{0}/Masks/{1}.png", "Training Data", "Test Data"),
        ("{0}/image/{1}.jpg", "{0}/mask/{1}.png", "TrainDataset", "TestDataset"),
        ("{0}/{0}-Image/{1}.jpg", "{0}/{0}-Mask/{1}.png", "DUTS-TR", "DUTS-TE"),
        ("{0}/images/{1}.jpg", "{0}/masks/{1}.png", "train", "test1"),
        ("data/{0}/img/{1}.jpg", "data/{0}/gt/{1}.png", "2020-training", "2021-testing"),
        ("images_{0}/{1}.jpg", "masks_{0}/{1}.png", "train", "test"),
    ],
)
def test_folders_that_differ_in_the_word_for_a_split_are_splits(draw, image, mask, train, held_out):
    for folder, names in ((train, "abcde"), (held_out, "fg")):
        root = draw(names, image.format(folder, "{}"), mask.format(folder, "{}"))
    splits, problems, notes = read(root)
    assert splits == {"train": {*"abcde"}, "test": {*"fg"}}
    assert (problems, notes) == ([], [])


def test_a_word_inside_a_name_is_no_split_without_a_folder_that_differs_in_it_alone():
    assert matching.split_words(["crash_test", "normal"]) == {}
    assert matching.split_words(["test1", "test2", "test3"]) == {}
    assert matching.split_words(["trainee", "contest", "value"]) == {}
    assert matching.split_words(["bullet_train", "crash_test"]) == {}
    assert matching.split_words(["tr", "te"]) == {}
    assert matching.split_words(["Train", "extra"]) == {"train": "train"}
    assert matching.split_words(["TestB", "trainA", "extra"]) == {}
    assert matching.split_words(["site1_val", "site1_train", "site2_test"]) == {
        "site1_val": "val", "site1_train": "train", "site2_test": "test",
    }  # fmt: skip


def test_labelmes_folders_of_any_such_name_are_splits(tmp_path, rng):
    for folder, names in (("train_set", "abcd"), ("test_set", "ef")):
        for name in names:
            save(photo(rng), tmp_path / folder / f"{name}.jpg")
            shape = {"label": "cat", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
            text = json.dumps({"shapes": [shape], "imagePath": f"{name}.jpg"})
            (tmp_path / folder / f"{name}.json").write_text(text)
    assert read(tmp_path, "labelme")[0] == {"train": {*"abcd"}, "test": {*"ef"}}


@pytest.mark.parametrize(
    "files",
    [
        {"train.txt": "abcd", "valid.txt": "ef", "test.txt": "gh"},
        {"train.txt": "abcd", "validation.txt": "ef", "test.txt": "gh"},
        {"Train.txt": "abcd", "Val.TXT": "ef", "TEST.txt": "gh"},
        {"splits/train_ids.txt": "abcd", "splits/val_ids.txt": "ef", "splits/test_ids.txt": "gh"},
        {"split/train.txt": "abcd", "split/val.txt": "ef", "split/test.txt": "gh"},
        {"train.lst": "abcd", "val.lst": "ef", "test.lst": "gh"},
        {"train_list.txt": "abcd", "val.txt": "ef", "test_list.txt": "gh"},
    ],
)
def test_lists_are_read_whatever_their_word_for_a_split_is(draw, files):
    root = draw("abcdefgh")
    for name, listed in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("".join(f"{one}\n" for one in listed))
    assert read(root) == ({"train": {*"abcd"}, "val": {*"ef"}, "test": {*"gh"}}, [], [])


def test_train_and_valid_alone_are_training_and_test(draw):
    root = draw("abcd")
    (root / "train.txt").write_text("a\nb\n")
    (root / "valid.txt").write_text("c\nd\n")
    assert read(root)[0] == {"train": {*"ab"}, "test": {*"cd"}}


def test_trainval_is_the_list_of_training_where_test_is_the_only_other_one(draw):
    root = draw("abcdef", "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    folder = root / "ImageSets/Segmentation"
    folder.mkdir(parents=True)
    (folder / "trainval.txt").write_text("a\nb\nc\nd\n")
    (folder / "test.txt").write_text("e\nf\n")
    assert read(root, "voc") == ({"train": {*"abcd"}, "test": {*"ef"}}, [], [])
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "val.txt").write_text("c\nd\n")
    assert read(root, "voc")[0] == {"train": {*"ab"}, "val": {*"cd"}, "test": {*"ef"}}


def test_a_list_for_validation_alone_is_refused_and_not_passed_over(draw):
    root = draw("abcd")
    (root / "valid.txt").write_text("a.jpg\n")
    with pytest.raises(UserError, match=r"holds the valid list alone; give both train.txt and test.txt"):
        read(root, "pairs")


def test_logs_and_the_lists_of_several_folds_are_no_lists_and_are_named(draw):
    root = draw("abcd")
    for name in ("train_log.txt", "test_log.txt"):
        (root / name).write_text("epoch 1: loss 0.3\n")
    (root / "splits").mkdir()
    for fold in (1, 2):
        (root / f"splits/train_{fold}.txt").write_text("a\nb\n")
        (root / f"splits/val_{fold}.txt").write_text("c\nd\n")
    splits, problems, notes = read(root)
    assert set.union(*splits.values()) == {*"abcd"}
    assert problems == []
    named = "splits/val_1.txt, splits/val_2.txt, test_log.txt"
    assert notes == [f"pictures are split by a hash of their names; not read as splits: {named}"]


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("test.csv", "image,mask\n", "test.csv"),
        ("metadata.csv", "image_id,split\na,train\n", "the column split of metadata.csv"),
        ("folds/valid.json", "[]", "folds/valid.json"),
    ],
)
def test_what_is_called_like_a_split_and_not_read_is_named(draw, file, text, named):
    root = draw("abcd")
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(text)
    notes = read(root)[2]
    assert notes == [f"pictures are split by a hash of their names; not read as splits: {named}"]


def test_a_folder_called_like_a_split_beside_others_is_named(draw):
    for folder in ("crash_test", "street"):
        root = draw("abc", f"images/{folder}/{{}}.jpg", f"masks/{folder}/{{}}.png")
    notes = read(root)[2]
    assert notes == ["pictures are split by a hash of their names; not read as splits: crash_test/"]


def test_a_name_in_a_list_without_folders_is_the_only_picture_of_that_stem(draw):
    root = draw(["one/a", "one/b", "two/b", "two/c"], "output/{}.jpg", "output/{}_m.png")
    (root / "train.txt").write_text("a\none/b\n")
    (root / "test.txt").write_text("c\nb\n")
    splits, problems, _ = read(root, "pairs")
    assert splits == {"train": {"a", "b"}, "test": {"c"}}
    assert [one.split(";")[0] for one in problems] == ["b: no image for a name in the list"]
