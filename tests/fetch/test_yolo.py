"""YOLO's polygons: which files belong together, what is drawn, what is refused."""

import io
import json

import numpy as np
import pytest
from fuzz import outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from segpipe.common import tfrecord
from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import yolo
from segpipe.fetch.raw import check, write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample

WIDTH, HEIGHT = 10, 8
TABLE = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", 1, "#0072b2"),
        SegmentationClass("traffic_light", 2, "#e69f00"),
    )
)
NAMES = "names: [cat, traffic light]\n"
BOX = "0 0.2 0.25 0.6 0.25 0.6 0.75 0.2 0.75"  # corners (2, 2) and (6, 6)


def picture(path, size=(WIDTH, HEIGHT), exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(hash(path.as_posix()) % 2**32).integers(0, 256, (*size[::-1], 3))
    more = {"exif": exif} if exif else {}
    Image.fromarray(noise.astype(np.uint8)).save(path, **more)


def pair(root, image, text=BOX):
    """A picture, and its label file unless `text` is None."""
    picture(root / image)
    if text is not None:
        label = root / yolo.label_of(image)
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)


def roboflow(root):
    for part, stem in (("train", "a"), ("train", "b"), ("valid", "c"), ("test", "d")):
        pair(root, f"{part}/images/{stem}.jpg")
    splits = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
    (root / "data.yaml").write_text(f"{splits}nc: 2\nnames: ['cat', 'traffic light']\n")
    (root / "README.roboflow.txt").write_text("Helmets - v3\n\n996 images\n")
    return root


def found(root, table=TABLE):
    return list(layouts.samples("yolo", root, 0.5, table))


def by_split(root):
    items = [one for one in found(root) if isinstance(one, Sample)]
    return {s: {one.name for one in items if one.split == s} for s in {one.split for one in items}}


def texts(items, kind):
    return [one.text if isinstance(one, Note) else str(one) for one in items if isinstance(one, kind)]


def mask_of(root, text, size=(WIDTH, HEIGHT), table=TABLE):
    """The class indices of one picture, as they stand in the raw records."""
    picture(root / "images/a.png", size)
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels/a.txt").write_text(text)
    if not (root / "data.yaml").exists():
        (root / "data.yaml").write_text(NAMES)
    (sample,) = (one for one in found(root, table) if isinstance(one, Sample))
    checked = check(sample, table)
    return str(checked) if isinstance(checked, Problem) else decode_png(checked.mask)


# --- splits -------------------------------------------------------------------------------------


def test_roboflows_export_is_found_with_its_three_splits(tmp_path):
    root = roboflow(tmp_path)
    assert next(iter(layouts.layouts_of(root))) == "yolo"
    assert by_split(root) == {"train": {"train/a", "train/b"}, "val": {"valid/c"}, "test": {"test/d"}}
    assert texts(found(root), Note) == texts(found(root), Problem) == []


def test_validation_is_the_test_split_where_there_is_no_other(tmp_path):
    for part, stem in (("train", "a"), ("train", "b"), ("val", "c")):
        pair(tmp_path, f"images/{part}/{stem}.png")
    (tmp_path / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\n{NAMES}")
    assert by_split(tmp_path) == {"train": {"train/a", "train/b"}, "test": {"val/c"}}


@pytest.mark.parametrize(
    "config",
    [
        "path: ../datasets/my-set\ntrain: images/train2017\nval: images/val2017\ntest: images/test2017",
        "train: /content/my-set/images/train2017\nval: /content/my-set/images/val2017\n",
        "path: /home/test/my-set\ntrain: images/train2017\nval: images/val2017\ntest: images/test2017",
        "path: C:\\data\\set\ntrain: images\\train2017\nval: [images\\val2017]\ntest:  # optional",
        "",
    ],
)
def test_folders_of_splits_are_found_wherever_the_set_was_made(tmp_path, config):
    for part in ("train", "val", "test"):
        pair(tmp_path, f"images/{part}2017/1.png")
    (tmp_path / "set.yaml").write_text(f"{config}\n{NAMES}")
    names = {split: {f"{split}2017/1"} for split in ("train", "val", "test")}
    assert by_split(tmp_path) == names
    assert texts(found(tmp_path), Note) == []


def test_one_folder_for_training_and_validation_is_split_by_hash(tmp_path):
    for number in range(8):
        pair(tmp_path, f"images/train2017/{number}.png")
    both = "train: images/train2017\nval: images/train2017\n"
    (tmp_path / "coco128-seg.yaml").write_text(f"path: ../datasets/coco128-seg\n{both}{NAMES}")
    assert by_split(tmp_path).keys() == {"train", "test"}
    assert texts(found(tmp_path), Note) == [
        "coco128-seg.yaml: val has the pictures of train; they are taken for train alone"
    ]


def test_lists_name_the_pictures_of_a_split(tmp_path):
    for stem in "abcd":
        pair(tmp_path, f"images/{stem}.png")
    (tmp_path / "train.txt").write_text(
        "./images/a.png\n/home/test/set/images/b.png\ndata/images/gone.png\n"
    )
    (tmp_path / "val.txt").write_text("/home/me/set/images/c.png\nimages/b.png\n")
    (tmp_path / "data.yaml").write_text(f"train: train.txt\nval: val.txt\n{NAMES}")
    assert by_split(tmp_path) == {"train": {"a"}, "test": {"b", "c"}}
    items = found(tmp_path)
    assert texts(items, Problem) == [
        "images/b.png: listed for train and for another split; expected it in one of them"
    ]
    assert texts(items, Note) == [
        "train.txt: 1 of 3 lines name no picture in the folder",
        "images/: 1 pictures that data.yaml does not name are left out",
    ]


def test_pictures_without_a_label_file_are_background_and_those_without_a_folder_of_labels_are_not(
    tmp_path,
):
    root = roboflow(tmp_path)
    pair(root, "train/images/empty.jpg", "")
    pair(root, "train/images/missing.jpg", None)
    (root / "test/labels/d.txt").unlink()
    (root / "test/labels").rmdir()
    items = found(root)
    assert texts(items, Note) == [
        "test/images/: 1 pictures are left out, as there is no folder of their labels",
        "1 pictures have no label file: they are background",
    ]
    masks = {one.name: decode_png(check(one, TABLE).mask) for one in items if isinstance(one, Sample)}
    assert masks.keys() == {"train/a", "train/b", "train/empty", "train/missing", "valid/c"}
    assert not masks["train/empty"].any() and not masks["train/missing"].any()
    assert masks["train/a"].any()


def test_a_folder_that_data_yaml_names_and_lacks_is_said(tmp_path):
    pair(tmp_path, "train/images/a.jpg")
    pair(tmp_path, "train/images/b.jpg")
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\n{NAMES}")
    assert texts(found(tmp_path), Note) == [
        "data.yaml: val is ../valid/images, which is not in the folder"
    ]


def test_a_label_file_without_a_picture_is_named(tmp_path):
    root = roboflow(tmp_path)
    (root / "train/labels/gone.txt").write_text(BOX)
    (root / "train/labels/classes.txt").write_text("cat\n")
    assert texts(found(root), Problem) == [
        "train/labels/gone.txt: no image for its partner; expected a picture of the same stem in images/"
    ]


def test_versions_of_one_photograph_are_one_group(tmp_path):
    for version in ("3f0c", "77aa"):
        pair(tmp_path, f"train/images/IMG_1_jpg.rf.{version}.jpg")
    pair(tmp_path, "train/images/other.jpg")
    groups = {one.name.rpartition("/")[2]: one.group for one in found(tmp_path)}
    assert groups == {
        "IMG_1_jpg.rf.3f0c": "train/IMG_1_jpg", "IMG_1_jpg.rf.77aa": "train/IMG_1_jpg", "other": ""
    }  # fmt: skip


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("data.yaml", "names: [cat, no, traffic light]", {"cat": 1, "traffic light": 3}),
        ("data.yaml", "names:\n  0: cat\n  2: 'on'\n", {"cat": 1, "on": 3}),
        ("data.yml", "\ufeffnc: 3", {"class_0": 1, "class_2": 3}),
        ("classes.txt", "cat\ndog\ncow\n", {"cat": 1, "cow": 3}),
        ("classes.txt", "# ours\ncat\n#dog\ncow\n", {"cat": 1, "cow": 3}),
        ("labels/classes.txt", "cat\ndog\ncow\n", {"cat": 1, "cow": 3}),
        ("other.yaml", "lr: 0.1", {"class_0": 1, "class_2": 3}),
    ],
)
def test_names_come_with_the_numbers_that_occur(tmp_path, file, text, expected):
    pair(tmp_path, "images/a.png", f"{BOX}\n2{BOX[1:]}\n")
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert yolo.labels(tmp_path) == expected


@pytest.mark.parametrize("file", ["data.yaml", "classes.txt"])
def test_names_and_splits_are_those_of_the_only_folder_below_as_archives_unpack(tmp_path, file):
    inner = roboflow(tmp_path / "helmets")
    (tmp_path / "helmets.zip").write_bytes(b"PK")
    if file == "data.yaml":
        (inner / "val.txt").write_text("./valid/images/c.jpg\n")
        config = (inner / file).read_text().replace("../valid/images", "val.txt")
        (inner / file).write_text(config.replace("../test/images", "/content/other"))
    else:
        (inner / "data.yaml").unlink()
        (inner / file).write_text("cat\ntraffic light\n")
    assert yolo.labels(tmp_path) == {"cat": 1}
    expected = {"train": {"helmets/train/a", "helmets/train/b"}, "val": {"helmets/valid/c"},
                "test": {"helmets/test/d"}}  # fmt: skip
    assert by_split(tmp_path) == expected
    missing = ["data.yaml: test is content/other, which is not in the folder"]
    assert texts(found(tmp_path), Note) == missing * (file == "data.yaml")


def test_a_class_beyond_the_names_is_named(tmp_path):
    expected = "labels/a.txt: class 2, which has no name; expected one of the 2 of data.yaml"
    assert mask_of(tmp_path, f"2{BOX[1:]}") == expected


def test_two_classes_of_one_name_become_one_and_it_is_said(tmp_path):
    pair(tmp_path, "images/a.png", f"0{BOX[1:]}\n1{BOX[1:]}\n")
    (tmp_path / "data.yaml").write_text("names: [cat, cat]")
    assert yolo.labels(tmp_path) == {"cat": 1}
    assert texts(found(tmp_path), Note) == ["'cat' is the name of 2 classes: they become one"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat]\nnc: x", "the classes cannot be read; expected names as a list or as `0: cat`"),
        ("names: {cat: 0}", "the classes cannot be read"),
        ("names: [[cat]]", "the classes cannot be read"),
        ("names: cat", "the classes cannot be read"),
        ("names: [cat]\ntrain: {a: b}", "train holds no path; expected a folder, a list or several"),
        ("names: [cat\n", "not YAML"),
        ("names: [cat]\nkpt_shape: [17, 3]", "kpt_shape is for keypoints"),
        ("names: [cat]\n# " + "x" * 110_000, "0.1 MB; names and folders take 0.1 MB at most"),
    ],
)
def test_a_malformed_data_yaml_is_named(tmp_path, text, message):
    pair(tmp_path, "images/a.png")
    (tmp_path / "data.yaml").write_text(text)
    assert yolo.seen(tmp_path)
    with pytest.raises(UserError, match=f"data.yaml: {message}"):
        found(tmp_path)


# --- drawing ------------------------------------------------------------------------------------


def test_the_mask_is_what_ultralytics_draws(tmp_path):
    """By `polygon2mask` of Ultralytics 8.4.190 with OpenCV 5.0: the outline belongs to the object."""
    mask = mask_of(tmp_path, "0 0.1 0.125 0.8 0.375 0.4 0.875")
    assert mask.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_small_objects_lie_over_large_ones_in_any_order(tmp_path, order):
    lines = [f"0{BOX[1:]}", "1 0.3 0.375 0.4 0.375 0.4 0.5 0.3 0.5"][::order]
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[2:7, 2:7] = 1
    expected[3:5, 3:5] = 2
    assert np.array_equal(mask_of(tmp_path, "\n".join(lines)), expected)


def test_corners_slightly_outside_are_cut_at_the_edge(tmp_path):
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:3, 6:] = 1
    assert np.array_equal(mask_of(tmp_path, "0 0.6 -0.2 1.05 -0.2 1.05 0.25 0.6 0.25"), expected)


def test_the_label_of_a_class_may_be_merged_or_ignored(tmp_path):
    classes = (
        SegmentationClass("ground", "rest", "#999999"),
        SegmentationClass("animal", ("cat", "dog"), "#0072b2"),
    )
    table = ClassTable(classes, ("traffic light",))
    far = "1 0.8 0.75 0.9 0.75 0.9 0.875 0.8 0.875"
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[2:7, 2:7] = 1
    expected[6:8, 8:] = 255
    assert np.array_equal(mask_of(tmp_path, f"{BOX}\n{far}", table=table), expected)


def test_polygons_are_drawn_on_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pair(tmp_path, "images/a.jpg", "0 0 0 0.25 0 0.25 0.4 0 0.4")
    picture(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "data.yaml").write_text(NAMES)
    checked = check(found(tmp_path)[0], TABLE)
    expected = np.zeros((WIDTH, HEIGHT), int)  # 8 wide and 10 high, as people see it
    expected[:5, :3] = 1
    assert Image.open(io.BytesIO(checked.image)).size == (HEIGHT, WIDTH)
    assert np.array_equal(decode_png(checked.mask), expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"{BOX}\n0 0.5 0.5 0.2 0.2",
            "1 boxes and 1 polygons; expected polygons alone, as a box has no",
        ),
        (
            "0 nan 0 1 0 1 1",
            "line 1 has a coordinate of nan; expected parts of width and height, 0 to 1",
        ),
        ("0 0 0 1 0 1 1e300", "line 1 has a coordinate of 1e+300"),
        ("0 -inf 0 1 0 1 1", "line 1 has a coordinate of -inf"),
        ("\n0 12 14 200 14 200 300", "line 2 has a coordinate of 12"),
        ("0 0 0 1 0 1", "line 1 has 6 numbers; expected lines of a class and three corners or more"),
        ("0 0 0 1 0 1 1 0.9", "line 1 has 8 numbers"),
        ("0", "line 1 has 1 numbers"),
        ("cat 0 0 1 0 1 1", "line 1 holds other than numbers"),
        ("-1 0 0 1 0 1 1", "line 1 is of class -1; expected a whole number from 0"),
        ("0.5 0 0 1 0 1 1", "line 1 is of class 0.5"),
    ],
)
def test_a_line_that_is_no_polygon_is_named(tmp_path, text, problem):
    assert mask_of(tmp_path, text).startswith(f"labels/a.txt: {problem}")


def test_labels_that_are_no_text_or_too_long_are_named(tmp_path, monkeypatch):
    mask_of(tmp_path, BOX)
    (tmp_path / "labels/a.txt").write_bytes(b"0 \xff\xfe 1")
    assert "not UTF-8 text" in str(check(found(tmp_path)[0], TABLE))
    monkeypatch.setattr("segpipe.fetch.layouts.yolotexts._MOST_LABELS", 1e-6)
    assert "expected 1e-06 MB at most" in str(check(found(tmp_path)[0], TABLE))


def test_boxes_alone_are_said_to_be_a_set_for_detection(tmp_path):
    pair(tmp_path, "images/a.png", "0 0.5 0.5 0.2 0.2")
    assert yolo.seen(tmp_path)
    with pytest.raises(UserError, match="the labels are boxes alone, for detection"):
        yolo.labels(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_are_seen_with_a_byte_order_mark_too(tmp_path, encoding):
    pair(tmp_path, "images/a.png")
    (tmp_path / "labels/a.txt").write_text(BOX, encoding=encoding)
    assert yolo.seen(tmp_path)
    assert yolo.labels(tmp_path) == {"class_0": 1}


def test_texts_of_other_kinds_are_no_labels(tmp_path):
    pair(tmp_path, "images/a.png", "a photograph of a cat, seen from above\n")
    assert yolo.seen(tmp_path) is None
    with pytest.raises(UserError, match="no picture with a label file"):
        pair(tmp_path / "other", "images/a.png", None)
        found(tmp_path / "other")


def test_a_polygon_of_a_million_corners_is_drawn_and_one_that_would_take_long_is_refused():
    angle = np.linspace(0, 2 * np.pi, 10**6)
    circle = np.stack([0.5 + 0.4 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)], 1)
    drawn = yolo.draw([circle], (500, 1000), "a.txt")
    assert abs(drawn.sum() / (np.pi * 0.16 * 500 * 1000) - 1) < 0.01
    noise = np.random.default_rng(0).random((10**6, 2))
    with pytest.raises(BadSampleError, match=r"1 polygons that would take \d+ s to draw"):
        yolo.draw([noise], (500, 1000), "a.txt")


def test_the_raw_records_hold_the_drawn_masks(tmp_path):
    for number in range(6):
        pair(tmp_path / "set", f"images/{number}.png", BOX if number % 2 else "")
    (tmp_path / "set/data.yaml").write_text(NAMES)
    summary = write_raw("set", found(tmp_path / "set"), TABLE, False, 100, tmp_path / "raw", 1)
    shards = [shard["file"] for split in summary["splits"].values() for shard in split["shards"]]
    records = [one for shard in shards for one in tfrecord.read_shard(tmp_path / "raw" / shard)]
    masks = {one["name"].decode(): decode_png(one["mask"]) for one in records}
    assert len(masks) == 6
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        f"{number}": 25 * (number % 2) for number in range(6)
    }


# --- any file -----------------------------------------------------------------------------------

NUMBERS = st.one_of(st.floats(), st.floats(-0.1, 1.1), st.integers(-3, 10**30)).map(str)
CORNERS = st.lists(st.floats(-1.5, 2.5), min_size=6, max_size=8).filter(lambda xy: len(xy) % 2 == 0)
GOOD = st.tuples(st.integers(0, 2), CORNERS).map(lambda one: " ".join(map(str, (one[0], *one[1]))))
LINES = st.lists(GOOD | st.lists(NUMBERS, max_size=12).map(" ".join), max_size=5).map("\n".join)
YAML = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(-2, 10**9), st.none(), st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["train", "val", "test", "path", "names", "nc", "kpt_shape"])
ODD = st.dictionaries(KEYS, YAML, max_size=7).map(json.dumps) | st.text(max_size=60)
CONFIGS = st.just(NAMES) | st.just(NAMES) | ODD


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.one_of(LINES, st.text(max_size=60)), config=CONFIGS)
def test_any_text_gives_samples_or_a_problem(tmp_path, labels, config):
    if not (tmp_path / "images").exists():
        pair(tmp_path, "images/a.png")
        pair(tmp_path, "images/b.png")
    (tmp_path / "labels/a.txt").write_text(labels, encoding="utf-8", errors="surrogatepass")
    (tmp_path / "data.yaml").write_text(config, encoding="utf-8", errors="surrogatepass")
    assert all("\n" not in str(one) for one in outcome("yolo", tmp_path, TABLE))


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "names: &a [*a]", "- " * 3000])
def test_nested_yaml_is_refused(tmp_path, text):
    pair(tmp_path, "images/a.png")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data\.yaml: not YAML"):
        found(tmp_path)
