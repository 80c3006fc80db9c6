"""Binary masks of objects and of classes become one mask, from folder to raw records."""

from dataclasses import replace

import numpy as np
import pytest
from own_folders import HEIGHT, WIDTH, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.layouts import layers
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample
from segpipe.survey.labels import label_table
from segpipe.survey.names import Names

ROADS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("road", 1, "#0072b2"),
        SegmentationClass("car", 2, "#e69f00"),
    )
)
CELLS = ClassTable((ROADS.classes[0], SegmentationClass("nucleus", 1, "#0072b2")))


def binary(path, *boxes, value=255, size=(WIDTH, HEIGHT)):
    """A mask with boxes (top, left, bottom, right)."""
    drawing = np.zeros(size[::-1], np.uint8)
    for top, left, bottom, right in boxes:
        drawing[top:bottom, left:right] = value
    save(Image.fromarray(drawing), path)


@pytest.fixture
def nuclei(tmp_path, rng):
    """Two pictures as in the Data Science Bowl, with three objects and with one; two without masks."""
    for name, boxes in (
        ("ab1", [(0, 0, 5, 5), (5, 5, 9, 9), (3, 3, 6, 6)]),
        ("cd2", [(20, 30, 30, 40)]),
    ):
        save(photo(rng), tmp_path / "stage1_train" / name / "images" / f"{name}.png")
        for number, box in enumerate(boxes):
            binary(tmp_path / "stage1_train" / name / "masks" / f"{number:064x}.png", box)
    for name in ("ef3", "gh4"):
        save(photo(rng), tmp_path / "stage1_test" / name / "images" / f"{name}.png")
    return tmp_path


@pytest.fixture(params=["masks/{kind}/{name}.png", "{kind}/{name}_mask.png"])
def classes(tmp_path, rng, request):
    """A road on four pictures, a car over it on two."""
    for number in range(4):
        save(photo(rng), tmp_path / "images" / f"{number}.jpg")
        binary(tmp_path / request.param.format(kind="road", name=number), (10, 0, 20, WIDTH))
        if number % 2:
            binary(tmp_path / request.param.format(kind="car", name=number), (8, 5, 14, 9), value=1)
    return tmp_path


def raw(root, out, table):
    """The masks in the raw records, by name."""
    write_raw("own", layouts.samples("layers", root, 0.4, table), table, False, 100, out, processes=1)
    found = [sample for shard in sorted(out.glob("*.tfrecord")) for sample in read_shard(shard)]
    return {sample["name"].decode(): decode_png(sample["mask"]) for sample in found}


def test_objects_of_a_picture_are_one_class_whatever_it_is_called(nuclei, tmp_path):
    assert "layers" in layouts.layouts_of(nuclei)
    assert layers.labels(nuclei) == {"object": 0}
    found = list(layouts.samples("layers", nuclei, 0.0, CELLS))
    masks = {one.name: one.content.read()[1] for one in found if isinstance(one, Sample)}
    expected = np.zeros((HEIGHT, WIDTH), int)
    for box in (slice(0, 5), slice(5, 9), slice(3, 6)):
        expected[box, box] = 1
    assert (masks["stage1_train/ab1"] == expected).all()
    assert masks["stage1_train/cd2"].sum() == 100
    assert [str(one) for one in found if isinstance(one, Problem)] == []
    assert [n.text for n in found if isinstance(n, Note)] == ["not used: pictures in images/ (2)"]


def test_a_folder_of_masks_is_a_class_and_the_later_one_in_the_table_lies_above(classes, tmp_path):
    assert next(iter(layouts.layouts_of(classes))) == "layers"
    assert layers.labels(classes) == {"car": 0, "road": 0}
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[10:20] = 1
    with_car = expected.copy()
    with_car[8:14, 5:9] = 2
    masks = raw(classes, tmp_path / "raw", ROADS)
    assert {*masks} == {"0", "1", "2", "3"}
    for name, mask in masks.items():
        assert (mask == (with_car if int(name) % 2 else expected)).all(), name


def test_the_order_of_the_table_decides_what_lies_above(classes):
    turned = ClassTable((ROADS.classes[0], ROADS.classes[2], ROADS.classes[1]))
    found = layouts.samples("layers", classes, 0.0, turned)
    mask = next(s for s in found if isinstance(s, Sample) and s.name == "1").content.read()[1]
    assert (mask[10:20] == 2).all()
    assert (mask[8:10, 5:9] == 1).all()


def test_that_overlaps_are_decided_by_the_table_is_said(classes):
    notes = [one.text for one in layouts.samples("layers", classes, 0.0, ROADS) if isinstance(one, Note)]
    assert notes == ["where masks overlap, the class that stands later in data.classes wins"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: binary(path, size=(WIDTH, HEIGHT - 1)), "size 40x29; expected that of the others"),
        (lambda path: path.write_bytes(b"no picture"), "no image format that segpipe reads"),
        (
            lambda path: save(Image.linear_gradient("L").resize((WIDTH, HEIGHT)), path),
            "expected 0 and one",
        ),
    ],
)
def test_a_mask_that_does_not_fit_the_others_is_named(nuclei, spoil, words):
    spoil(nuclei / "stage1_train/ab1/masks" / f"{1:064x}.png")
    found = [s for s in layouts.samples("layers", nuclei, 0.0, CELLS) if isinstance(s, Sample)]
    with pytest.raises(BadSampleError) as error:
        found[0].content.read()
    assert words in str(error.value)
    assert f"{1:064x}.png" in str(error.value)


def test_masks_of_several_colours_are_no_class_though_their_folder_looks_like_one(tmp_path, rng):
    """As `5_Labels_all` of ISPRS Potsdam, whose two colours are equally bright."""
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[5:10, 5:10], colours[15:20, 15:20] = (128, 0, 0), (0, 128, 0)
    for number in range(3):
        save(photo(rng), tmp_path / "images" / f"{number}.jpg")
        save(Image.fromarray(colours), tmp_path / "masks" / "all" / f"{number}.png")
    assert layers.seen(tmp_path) is None
    sample = next(s for s in layouts.samples("layers", tmp_path, 0.0, ROADS) if isinstance(s, Sample))
    with pytest.raises(BadSampleError, match=r"3 values \(0, 32768, 8388608\); expected 0 and one"):
        sample.content.read()


def test_a_mask_turned_otherwise_than_its_image_is_refused(tmp_path, rng):
    turned = Image.Exif()
    turned[0x0112] = 3
    save(photo(rng), tmp_path / "images/a.jpg")
    binary(tmp_path / "masks/road/a.png", (0, 0, 9, 9))
    binary(tmp_path / "masks/car/a.png", (20, 0, 29, 9))
    Image.open(tmp_path / "masks/car/a.png").save(tmp_path / "masks/car/a.png", exif=turned)
    (sample,) = (s for s in layouts.samples("layers", tmp_path, 0.0, ROADS) if isinstance(s, Sample))
    with pytest.raises(
        BadSampleError, match=r"car/a\.png: EXIF orientation 3; expected none, or the im"
    ):
        sample.content.read()
    Image.open(tmp_path / "images/a.jpg").save(tmp_path / "images/a.jpg", exif=turned)
    assert sample.content.read()[1][:, 0].tolist() == [1] * 9 + [0] * 11 + [2] * 9 + [0]


def test_a_picture_without_a_mask_of_any_class_is_a_problem(classes, rng):
    save(photo(rng), classes / "images" / "9.jpg")
    found = layouts.samples("layers", classes, 0.0, ROADS)
    (problem,) = (one for one in found if isinstance(one, Problem))
    assert str(problem).startswith("images/9.jpg: no mask for its partner")


def test_a_renamed_class_whose_folder_is_a_number_keeps_its_masks(tmp_path, rng):
    save(photo(rng), tmp_path / "images" / "a.png")
    for number in range(12):
        binary(tmp_path / f"masks/{number}/a.png", (2 * number, 0, 2 * number + 2, WIDTH))
    proposed = label_table(layers.labels(tmp_path), Names())
    rows = [replace(row, name="kidney" if row.name == "3" else row.name) for row in proposed.classes]
    table = ClassTable(tuple(rows))
    (sample,) = (s for s in layouts.samples("layers", tmp_path, 0.0, table) if isinstance(s, Sample))
    drawn = sample.content.read()[1][0:24:2, 0]
    assert [table.names[index] for index in drawn] == ["0", "1", "2", "kidney", *map(str, range(4, 12))]


def test_a_class_that_the_table_lacks_is_named(classes):
    found = layouts.samples("layers", classes, 0.0, CELLS)
    sample = next(one for one in found if isinstance(one, Sample))
    with pytest.raises(BadSampleError, match="labels that are no class: 'road'"):
        sample.content.read()


def test_pictures_and_masks_in_equal_sub_folders_are_pairs_and_no_classes(tmp_path, rng):
    for day in ("monday", "tuesday"):
        save(photo(rng), tmp_path / "images" / day / "a.jpg")
        binary(tmp_path / "masks" / day / "a.png", (0, 0, 9, 9))
    assert [*layouts.layouts_of(tmp_path)] == ["pairs"]
