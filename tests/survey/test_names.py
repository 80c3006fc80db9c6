"""Names of classes: read from the files that data sets bring, each as its tool writes it."""

import json

import pytest

from segpipe.survey.names import find_names, read_names

NNUNET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "liver": 1, "tumour": 2},
          "numTraining": 2, "file_ending": ".png"}  # fmt: skip
SUPERVISELY = {"classes": [{"title": "road side", "shape": "bitmap", "color": "#80FF00"}], "tags": []}
MAPILLARY = {"labels": [{"name": "object--car", "readable": "Car", "color": [0, 0, 142]}]}


@pytest.mark.parametrize(
    ("file", "text", "values", "names"),
    [
        ("data.yaml", "path: .\nnc: 2\nnames: ['no', cat]\n", [0, 1], {0: "no", 1: "cat"}),
        ("data.yaml", "names:\n  0: cat\n  3: dog\n", [0, 3], {0: "cat", 3: "dog"}),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, road side\n", [0, 1],
         {0: "background", 1: "road_side"}),
        ("dataset.json", json.dumps(NNUNET), [0, 1, 2], {0: "background", 1: "liver", 2: "tumour"}),
        ("dataset.json", '{"labels": {"0": "background", "1": "liver"}}', [0, 1],
         {0: "background", 1: "liver"}),
        ("meta.json", json.dumps(SUPERVISELY), ["#80ff00"], {"#80ff00": "road side"}),
        ("obj_class_to_machine_color.json", '{"cat": [1, 1, 1], "dog": [2, 2, 2]}', [0, 1, 2],
         {1: "cat", 2: "dog"}),
        ("config.json", json.dumps(MAPILLARY), ["#00008e"], {"#00008e": "Car"}),
        ("id2label.json", '{"0": "wall", "1": "building"}', [0, 1], {0: "wall", 1: "building"}),
        ("classes.json", '["sky", "road"]', [0, 1], {0: "sky", 1: "road"}),
        ("classes.csv", "id,name,r,g,b\n0,road,128,64,128\n8,rail,1,2,3\n", [0, 8],
         {0: "road", 8: "rail"}),
        ("classes.csv", "id,name,r,g,b\n0,road,128,64,128\n", ["#804080"], {"#804080": "road"}),
    ],
)  # fmt: skip
def test_lists_of_classes_are_read_as_their_tools_write_them(tmp_path, file, text, values, names):
    (tmp_path / file).write_text(text)
    assert find_names(tmp_path).of(values) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("background\ngrade 2\ngrade 1\n", {0: "background", 1: "grade_2", 2: "grade_1"}),
        ("grade 1\ngrade 2\ngrade 3\n", {0: "grade_1", 1: "grade_2", 2: "grade_3"}),
        ("2 wheeler\n3 wheeler\ncar\n", {0: "2_wheeler", 1: "3_wheeler", 2: "car"}),
        ("0: none\n1: grade 2\n2: grade 1\n", {0: "none", 1: "grade_2", 2: "grade_1"}),
        ("none 0\ngrade a 2\ngrade b 1\n", {0: "none", 1: "grade_b", 2: "grade_a"}),
        ("-1 plate\n0 sky\n1 car\n2 bus\n", {0: "sky", 1: "car", 2: "bus"}),
    ],
)
def test_a_number_is_a_value_only_where_all_lines_have_it_first_or_last(tmp_path, text, names):
    (tmp_path / "classes.txt").write_text(text)
    assert read_names(tmp_path / "classes.txt").of([0, 1, 2]) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("red\ngreen\nblue\n", ["red", "green", "blue"]),
        ("index\nthumb\n", ["index", "thumb"]),
        ("Name\ncat\n", ["cat"]),
        ("class\nred\n", ["red"]),
    ],
)
def test_a_single_word_is_a_header_only_where_it_says_what_classes_are_called(tmp_path, text, names):
    (tmp_path / "classes.txt").write_text(text)
    assert find_names(tmp_path).in_order == names


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-16", ["background", "caf\xe9"]), ("utf-8-sig", ["background", "caf\xe9"]),
     ("latin-1", ["background", "caf\xe9"])],
)  # fmt: skip
def test_names_are_read_in_the_encodings_of_all_other_files(tmp_path, encoding, expected):
    (tmp_path / "classes.txt").write_bytes("background\r\ncaf\xe9\r\n".encode(encoding))
    assert find_names(tmp_path).in_order == expected


def test_broken_utf_16_gives_no_names(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfea\0b")
    assert find_names(tmp_path).in_order == []


CONFIGURATIONS = ['{"mean": [0.0, 0.0, 0.0]}', '{"mean": [0, 0, 0], "epochs": 10, "model": {"a": 1}}']


@pytest.mark.parametrize(
    "text", ["{", "[1, 2", "null", "3", '{"labels": 5}', "[" * 100_000, *CONFIGURATIONS]
)
def test_a_file_that_is_no_list_of_classes_gives_no_names(tmp_path, text):
    for file in ("meta.json", "data.yaml"):
        (tmp_path / file).write_text(text)
        found = read_names(tmp_path / file)
        assert not found.by_value and not found.in_order


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class_id,class_name\n0,background\n1,road\n2,building\n",
         {0: "background", 1: "road", 2: "building"}),
        ("id,label_name\n0,sky\n1,road side\n2,car\n", {0: "sky", 1: "road_side", 2: "car"}),
        ("category;index\nsky;2\nroad;0\ncar;1\n", {0: "road", 1: "car", 2: "sky"}),
        ("Kategorie;Nummer\nsky;2\nroad;0\ncar;1\n", {0: "road", 1: "car", 2: "sky"}),
        ("class id\tclass name\n0\tsky\n1\troad\n2\tcar\n", {0: "sky", 1: "road", 2: "car"}),
        ("category\nbackground\nroad\nbuilding\n", {0: "background", 1: "road", 2: "building"}),
        ("label_names\nsky\nroad\ncar\n", {0: "sky", 1: "road", 2: "car"}),
    ],
)  # fmt: skip
def test_titles_of_columns_are_no_class(tmp_path, text, names):
    (tmp_path / "classes.csv").write_text(text)
    assert read_names(tmp_path / "classes.csv").of([0, 1, 2]) == names


@pytest.mark.parametrize(
    "text", ["red_green\nblue\nsky\n", "grade one\ngrade 2\ngrade 3\n", "sky,0\nroad,1\ncar,2\n"]
)
def test_a_class_is_no_title_of_a_column(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    assert len(read_names(tmp_path / "classes.txt").of([0, 1, 2])) == 3


def test_opacity_is_no_part_of_a_colour(tmp_path):
    (tmp_path / "class_dict.csv").write_text(
        "class_name,R,G,B,alpha\nroad,128,64,128,255\nsky,0,0,1,255\n"
    )
    assert find_names(tmp_path).by_value == {"#804080": "road", "#000001": "sky"}


def test_a_table_with_a_row_a_picture_names_no_classes(tmp_path):
    (tmp_path / "labels.csv").write_text("image,diagnosis\np000.jpg,naevus\np001.JPG,melanoma\n")
    assert find_names(tmp_path).file is None


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("background\nroad\n", [0, 1], ""),
        ("0 sky\n1 road\n", [0, 1], ""),
        ("road\nbuilding\n", [0, 1], "classes.txt gives its names no values: in their order, 0 is road"),
        ("road\ncar\n", [7, 26], "classes.txt gives its names no values: in their order, 7 is road"),
        ("road\ncar\n", [0, 1, 2], "classes.txt: its names are not used, as nothing says which values"),
        (
            "road\ncar\n",
            ["#804080"],
            "classes.txt: its names are not used, as nothing says which values",
        ),
    ],
)
def test_names_that_are_given_by_their_place_are_said(tmp_path, text, values, said):
    (tmp_path / "classes.txt").write_text(text)
    remark = find_names(tmp_path).remark(values)
    assert remark.startswith(said)
    assert bool(remark) == bool(said)


def test_names_in_latin_1_are_read_and_it_is_said(tmp_path):
    (tmp_path / "classes.txt").write_bytes("Stra\xdfe\nWeg\n".encode("latin-1"))
    names = find_names(tmp_path)
    assert names.in_order == ["Stra\xdfe", "Weg"]
    assert names.notes == [
        "classes.txt is not UTF-8: it is read as Latin-1; save it as UTF-8 if names are wrong"
    ]
