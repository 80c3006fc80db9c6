"""Groups that the user names: which sample is in which, and that no list parts one."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_folders import save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.index import read_index
from segpipe.fetch import layouts
from segpipe.fetch.groups import GroupFile, assigned, group_param, unparted
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Problem, Sample
from segpipe.preprocess.splitting import SplitRule


def sample(name, split=None, group=""):
    return Sample(name, split, f"images/{name}.jpg", f"masks/{name}.png", Encoded(b"", b""), group)


def groups(names, param, root):
    found, notes = assigned([sample(name) for name in names], param, root)
    assert [one.name for one in found] == list(names)
    return [one.group for one in found], [note.text for note in notes]


def test_a_regular_expression_is_searched_in_the_name(tmp_path):
    names = ["seq1_001", "train/seq1_002", "seq20_001"]
    assert groups(names, r"(seq\d+)_", tmp_path) == (["seq1", "seq1", "seq20"], [])


def test_what_does_not_match_is_a_group_of_its_own_and_counted(tmp_path):
    found, notes = groups(["seq1_001", "photo", "seq1_002"], r"(seq\d+)_", tmp_path)
    assert found == ["seq1", "", "seq1"]
    (note,) = notes
    assert note == (
        "data.folder.group = '(seq\\\\d+)_': 1 of 3 pictures are groups of their own, such as photo"
    )


def test_a_table_without_a_column_for_names_has_them_in_its_first_other_column(tmp_path):
    (tmp_path / "g.csv").write_text("patient,filename\np1,a.jpg\np2,b.jpg\n")
    assert groups(["a", "b"], GroupFile(file="g.csv", column="patient"), tmp_path) == (["p1", "p2"], [])


def test_a_table_that_is_none_is_one_line(tmp_path):
    (tmp_path / "g.csv").write_text('name,patient\n"' + "a" * 200_000)
    with pytest.raises(UserError, match=r"g\.csv: (not a CSV file|too few columns)") as error:
        groups(["a"], GroupFile(file="g.csv", column="patient"), tmp_path)
    assert len(str(error.value)) < 200 + len(str(tmp_path))


def test_an_expression_that_matches_nothing_is_shown_with_three_names(tmp_path):
    words = r"'(patient_\\d+)': it gives no picture a group; names are such as a1, a2, a3"
    with pytest.raises(UserError, match=re.escape(words) + "$"):
        groups(["a1", "a2", "a3", "a4"], r"(patient_\d+)", tmp_path)


def test_without_a_param_the_layouts_own_groups_stay_and_with_one_they_go(tmp_path):
    cars = [sample("car1_01", group="car1"), sample("car2_01", group="car2")]
    assert assigned(cars, "none", tmp_path) == (cars, [])
    found, _ = assigned(cars, r"(_01)", tmp_path)
    assert [one.group for one in found] == ["_01", "_01"]


CSV = GroupFile(file="groups.csv", column="patient")


@pytest.mark.parametrize(
    "text",
    [
        "image,patient\na,1\nb,1\nday/c,2\n",
        "patient,Name\n1,a.png\n1,images/b.jpg\n2,day\\c.jpg\n",  # with suffixes, as files, from Windows
        "\ufeffscan;patient\r\na; 1\r\nb;1\r\n\r\nc;2\r\n",  # Excel's; the first column, the last part
    ],
)
def test_a_file_gives_groups_by_name_with_or_without_suffix(tmp_path, text):
    (tmp_path / "groups.csv").write_bytes(text.encode())
    assert groups(["a", "b", "day/c"], CSV, tmp_path) == (["1", "1", "2"], [])


def test_rows_of_no_picture_and_pictures_of_no_row_are_counted(tmp_path):
    (tmp_path / "groups.csv").write_text("name,patient\na,1\nz,2\nb,\n")
    found, notes = groups(["a", "b", "c"], CSV, tmp_path)
    assert found == ["1", "", ""]
    assert notes == [
        "data.folder.group: column patient of groups.csv: 2 of 3 pictures are groups of their own, "
        "such as b",
        "groups.csv: 1 of 3 names are of no picture, such as z",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,patients\na,1\n", "no column patient; did you mean patients?; it has name, patients"),
        ("", "no column patient; it has none"),
        ("name,patient\na,1\na,2\n", "a is in two groups, 1 and 2"),
        ("name,patient\na\n", "too few columns in the row a"),
        ("name,patient\nz,1\n", "it gives no picture a group; names are such as a"),
        (None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, text, words):
    if text is not None:
        (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(UserError, match=rf"groups\.csv.*{re.escape(words)}"):
        groups(["a"], CSV, tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("seq", r"0 groups in brackets; one is needed, such as '\(seq\\d\+\)_'"),
        ("(a)(b)", "2 groups"),
        ("(a", "no regular expression"),
        (7, "none, a regular expression"),
        ({"file": "a.csv"}, "none, a regular expression"),
    ],
)
def test_a_param_of_another_form_is_refused_with_what_is_allowed(value, words):
    with pytest.raises(ValueError, match=words):
        group_param(value)


def test_a_param_is_none_an_expression_or_a_file():
    assert group_param("none") == "none"
    assert group_param("(a+)") == "(a+)"
    assert group_param({"file": "groups.csv", "column": "patient"}) == CSV


def test_lists_that_part_a_group_are_a_problem_at_each_later_sample():
    samples = [
        sample("a1", "test", "a"), sample("a2", "val", "a"), sample("b1", "val", "b"),
        sample("a3", "train", "a"), sample("b2", "train", "b"), sample("c", "train"),
    ]  # fmt: skip
    found = [str(one) if isinstance(one, Problem) else one.name for one in unparted(samples)]
    assert found == [
        "a1",
        "images/a2.jpg: group a in two splits, test and val; "
        "expected it in one of them, or this picture in test",
        "b1",
        "images/a3.jpg: group a in two splits, test and train; "
        "expected it in one of them, or this picture in test",
        "images/b2.jpg: group b in two splits, val and train; "
        "expected it in one of them, or this picture in val",
        "c",
    ]


@given(st.lists(st.tuples(st.sampled_from(["test", "val", "train"]), st.sampled_from("abcd"))))
def test_no_group_that_is_left_is_in_two_splits(drawn):
    order = ("test", "val", "train")
    samples = [
        sample(str(n), s, g) for n, (s, g) in enumerate(sorted(drawn, key=lambda d: order.index(d[0])))
    ]
    splits = {}
    for one in unparted(samples):
        if isinstance(one, Sample):
            assert splits.setdefault(one.group, one.split) == one.split
    assert {*splits} == {group for _, group in drawn}


def test_copies_of_a_picture_stay_together_where_validation_is_cut(tmp_path, rng):
    root = tmp_path / "own"
    for name in (f"{letter}{number}" for letter in "ab" for number in range(20)):
        level = 10 * int(name[1:])  # flat pictures, which have no perceptual hash
        save(Image.new("RGB", (40, 30), (level, 255 - level, 7)), root / "images" / f"{name}.png")
        save(Image.fromarray(np.eye(30, 40, dtype=np.uint8)), root / "masks" / f"{name}.png")
    table = ClassTable((SegmentationClass("no", 0, "#999999"), SegmentationClass("yes", 1, "#0072b2")))
    found = layouts.samples("pairs", root, 0.2, table)
    write_raw("own", found, table, True, 100, tmp_path / "raw", processes=1)
    index = read_index(tmp_path / "raw")
    splits = SplitRule(0.4).assign(index).splits
    pairs = [(splits[f"a{n}"], splits[f"b{n}"]) for n in range(20) if {f"a{n}", f"b{n}"} <= {*splits}]
    assert {("train", "train"), ("val", "val")} <= {*pairs}
    assert all(one == other for one, other in pairs)
