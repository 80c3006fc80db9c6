"""Roboflow's masks: pairs in the folders of splits, the names of values, versions of a photograph."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_folders import photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import roboflow
from segpipe.fetch.raw import check
from segpipe.fetch.sample import Problem, Sample

TABLE = ClassTable(
    (SegmentationClass("background", 0, "#999999"), SegmentationClass("thing", 1, "#0072b2"))
)
STEMS = {
    "train": ("a_jpg.rf.0f", "a_jpg.rf.1f", "b_png.rf.2f"),
    "valid": ("c_jpg.rf.3f",),
    "test": ("d",),
}


@pytest.fixture
def export(tmp_path, rng):
    """Three splits; the mask of each picture has a row of ones for each letter of its name."""
    for part, stems in STEMS.items():
        for stem in stems:
            mask = np.zeros((30, 40), np.uint8)
            mask[: len(stem)] = 1
            save(photo(rng), tmp_path / part / f"{stem}.jpg")
            save(Image.fromarray(mask), tmp_path / part / f"{stem}_mask.png")
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, thing\n")
    (tmp_path / "README.roboflow.txt").write_text("masks - v1\n")
    return tmp_path


def samples(root):
    items = list(layouts.samples("roboflow", root, 0.5, TABLE))
    assert all(isinstance(one, Sample) for one in items)
    return {one.name: one for one in items}


def test_the_export_is_found_with_its_splits_and_names(export):
    assert next(iter(layouts.layouts_of(export))) == "roboflow"
    found = samples(export)
    split_of = {name: one.split for name, one in found.items()}
    words = {"train": "train", "valid": "val", "test": "test"}
    assert split_of == {f"{part}/{stem}": words[part] for part in STEMS for stem in STEMS[part]}
    assert roboflow.names(export) == {0: "background", 1: "thing"}
    for name, one in found.items():
        mask = decode_png(check(one, TABLE).mask)
        assert mask.sum() == 40 * len(name.rpartition("/")[2]) and mask[0].all()


def test_versions_of_one_photograph_are_one_group(export):
    groups = {name: one.group for name, one in samples(export).items()}
    assert groups["train/a_jpg.rf.0f"] == groups["train/a_jpg.rf.1f"] == "train/a_jpg"
    assert groups["train/b_png.rf.2f"] == "train/b_png"
    assert groups["test/d"] == ""


def test_one_folder_is_split_by_hash(export):
    (export / "train").rename(export.parent / "one")
    found = samples(export.parent / "one")
    assert found.keys() == {*STEMS["train"]}
    assert {one.group for one in found.values()} == {"a_jpg", "b_png"}


def test_a_picture_without_its_mask_is_named(export):
    (export / "train/b_png.rf.2f_mask.png").unlink()
    items = layouts.samples("roboflow", export, 0.5, TABLE)
    (problem,) = (str(one) for one in items if isinstance(one, Problem))
    assert problem.startswith("train/b_png.rf.2f.jpg: no mask for its partner")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Pixel Value, Class\r\n0, background\r\n7, "road, wet"\r\n', {0: "background", 7: "road, wet"}),
        ("0, background\n7, road, wet\n", {0: "background", 7: "road, wet"}),
        ("\ufeff0,background\n1,\n", {0: "background", 1: "class_1"}),
        ("", {}),
    ],
)
def test_names_are_read_as_they_stand(tmp_path, text, found):
    (tmp_path / "_classes.csv").write_text(text, encoding="utf-8")
    assert roboflow.names(tmp_path) == found


@pytest.mark.parametrize(
    "text", ["Pixel Value, Class\n256, sky\n", "0, sky\nroad, 1\n", "0, sky\n1\n", "0, sky\n²,a\n"]
)
def test_a_row_without_a_value_is_named(tmp_path, text):
    (tmp_path / "_classes.csv").write_text(text)
    with pytest.raises(UserError, match=r"_classes.csv: line 2 is no value 0 to 255 and a name"):
        roboflow.names(tmp_path)


def test_folders_whose_values_differ_are_refused(export):
    (export / "test/_classes.csv").write_text("0, background\n1, other\n")
    with pytest.raises(UserError, match="1 is 'thing', and 'other' in another folder"):
        samples(export)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=80), st.lists(st.text("0123, \"'\n", max_size=9)).map("\n".join)))
def test_any_text_gives_names_or_an_error_of_one_line(tmp_path, text):
    (tmp_path / "_classes.csv").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        assert all(0 <= value <= 255 for value in roboflow.names(tmp_path))
    except UserError as error:
        assert "\n" not in str(error)
