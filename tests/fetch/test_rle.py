"""Kaggle's run lengths are drawn as its own encoder writes them, from folder to raw records."""

from dataclasses import replace

import numpy as np
import pytest
from fuzz import outcome
from hypothesis import given
from hypothesis import strategies as st
from own_folders import HEIGHT, WIDTH, noise, only, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.layouts import layers, rle
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample
from segpipe.survey.labels import label_table
from segpipe.survey.names import Names

CLOUDS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("Fish", 1, "#0072b2"),
        SegmentationClass("Gravel", 2, "#e69f00"),
    )
)
SHIP = ClassTable((CLOUDS.classes[0], SegmentationClass("object", 1, "#0072b2")))


def encoded(mask: np.ndarray) -> str:
    """Kaggle's encoder, as its data pages give it: one-indexed, down the columns."""
    padded = np.concatenate([[0], mask.T.ravel(), [0]])
    runs = np.where(padded[1:] != padded[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(map(str, runs))


@pytest.fixture
def folder(tmp_path, rng):
    def write(text, *names, csv="train.csv"):
        for name in names:
            save(photo(rng), tmp_path / name)
        (tmp_path / csv).write_text(text, newline="")
        return tmp_path

    return write


def found(root, table=CLOUDS):
    return list(layouts.samples("rle", root, 0.0, table))


def mask_of(root, table=CLOUDS):
    (sample,) = (one for one in found(root, table) if isinstance(one, Sample))
    return sample.content.read()[1]


def test_runs_go_down_the_columns_from_pixel_1(folder):
    # A picture of 30 rows: pixels 1 to 3 are the top of column 0, pixel 31 is the top of column 1.
    root = folder("ImageId,EncodedPixels\na.jpg,1 3 31 2 1200 1\n", "images/a.jpg")
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[0:3, 0] = expected[0:2, 1] = expected[29, 39] = 1
    one = ClassTable((CLOUDS.classes[0], SegmentationClass("ship", 7, "#0072b2")))
    assert (mask_of(root, one) == expected).all()


def test_understanding_clouds_from_folder_to_raw_records(folder, tmp_path):
    rows = ["Image_Label,EncodedPixels"]
    for number in range(6):
        rows += [
            f"{number:07x}.jpg_Fish,61 30",
            f"{number:07x}.jpg_Flower,",
            f"{number:07x}.jpg_Gravel,81 20",
        ]
    root = folder("\n".join(rows), *(f"train_images/{number:07x}.jpg" for number in range(6)))
    folder(
        "Image_Label,EncodedPixels\nt.jpg_Fish,1 1\n", "test_images/t.jpg", csv="sample_submission.csv"
    )
    assert layouts.layouts_of(root) == {"rle": "run lengths in train.csv"}
    assert rle.labels(root) == {"Fish": 0, "Gravel": 0}
    samples = list(layouts.samples("rle", root, 0.5, CLOUDS))
    assert [n.text for n in samples if isinstance(n, Note)] == [
        layers.CLASS_ORDER,
        "not used: pictures that no row names (1)",
    ]
    write_raw("clouds", samples, CLOUDS, False, 100, tmp_path / "raw", processes=1)
    masks = [
        decode_png(sample["mask"])
        for shard in sorted((tmp_path / "raw").glob("*.tfrecord"))
        for sample in read_shard(shard)
    ]
    assert len(masks) == 6
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:, 2] = 1
    expected[20:, 2] = expected[:10, 3] = 2  # Gravel stands later in the table
    assert all((mask == expected).all() for mask in masks)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("ImageId,ClassId,EncodedPixels\na.jpg,1,1 2\na.jpg,4,5 2\n", {"class_1": 1, "class_4": 4}),
        ("ImageId_ClassId,EncodedPixels\na.jpg_1,1 2\na.jpg_4,5 2\n", {"class_1": 1, "class_4": 4}),
        ("ImageId,ClassId,EncodedPixels\na.jpg,1.0,1 2\na.jpg,4.0,5 2\na.jpg,,\n",
         {"class_1": 1, "class_4": 4}),
        ("ImageId_ClassId,EncodedPixels\na.jpg_1.0,1 2\na.jpg_4.,5 2\n", {"class_1": 1, "class_4": 4}),
        ("id,rle_mask\na,1 2\na,5 2\n", {"object": 0}),
        ("\ufeffimg, EncodedPixels\r\na.jpg,1 2\r\na.jpg,-1\r\n\r\n", {"object": 0}),
    ],
)  # fmt: skip
def test_columns_are_found_by_the_names_that_challenges_give_them(folder, text, labels):
    root = folder(text, "train/a.jpg")
    assert rle.labels(root) == labels
    numbered = ClassTable(
        (
            CLOUDS.classes[0],
            SegmentationClass("scratch", 1, "#0072b2"),
            SegmentationClass("dent", 4, "#e69f00"),
        )
    )
    if "class_1" in labels:  # a class may be renamed: its value tells
        assert mask_of(root, numbered)[:7, 0].tolist() == [1, 1, 0, 0, 2, 2, 0]


@pytest.mark.parametrize("renamed", ["class_0", "class_1", "class_2"])
def test_a_renamed_class_keeps_its_masks_though_classes_count_from_0(folder, renamed):
    root = folder(
        "ImageId,ClassId,EncodedPixels\na.jpg,0,1 1\na.jpg,1,2 1\na.jpg,2,3 1\n", "images/a.jpg"
    )
    proposed = label_table(rle.labels(root), Names())
    assert proposed.names == ["background", "class_0", "class_1", "class_2"]
    rows = [replace(row, name="own" if row.name == renamed else row.name) for row in proposed.classes]
    assert mask_of(root, ClassTable(tuple(rows)))[:4, 0].tolist() == [1, 2, 3, 0]


def test_a_number_that_a_mask_cannot_hold_says_nothing_of_the_others(folder):
    root = folder("ImageId,ClassId,EncodedPixels\na.jpg,0,1 1\na.jpg,1,2 1\n", "images/a.jpg")
    numbered = ("background", "scratch", "dent")  # as a table with places for values had them
    rows = [SegmentationClass(name, n, f"#00000{n}") for n, name in enumerate(numbered)]
    with pytest.raises(BadSampleError, match="labels that are no class: 'class_0', 'class_1'"):
        mask_of(root, ClassTable(tuple(rows)))


@pytest.mark.parametrize("runs", ["", "-1", '""'])
def test_a_row_without_runs_is_a_picture_of_background(folder, runs):
    assert (mask_of(folder(f"ImageId,EncodedPixels\na.jpg,{runs}\n", "images/a.jpg")) == 0).all()


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ("1 2 3", "3 numbers; expected pairs of first pixel and length"),
        ("1 1201", "a run of pixels 1 to 1201; expected pixels 1 to 1200, those of the picture"),
        ("0 5", "a run of pixels 0 to 4; expected"),
        ("1 5 3 5", "runs that overlap; expected runs apart from each other"),
        ("1 -5", "run lengths with '1 -5'; expected numbers"),
        ("1 99999999999999999999", "a run beyond the picture"),
        ("one two", "run lengths with 'one two'"),
    ],
)
def test_malformed_run_lengths_are_a_problem_of_their_picture(folder, runs, words):
    root = folder(f"ImageId,EncodedPixels\na.jpg,{runs}\n", "images/a.jpg")
    with pytest.raises(BadSampleError) as error:
        mask_of(root)
    assert words in str(error.value)
    assert str(error.value).startswith("train.csv (a.jpg): ")


def test_a_picture_that_is_missing_is_one_problem_however_many_rows_it_has(folder):
    root = folder("ImageId,EncodedPixels\na.jpg,1 2\ngone.jpg,1 2\ngone.jpg,5 2\n", "images/a.jpg")
    problems = [str(one) for one in found(root) if isinstance(one, Problem)]
    assert problems == [f"train.csv (gone.jpg): no such picture; expected it below {root.name}/"]


def test_a_table_that_names_no_picture_of_the_folder_is_refused(folder):
    root = folder("ImageId,EncodedPixels\na.jpg,1 2\nb.jpg,1 2\n", "images/c.jpg")
    with pytest.raises(UserError, match=r"holds none of the 2 pictures that train\.csv names"):
        found(root)


masks = st.integers(1, 9).flatmap(
    lambda height: st.integers(1, 9).flatmap(
        lambda width: st.lists(st.booleans(), min_size=height * width, max_size=height * width).map(
            lambda bits: np.array(bits, np.uint8).reshape(height, width)
        )
    )
)


@given(masks)
def test_any_mask_comes_back_from_kaggles_own_encoder(tmp_path_factory, mask):
    root = tmp_path_factory.mktemp("rle")
    Image.new("RGB", mask.shape[::-1]).save(root / "a.png")
    table = ClassTable((CLOUDS.classes[0], SegmentationClass("ship", 1, "#0072b2")))
    content = rle.RunLengths(root / "a.png", (("ship", encoded(mask)),), table, "train.csv (a)")
    assert (content.read()[1] == mask).all()


RUNS = st.lists(st.integers(-2, 15), max_size=6).map(lambda numbers: " ".join(map(str, numbers)))
ROWS = st.builds("a,{}".format, RUNS) | st.text('0123456789 -,\t\r\n"_aé\x00', max_size=40)


@given(st.lists(ROWS, max_size=4).map("\n".join))
def test_whatever_a_table_holds_there_are_samples_or_problems_and_no_traceback(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("rle")
    Image.new("RGB", (4, 3)).save(root / "a.png")
    (root / "train.csv").write_text(f"ImageId,EncodedPixels\n{text}\na,1 2\n", newline="")
    assert outcome("rle", root, CLOUDS), "nothing was said"


def test_two_tables_or_two_pictures_of_one_name_are_not_merged(folder):
    root = folder("ImageId,EncodedPixels\na.jpg,1 2\nb.jpg,1 2\n", "images/a.jpg", "images/b.jpg")
    (root / "more.csv").write_text("ImageId,EncodedPixels\na.jpg,5 2\n")
    assert [p.found for p in found(root) if isinstance(p, Problem)] == [
        "a duplicate name, 2 files for a"
    ]


def test_a_table_with_line_ends_of_old_macs_is_read(folder):
    root = folder("ImageId,EncodedPixels\ra.jpg,1 2\r", "images/a.jpg")
    assert [one.name for one in found(root) if isinstance(one, Sample)] == ["a"]


def problems(root, table=CLOUDS):
    """What is refused before and while the masks are drawn."""
    for one in found(root, table):
        if isinstance(one, Problem):
            yield str(one)
        elif isinstance(one, Sample):
            try:
                one.content.read()
            except BadSampleError as error:
                yield str(error)


def test_run_lengths_of_another_size_than_the_picture_are_refused(folder):
    # 12 x 10 and 40 x 30 pixels: the runs would fit, and the mask would be scrambled.
    root = folder("ImageId,EncodedPixels,Height,Width\na.jpg,1 3,10,12\n", "images/a.jpg")
    assert [*problems(root)] == [
        "train.csv (a.jpg): drawn on a picture of 12x10; expected the image's size, 40x30"
    ]


def test_rows_that_give_a_picture_two_sizes_are_refused(folder):
    text = "ImageId,EncodedPixels,Height,Width\na.jpg,1 3,30,40\na.jpg,5 1,40,30\n"
    assert [*problems(folder(text, "images/a.jpg"))] == [
        "train.csv (a.jpg): rows of 2 sizes; expected one Height and Width for a picture"
    ]


def test_height_and_width_tell_on_which_view_run_lengths_were_drawn(tmp_path):
    # Stored 4 wide and 2 high, shown 2 wide and 4 high: pixels 1 to 3 are the top of the left column.
    noise(tmp_path / "a.png", (4, 2), orientation=6)
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels,Height,Width\na.png,1 3,4.0,2\n")
    (sample,) = only(Sample, samples := found(tmp_path, SHIP))
    assert sample.content.read()[1].tolist() == [[1, 0], [1, 0], [1, 0], [0, 0]]
    assert [note.text for note in only(Note, samples)] == [
        "EXIF turns 1 pictures; their masks are taken as drawn on the upright view, as 1 sizes tell"
    ]
    assert sample.upright is True


def test_run_lengths_without_sizes_are_said_to_lie_on_the_stored_view(tmp_path):
    noise(tmp_path / "a.png", (4, 2), orientation=6)
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na.png,1 3\n")
    (note,) = only(Note, found(tmp_path, SHIP))
    assert note.text.startswith("EXIF turns 1 pictures; their masks are taken as drawn on the stored vi")


@pytest.mark.parametrize("called", [r"train_images\a.JPG", "/kaggle/input/a.jpg", "a.JPG", "a"])
def test_a_row_may_call_its_picture_by_another_machines_path_or_letters(folder, called):
    root = folder(f"ImageId,EncodedPixels\n{called},1 2\n", "images/a.jpg")
    assert [one.name for one in only(Sample, found(root))] == ["a"]


def test_a_path_tells_which_of_two_pictures_of_one_name_is_meant(folder):
    root = folder("ImageId,EncodedPixels\nnorth/a.jpg,1 2\n", "north/a.jpg", "south/a.jpg")
    assert [one.image for one in only(Sample, found(root))] == ["north/a.jpg"]


@pytest.mark.parametrize("called", ["a_1.jpg", "a_1"])
def test_a_label_may_hold_the_sign_that_parts_it_from_the_picture(folder, called):
    root = folder(f"Image_Label,EncodedPixels\n{called}_Sugar_cane,1 2\n", "images/a_1.jpg")
    assert rle.labels(root) == {"Sugar_cane": 0}
    assert [one.name for one in only(Sample, found(root))] == ["a_1"]


def test_a_label_of_a_missing_picture_is_parted_behind_the_suffix(folder):
    root = folder("Image_Label,EncodedPixels\na.jpg_x_y,1 2\nb.jpg_x_y,1 2\n", "images/a.jpg")
    assert rle.labels(root) == {"x_y": 0}
    assert next(problems(root)).startswith("train.csv (b.jpg): no such picture")


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_table_with_semicolons_or_tabs_is_read(folder, sign):
    root = folder(f"ImageId{sign}EncodedPixels\na.jpg{sign}1 2\n", "images/a.jpg")
    assert [one.name for one in only(Sample, found(root))] == ["a"]
