"""nnU-Net's folders: cases and channels, splits, names, volumes."""

import json

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
from segpipe.fetch.layouts import nnunet
from segpipe.fetch.raw import check
from segpipe.fetch.sample import Note, Problem, Sample

TABLE = ClassTable(
    (SegmentationClass("background", 0, "#999999"), SegmentationClass("organ", 1, "#0072b2")), (2,)
)
LABELS = {"background": 0, "organ": 1, "ignore": 2}


def case(root, name, channels=1, part="Tr", mask=True):
    """A case with grey channels of the levels 10, 20, ...; the mask has a row of 1 and one of 2."""
    for channel in range(channels):
        level = Image.new("L", (6, 5), 10 * (channel + 1))
        save(level, root / f"images{part}" / f"{name}_{channel:04d}.png")
    if mask:
        drawing = np.zeros((5, 6), np.uint8)
        drawing[1], drawing[2] = 1, 2
        save(Image.fromarray(drawing), root / f"labels{part}" / f"{name}.png")


def describe(root, **content):
    (root / "dataset.json").write_text(json.dumps({"labels": LABELS, "file_ending": ".png"} | content))


def found(root):
    return list(layouts.samples("nnunet", root, 0.5, TABLE))


def texts(items, kind):
    return [one.text if isinstance(one, Note) else str(one) for one in items if isinstance(one, kind)]


def test_one_channel_is_one_file(tmp_path):
    case(tmp_path, "case_001")
    describe(tmp_path, channel_names={"0": "R"})
    assert next(iter(layouts.layouts_of(tmp_path))) == "nnunet"
    (sample,) = found(tmp_path)
    assert (sample.name, sample.image, sample.mask) == (
        "case_001", "imagesTr/case_001_0000.png", "labelsTr/case_001.png",
    )  # fmt: skip
    mask = decode_png(check(sample, TABLE).mask)
    assert mask.tolist() == [[0] * 6, [1] * 6, [255] * 6, [0] * 6, [0] * 6]


def test_an_rgb_picture_is_one_file_of_three_channels(tmp_path, rng):
    case(tmp_path, "a")
    picture = photo(rng).resize((6, 5))
    save(picture, tmp_path / "imagesTr/a_0000.png")
    describe(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"})
    (sample,) = found(tmp_path)
    checked = check(sample, TABLE)
    assert checked.image == (tmp_path / "imagesTr/a_0000.png").read_bytes()


def test_several_channels_are_read_in_their_order(tmp_path):
    case(tmp_path, "a", channels=11)
    describe(tmp_path, channel_names={str(n): f"band {n}" for n in range(11)})
    (sample,) = found(tmp_path)
    bands, mask = sample.content.read()
    assert [decode_png(band)[0, 0] for band in bands] == [10 * n for n in range(1, 12)]
    assert decode_png(mask)[1, 0] == 1
    assert sample.content.mask_size() == (5, 6)


def test_a_case_of_other_channels_is_named(tmp_path):
    for name in "abc":
        case(tmp_path, name, channels=2)
    case(tmp_path, "d", channels=1)
    (tmp_path / "imagesTr/c_0001.png").rename(tmp_path / "imagesTr/c_0002.png")
    save(Image.new("L", (6, 5)), tmp_path / "imagesTr/whole.png")
    save(Image.new("L", (6, 5)), tmp_path / "labelsTr/whole.png")
    describe(tmp_path, channel_names={"0": "T1", "1": "T2"})
    items = found(tmp_path)
    assert [one.name for one in items if isinstance(one, Sample)] == ["a", "b"]
    expected = "expected 0000, 0001, as most pictures have"
    assert texts(items, Problem) == [
        f"imagesTr/c_0000.png: channels 0000, 0002; {expected}",
        f"imagesTr/d_0000.png: channels 0000; {expected}",
        f"imagesTr/whole.png: no channel in its name; {expected}",
    ]


def test_partners_that_lack_are_named(tmp_path):
    case(tmp_path, "a")
    case(tmp_path, "b", mask=False)
    save(Image.new("L", (6, 5)), tmp_path / "labelsTr/c.png")
    assert texts(found(tmp_path), Problem) == [
        "imagesTr/b_0000.png: no mask for its partner; expected labelsTr/b.png",
        "labelsTr/c.png: no image for its partner; expected imagesTr/c_0000.png",
    ]
    assert texts(found(tmp_path), Note) == ["there is no dataset.json: the classes have no names"]


def test_the_test_pictures_are_the_test_split_where_they_have_labels(tmp_path):
    describe(tmp_path)
    for name in "abcd":
        case(tmp_path, name)
    case(tmp_path, "t", part="Ts", mask=False)
    items = found(tmp_path)
    assert {one.name: one.split for one in items if isinstance(one, Sample)}.keys() == {*"abcd"}
    assert texts(items, Note) == ["imagesTs/: 1 files are not used, as there is no labelsTs/"]
    case(tmp_path, "t", part="Ts")
    splits = {one.name: one.split for one in found(tmp_path)}
    assert splits == {**dict.fromkeys("abcd", "train"), "t": "test"}
    case(tmp_path, "v", part="Val")
    assert {one.name: one.split for one in found(tmp_path)} == {**splits, "v": "val"}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"background": 0, "organ": 1, "ignore": 2}, {0: "background", 1: "organ", 2: "__ignore__"}),
        ({"0": "background", "1": "organ", "10": "vessel"}, {0: "background", 1: "organ", 10: "vessel"}),
        ({"background": "0", "organ": "1"}, {0: "background", 1: "organ"}),
        (  # BraTS and KiTS, whose regions_class_order is [1, 2, 3] and [1, 3, 2]
            {"background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [2, 3], "enhancing": 3},
            {0: "background", 1: "whole_tumor", 2: "tumor_core", 3: "enhancing"},
        ),
        (
            {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2},
            {0: "background", 1: "kidney", 2: "tumor", 3: "masses"},
        ),
        ({"background": 0, "far": 300}, {0: "background"}),
    ],
)
def test_names_are_read_in_either_direction_and_from_regions(tmp_path, labels, names):
    describe(tmp_path, labels=labels)
    assert nnunet.names(tmp_path) == names


def test_what_dataset_json_does_not_tell_is_said(tmp_path):
    case(tmp_path, "a", channels=2)
    describe(tmp_path, labels={"whole": [1, 2], "core": 2}, modality={"0": "T1"})
    assert texts(found(tmp_path), Note) == [
        "dataset.json: regions overlap (whole); a pixel is of the smallest that holds it",
        "dataset.json names 1 channels; pictures have 2 files",
    ]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_volumes_are_refused_by_name(tmp_path, ending):
    for file in ("imagesTr/a_0000", "labelsTr/a"):
        save(Image.new("L", (2, 2)), (tmp_path / file).with_suffix(".png"))
        (tmp_path / file).with_suffix(".png").rename(f"{tmp_path / file}{ending}")
    describe(tmp_path, file_ending=ending)
    assert nnunet.seen(tmp_path)
    with pytest.raises(
        UserError, match=rf"a_0000\{ending}: a volume; segpipe takes single pictures: save"
    ):
        found(tmp_path)


def test_folders_without_pictures_are_named(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(UserError, match="no imagesTr/ and labelsTr/"):
        found(tmp_path)
    (tmp_path / "labelsTr").mkdir()
    with pytest.raises(UserError, match=r"imagesTr: no picture called NAME_0000.png"):
        found(tmp_path)


JSON = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.none(), st.floats(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FILES = st.one_of(
    st.dictionaries(st.sampled_from(["labels", "channel_names", "modality"]), JSON).map(json.dumps),
    JSON.map(lambda labels: json.dumps({"labels": labels})),
    st.text(max_size=30),
    st.sampled_from(["[" * 10**5, '{"labels":' * 10**4, '{"labels": {"a": 1' + "0" * 5000 + "}}"]),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=FILES)
def test_any_dataset_json_gives_samples_or_an_error_of_one_line(tmp_path, text):
    if not (tmp_path / "imagesTr").exists():
        case(tmp_path, "a")
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    for reads in (nnunet.names, found):
        try:
            reads(tmp_path)
        except UserError as error:
            assert "dataset.json" in str(error) and "\n" not in str(error)
