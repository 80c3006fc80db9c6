"""Masks as labels for annotators' tools: `fetch` reads each format back, holes and parts and all."""

import contextlib
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from helpers import PETS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image
from scipy import ndimage

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.fetch import layouts
from segpipe.fetch.raw import check
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample
from segpipe.predict.labels import cvat, label_studio, labels_in, outlines

EXACT = ("coco", "cvat", "label-studio")
POLYGONS = ("yolo", "labelme")
COLOURS = ("#0072b2", "#999999", "#e69f00")


def table(*rows, ignore=()):
    classes = (SegmentationClass(*row, colour) for row, colour in zip(rows, COLOURS, strict=True))
    return ClassTable(tuple(classes), ignore)


TABLES = {
    "background": table(("cat", 5), ("background", 0), ("traffic_light", 6), ignore=(255,)),
    "all classes": table(("sky", 1), ("road", 2), ("tree", 3), ignore=(9,)),
    "rest": table(("cat", "cat"), ("dog", ("hound", "poodle")), ("other", "rest"), ignore=("blur",)),
}


def written(folder, tool, masks, classes):
    """Write pictures of these masks with their labels, as `predict` does."""
    with labels_in(folder / "labels", tool, classes) as labels:
        for name, mask in masks.items():
            picture = folder / f"{name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            if not picture.exists():
                Image.new("RGB", mask.shape[::-1]).save(picture)
            labels.enter(labels.of(picture, name, mask))
    if tool == "label-studio":
        submit(folder / "labels/tasks.json")
    return folder / "labels"


def submit(tasks):
    """Make annotations of predictions, as Label Studio does when somebody submits them."""
    content = json.loads(tasks.read_text())
    for number, task in enumerate(content):
        (prediction,) = task.pop("predictions")
        task["annotations"] = [{"id": number, "completed_by": 1, "result": prediction["result"]}]
    tasks.write_text(json.dumps(content))


def read(folder, tool, classes):
    """Return what `fetch` reads, class indices by name, and its notes."""
    found = list(layouts.samples(tool.replace("-", "_"), folder, 0.3, classes))
    assert [one for one in found if isinstance(one, Problem)] == []
    checked = [check(one, classes, "rgb") for one in found if isinstance(one, Sample)]
    assert [one for one in checked if isinstance(one, Problem)] == []
    masks = {one.sample.name.removeprefix("images/"): decode_png(one.mask) for one in checked}
    return masks, [one.text for one in found if isinstance(one, Note)]


def least_iou(mask, other):
    indices = np.unique([mask, other])
    both = [((mask == n) & (other == n)).sum() / ((mask == n) | (other == n)).sum() for n in indices]
    return min(both)


def nested():
    """A ring, a part in its hole, parts of one pixel, a line, parts that touch at a corner."""
    mask = np.ones((40, 60), np.uint8)
    mask[4:30, 5:40] = 0
    mask[8:26, 9:36] = 1
    mask[12:20, 14:30] = 2
    mask[14, 20] = 0
    mask[35, 50] = mask[0, 0] = mask[39, 59] = 2
    mask[33, 3:30] = 0
    mask[30:33, 40:43] = 0
    mask[20:22, 50:52] = 255
    return mask


small = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 255])
)
larger = st.tuples(small, st.integers(2, 5)).map(
    lambda one: np.kron(one[0], np.ones((one[1],) * 2, np.uint8))
)
masks = st.one_of(small, larger).filter(lambda mask: (mask != 255).any())


@pytest.mark.parametrize("classes", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("tool", [*EXACT, *POLYGONS])
def test_holes_parts_and_ignored_pixels_come_back(tool, classes, tmp_path):
    mask = nested()
    back, _ = read(written(tmp_path, tool, {"one": mask}, classes), tool, classes)
    assert back.keys() == {"one"}
    if tool in EXACT:
        assert (back["one"] == mask).all()
    assert least_iou(mask, back["one"]) >= 0.99


@pytest.mark.parametrize("classes", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("tool", [*EXACT, *POLYGONS])
def test_any_mask_comes_back(tool, classes, tmp_path_factory):
    @given(masks)
    @settings(max_examples=25)
    @example(np.zeros((1, 1), np.uint8))
    def comes_back(mask):
        folder = written(tmp_path_factory.mktemp("labels"), tool, {"one": mask}, classes)
        back = read(folder, tool, classes)[0]["one"]
        assert back.shape == mask.shape
        assert least_iou(mask, back) >= (1 if tool in EXACT else 0.99)

    comes_back()


@pytest.mark.parametrize("tool", [*EXACT, *POLYGONS])
def test_pictures_of_sub_folders_keep_theirs_and_empty_ones_are_background(tool, tmp_path):
    classes = TABLES["background"]
    masks = {name: np.full((9, 7), 1, np.uint8) for name in ("one", "trip/one", "trip/day 2/ü#+&.x")}
    masks["one"][2:5, 3:6] = 0
    back, notes = read(written(tmp_path, tool, masks, classes), tool, classes)
    assert back.keys() == masks.keys()
    assert all(least_iou(masks[name], back[name]) >= 0.99 for name in masks), notes
    copied = sorted(path.read_bytes() for path in (tmp_path / "labels").rglob("*.png"))
    assert copied == sorted((tmp_path / f"{name}.png").read_bytes() for name in masks)


@pytest.mark.parametrize("turn", [3, 6])
@pytest.mark.parametrize("tool", [*EXACT, *POLYGONS])
def test_masks_lie_on_the_picture_as_exif_turns_it(tool, turn, tmp_path):
    classes, exif = TABLES["background"], Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    Image.new("RGB", (7, 9)).save(tmp_path / "one.png", exif=exif)  # 7 wide, 9 high
    mask = np.full((9, 7) if turn == 3 else (7, 9), 1, np.uint8)
    mask[1:3, 1:5] = 0
    with labels_in(tmp_path / "labels", tool, classes) as labels:
        entry = labels.of(tmp_path / "one.png", "one", mask)
        labels.enter(entry)
    told = tool == "coco" and turn == 3  # no size tells the view
    assert bool(entry.remark) == told
    if tool == "label-studio":
        submit(tmp_path / "labels/tasks.json")
    back, notes = read(tmp_path / "labels", tool, classes)
    if told:
        assert "though no size tells it" in " ".join(notes)
    else:
        assert least_iou(mask, back["one"]) >= 0.99


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("size", [(7, 7), (7, 9)])
def test_coco_says_where_a_size_does_not_tell_that_exif_turns_the_picture(size, turn, tmp_path):
    """Turns from 5 on swap the edges, which shows unless they are equal."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    Image.new("RGB", size).save(tmp_path / "one.png", exif=exif)
    mask = np.zeros(size if turn >= 5 else size[::-1], np.uint8)
    with labels_in(tmp_path / "labels", "coco", TABLES["background"]) as labels:
        remark = labels.of(tmp_path / "one.png", "one", mask).remark
    assert bool(remark) == (turn in (2, 3, 4) or (turn >= 5 and size == (7, 7)))


def test_the_tools_get_the_colours_of_the_classes(tmp_path):
    classes = TABLES["background"]
    for tool in (*EXACT, *POLYGONS):
        written(tmp_path / tool, tool, {"one": nested()}, classes)
    coco = json.loads((tmp_path / "coco/labels/annotations/instances_default.json").read_text())
    assert [c["color"] for c in coco["categories"]] == [[0, 114, 178], [153, 153, 153], [230, 159, 0]]
    labels = json.loads((tmp_path / "cvat/labels/labels.json").read_text())
    assert {one["name"]: one["color"] for one in labels} == classes.colours | {"__ignore__": "#ffffff"}
    shown = ElementTree.parse(tmp_path / "label-studio/labels/label_config.xml").iter("Label")
    assert {one.get("value"): one.get("background") for one in shown} == {
        **classes.colours,
        "__ignore__": "#ffffff",
    }
    config = yaml.safe_load((tmp_path / "labelme/labels/labelme.yaml").read_text())
    assert config["label_colors"]["cat"] == [0, 114, 178]
    assert yaml.safe_load((tmp_path / "yolo/labels/data.yaml").read_text())["names"] == {
        0: "cat", 1: "background", 2: "traffic_light", 3: "__ignore__",
    }  # fmt: skip


def test_a_prediction_that_nobody_submitted_is_no_label(tmp_path):
    classes = TABLES["background"]
    with labels_in(tmp_path / "labels", "label-studio", classes) as labels:
        Image.new("RGB", (60, 40)).save(tmp_path / "one.png")
        labels.enter(labels.of(tmp_path / "one.png", "one", nested()))
    found = list(layouts.samples("label_studio", tmp_path / "labels", 0.3, classes))
    assert [type(one) for one in found] == [Note, Note]
    assert "tasks without an annotation, left out" in found[0].text


def test_a_stroke_has_the_bits_that_label_studio_expects():
    """As `converter.brush.mask2rle` of label-studio-sdk 2.1 lays them out, worked out by hand."""
    mask = np.array([[1, 1, 0], [0, 0, 1]], bool)
    # 24 values of 8 bits, sizes of 3, 4, 8 and 16 bits; then 8 times 255, 12 times 0, 4 times 255.
    bits = f"{24:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += f"100{7:03b}{255:08b}" + f"101{11:04b}{0:08b}" + f"100{3:03b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    assert label_studio.packed(mask) == int(bits, 2).to_bytes(len(bits) // 8, "big")


def distances_to(polygon, points):
    """The distance of each point to the nearest edge of a closed polygon."""
    ends = np.concatenate([polygon, polygon[:1]]).astype(float)
    along = np.diff(ends, axis=0)
    lengths = np.maximum((along**2).sum(1), 1e-12)
    shares = ((points[:, None] - ends[:-1]) * along).sum(2) / lengths
    nearest = ends[:-1] + shares.clip(0, 1)[..., None] * along
    return np.linalg.norm(nearest - points[:, None], axis=2).min(1)


def test_polygons_leave_the_border_by_a_pixel_at_most():
    disc = np.hypot(*np.mgrid[-60:61, -60:61]) < 55
    border = outlines.border(disc)
    (kept,) = outlines.simplified([border], 1.0)
    assert len(kept) < len(border) / 8
    assert distances_to(kept, border).max() <= 1 + 1e-9


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.45, 0.6, 0.8]), st.sampled_from([0, 1, 3]))
@settings(max_examples=40)
def test_polygons_of_ragged_parts_leave_the_border_by_a_pixel_at_most(seed, share, smooth):
    """Noise, raw and smoothed: spirals, lines of one pixel and parts that touch by a corner."""
    noise = ndimage.uniform_filter(np.random.default_rng(seed).random((24, 32)), 2 * smooth + 1)
    parts, _ = ndimage.label(noise < np.quantile(noise, share), np.ones((3, 3)))
    border = outlines.border(parts == np.bincount(parts[parts > 0]).argmax())
    (kept,) = outlines.simplified([border], 1.0)
    assert distances_to(kept, border).max() <= 1 + 1e-9


def test_lines_that_are_simplified_together_keep_the_points_that_each_keeps_alone():
    """Worked out by hand: (1, 6) and (1, 2) are 0.485 from the line of (2, 8) and (0, 0).

    Then (1, 2) is 0.658 from that of (1, 6) and (0, 0), and (1, 5) lies on that of (1, 6) and (1, 2).
    """
    bent = np.array([(0, 0), (1, 4), (2, 8), (1, 6), (1, 5), (1, 2)])
    thin = np.array([(0, 0), (0, 1), (0, 2), (0, 1)])
    for tolerance, kept in ((0.0, [0, 2, 3, 5]), (0.48, [0, 2, 3, 5]), (0.49, [0, 2])):
        found = outlines.simplified([bent, thin, thin[:1], bent + 7], tolerance)
        expected = [bent[kept], thin[[0, 2]], thin[:1], bent[kept] + 7]
        assert [line.tolist() for line in found] == [line.tolist() for line in expected]
    assert outlines.simplified([], 1.0) == []


def test_a_border_goes_once_round(rng):
    """Worked out by hand: a ring of eight pixels, a line, an L, and a single pixel."""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    for part, expected in (
        (ring, "00 01 02 12 22 21 20 10"),
        (np.ones((1, 3), bool), "00 01 02 01"),
        (np.array([[1, 0], [1, 1]], bool), "00 11 10"),
        (np.ones((1, 1), bool), "00"),
    ):
        found = " ".join(f"{row}{column}" for row, column in outlines.border(part).tolist())
        assert found == expected


@pytest.fixture
def photos(tmp_path, rng):
    root = tmp_path / "photos"
    for name in ("one.jpg", "trip/one.jpg", "trip/über.png"):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((60, 45)).save(root / name)
    return root


@pytest.mark.parametrize("tool", [*EXACT, *POLYGONS])
def test_predictions_go_out_as_labels_and_fetch_reads_the_masks(tool, predict, photos, tmp_path):
    out = tmp_path / "out"
    code, said, complained = predict(photos, "-o", out, "--labels", tool)
    assert (code, complained) == (0, "")
    assert f"labels for {tool}: {out / 'labels'}" in said
    if tool == "label-studio":
        submit(out / "labels/tasks.json")
    back, _ = read(out / "labels", tool, PETS)
    assert back.keys() == {"one", "trip/one", "trip/über"}
    for name, mask in back.items():
        predicted = np.asarray(Image.open(out / f"masks/{name}.png")) - 1
        assert least_iou(predicted, mask) >= (1 if tool in EXACT else 0.99)


def test_labels_in_folders_called_as_splits_are_said(predict, photos, tmp_path):
    (photos / "trip").rename(photos / "val")
    _, said, _ = predict(photos, "-o", tmp_path / "out", "--labels", "coco")
    assert "note: sub-folders are called as splits are (val): `fetch` takes them for such" in said
    assert "called as splits" not in predict(photos, "-o", tmp_path / "masks")[1]


def test_labels_that_may_hold_corrections_are_never_replaced(predict, photos, tmp_path):
    assert predict(photos, "-o", tmp_path / "out", "--labels", "labelme")[0] == 0
    corrected = tmp_path / "out/labels/one.json"
    corrected.write_text("by hand")
    code, _, complained = predict(photos, "-o", tmp_path / "out", "--labels", "coco")
    assert code == 1
    assert complained.startswith(f"error: {tmp_path / 'out/labels'} exists, and may hold corrections")
    assert corrected.read_text() == "by hand"


def test_a_picture_that_cannot_be_read_has_no_labels_and_the_others_have(predict, photos, tmp_path):
    (photos / "bad.jpg").write_bytes(b"no picture")
    code, _, complained = predict(photos, "-o", tmp_path / "out", "--labels", "coco")
    assert (code, "1 of 4 pictures could not be read" in complained) == (1, True)
    assert read(tmp_path / "out/labels", "coco", PETS)[0].keys() == {"one", "trip/one", "trip/über"}
    assert not (tmp_path / "out/labels/images/bad.jpg").exists()


def test_a_picture_whose_name_no_label_can_hold_has_a_mask_and_the_others_have_labels(
    predict, photos, tmp_path
):
    (photos / "one.jpg").rename(photos / "two\nlines.jpg")
    (photos / "trip/one.jpg").rename(photos / "trip/9.41\u202fAM.jpg")
    out = tmp_path / "out"
    code, _, complained = predict(photos, "-o", out, "--labels", "coco")
    assert (code, "an unprintable letter in its name" in complained) == (1, True)
    assert (out / "masks/two\nlines.png").is_file()
    assert read(out / "labels", "coco", PETS)[0].keys() == {"trip/9.41\u202fAM", "trip/über"}


@pytest.mark.parametrize("letter", ["\ufffe", "\uffff"])
def test_a_name_that_xml_cannot_hold_is_refused_for_cvat_and_the_others_are_read(letter, tmp_path):
    mask = nested()
    names = ("one", f"two{letter}", "<&\">'three")
    classes = TABLES["background"]
    for name in names:
        Image.new("RGB", mask.shape[::-1]).save(tmp_path / f"{name}.png")
    with labels_in(tmp_path / "labels", "cvat", classes) as labels:
        for name in names:
            with contextlib.suppress(BadSampleError):
                labels.enter(labels.of(tmp_path / f"{name}.png", name, mask))
    assert read(tmp_path / "labels", "cvat", classes)[0].keys() == {names[0], names[2]}
    with pytest.raises(BadSampleError, match="a letter in its name that no XML file holds"):
        cvat.Labels(tmp_path / "other", classes).of(tmp_path / f"{names[1]}.png", names[1], mask)
    assert written(tmp_path, "coco", {names[1]: mask}, classes)


def test_a_picture_whose_labels_have_too_long_a_name_is_listed_and_the_others_have_labels(
    predict, photos, tmp_path
):
    """Names have 255 bytes at most: `.json` is longer than `.jpg`."""
    name, out = "n" * 251, tmp_path / "out"
    (photos / "one.jpg").rename(photos / f"{name}.jpg")
    code, _, complained = predict(photos, "-o", out, "--labels", "labelme")
    assert (code, "1 of 3 pictures could not be read" in complained) == (1, True)
    assert f"{name}.jpg: a name that is too long" in complained
    assert read(out / "labels", "labelme", PETS)[0].keys() == {"trip/one", "trip/über"}
    assert len((out / "shares.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.parametrize("tool", ["coco", "yolo", "labelme"])
def test_pictures_without_a_known_suffix_get_that_of_their_content_and_keep_their_labels(
    tool, predict, tmp_path, rng
):
    """DICOM's files are called so; `IM.txt` would be the labels of all."""
    formats = {"IM.0001": "png", "IM.0002": "jpeg", "IM.0003": "tiff", "IM": "bmp", "IM.5": "webp"}
    names = [tmp_path / f"scans/{name}" for name in formats]
    names[0].parent.mkdir()
    for path in names:
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((60, 45)).save(path, formats[path.name])
    code, _, complained = predict(*names, "-o", tmp_path / "out", "--labels", tool)
    assert (code, complained) == (0, "")
    copies = tmp_path / "out/labels" / ("" if tool == "labelme" else "images")
    expected = ["IM.0001.png", "IM.0002.jpg", "IM.0003.tif", "IM.bmp", "IM.5.webp"]
    assert all((copies / name).is_file() for name in expected)
    back, _ = read(tmp_path / "out/labels", tool, PETS)
    assert back.keys() == {*formats}
    for name, mask in back.items():
        predicted = np.asarray(Image.open(tmp_path / f"out/masks/{name}.png")) - 1
        assert least_iou(predicted, mask) >= (1 if tool in EXACT else 0.99)
