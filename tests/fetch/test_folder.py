"""The folder source: layouts, splits, and what is missing as a whole."""

import shutil
import sys

import pydantic
import pytest
from helpers import PETS, ROOT, run

from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.params import FolderParams
from segpipe.fetch.sample import Sample


def names(root, layout="pairs", share=0.3):
    found = [s for s in layouts.samples(layout, root, share, PETS) if isinstance(s, Sample)]
    return {split: [s.name for s in found if s.split == split] for split in ("test", "train")}


def test_test_comes_first_and_each_split_is_in_name_order(pairs):
    (pairs / "train.txt").write_text("photo 07\nphoto 02\n")
    (pairs / "test.txt").write_text("photo 05\nphoto 01\n")
    assert names(pairs) == {"test": ["photo 01", "photo 05"], "train": ["photo 02", "photo 07"]}
    note, *found = layouts.samples("pairs", pairs, 0.3, PETS)
    assert [s.split for s in found] == ["test", "test", "train", "train"]
    assert note.text == "not used: pictures in no list (8)"


def test_adding_files_moves_no_sample_between_the_splits(pairs):
    before = names(pairs)
    for number in range(40, 60):
        shutil.copy(pairs / "images/photo 00.jpg", pairs / "images" / f"new {number}.jpg")
        shutil.copy(pairs / "masks/photo 00.png", pairs / "masks" / f"new {number}.png")
    after = names(pairs)
    assert all(set(before[split]) <= set(after[split]) for split in before)


def test_sub_folders_are_part_of_the_name(pairs):
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (pairs / kind / "day two").mkdir()
        (pairs / kind / f"photo 00.{suffix}").rename(pairs / kind / "day two" / f"photo 00.{suffix}")
    assert "day two/photo 00" in names(pairs)["train"] + names(pairs)["test"]


def test_the_pets_layout_is_read_with_its_official_lists(pet_dir):
    found = names(pet_dir, "oxford")
    assert (len(found["train"]), len(found["test"])) == (300, 298)
    assert "Abyssinian_34" not in found["train"] + found["test"], "it is in neither list"


@pytest.mark.parametrize(
    ("remove", "layout", "words"),
    [
        (".", "pairs", "there is no folder"),
        ("masks", "pairs", r"12 images \(in images\), and no masks that go with them; put masks of"),
        (None, "oxford", "annotations/trimaps: no such folder"),
    ],
)
def test_a_missing_folder_is_named(pairs, remove, layout, words):
    if remove:
        shutil.rmtree(pairs / remove)
    with pytest.raises(UserError, match=words):
        names(pairs, layout)


def test_an_empty_folder_of_images_is_met_with_what_there_is(pairs):
    for path in (pairs / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"my data: 12 images \(in masks\), and no masks"):
        names(pairs)


def test_one_list_alone_is_refused(pairs):
    (pairs / "train.txt").write_text("photo 01\n")
    with pytest.raises(UserError, match=r"holds the train list alone; give both"):
        names(pairs)


def test_what_macos_leaves_in_archives_is_no_sample(pairs):
    (pairs / "images" / "._photo 00.jpg").write_bytes(b"resource fork")
    assert sum(len(split) for split in names(pairs).values()) == 12


def test_a_list_with_a_byte_order_mark_and_windows_line_ends_is_read(pairs):
    (pairs / "train.txt").write_bytes("photo 01\r\nphoto 02\r\n".encode("utf-8-sig"))
    (pairs / "test.txt").write_bytes("photo 03\r\n".encode("utf-8-sig"))
    assert names(pairs) == {"test": ["photo 03"], "train": ["photo 01", "photo 02"]}


def test_a_list_in_utf_16_is_read_and_one_in_another_encoding_is_named(pairs):
    (pairs / "train.txt").write_text("photo 01", "utf-16")
    (pairs / "test.txt").write_text("photo 02", "utf-16")
    assert names(pairs) == {"test": ["photo 02"], "train": ["photo 01"]}
    (pairs / "test.txt").write_bytes("phöto".encode("latin-1"))
    with pytest.raises(UserError, match=r"test\.txt: not UTF-8 text"):
        names(pairs)


def test_a_layout_is_a_module_with_the_two_functions_and_its_name_in_the_table():
    others = {
        "__init__", "brush", "coco_objects", "coco_pictures", "lists", "looks", "matching", "partners",
        "polygons", "regions", "streams", "texts", "unmatched", "versions", "yolosplits", "yolotexts",
    }  # fmt: skip
    folder = ROOT / "src/segpipe/fetch/layouts"
    assert {path.stem for path in folder.glob("*.py")} - others == {*layouts.LAYOUTS}
    for name in layouts.LAYOUTS:
        module = layouts.open_layout(name)
        assert callable(module.seen)
        assert callable(module.samples)


@pytest.mark.parametrize("layout", ["pair", None, ["pairs"]])
def test_a_layout_that_is_not_in_the_table_is_named_with_those_that_are(layout):
    words = rf"no layout of this name.* \(there are {', '.join(layouts.LAYOUTS)}\)"
    with pytest.raises(pydantic.ValidationError, match=words) as error:
        FolderParams(path="a", layout=layout, test_share=0.3)
    assert ("did you mean pairs?" in str(error.value)) == (layout is not None)


def test_params_know_the_layouts_without_importing_them():
    heavy = {"PIL", "pycocotools", "tensorflow", "segpipe.fetch.layouts.coco"}
    code = f"import sys, segpipe.fetch.params; print(sorted({heavy} & {{*sys.modules}}))"
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "[]\n"
