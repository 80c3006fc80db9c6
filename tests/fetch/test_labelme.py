"""Labelme's JSON: what is drawn, what is left out and said, what is refused."""

import base64
import io
import json
import shutil
import unicodedata

import numpy as np
import pytest
from fuzz import bounded
from helpers import decode_rgb
from own_folders import HEIGHT, WIDTH, mask_in, only, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import labelme as module
from segpipe.fetch.layouts import matching
from segpipe.fetch.raw import check
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample
from segpipe.survey.folder import Request, survey

CATS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    ),
    (255,),
)
CAT, IGNORED = 1, 255  # class indices


def found(root, table=CATS):
    return list(layouts.samples("labelme", root, 0.3, table))


def mask_of(root, table=CATS):
    return mask_in(found(root, table))


def notes(root):
    return [note.text for note in only(Note, found(root))]


@pytest.fixture
def labelme(tmp_path, rng):
    save(photo(rng), tmp_path / "a.jpg")

    def write(*shapes, **changes):
        content = {"shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imagePath": "a.jpg"}
        (tmp_path / "a.json").write_text(json.dumps({**content, **changes}))
        return tmp_path

    return write


def shape(kind, *points, **more):
    return {"label": "cat", "shape_type": kind, "points": points, **more}


def test_each_kind_of_shape_covers_what_it_should(labelme):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    diagonal = rows * 39 + columns * 29
    from_centre = np.hypot(columns - 20, rows - 15)
    for drawn, inside, outside in (
        (shape("circle", [20, 15], [20, 5]), from_centre <= 9.5, from_centre > 10.8),
        (shape("point", [20, 15]), from_centre <= 4.5, from_centre > 5.8),
        (shape("line", [0, 15], [39, 15]), abs(rows - 15) <= 4, abs(rows - 15) > 5),
        (
            shape("linestrip", [20, 0], [20, 15], [20, 29]),
            abs(columns - 20) <= 4, abs(columns - 20) > 5,
        ),
        (shape(None, [0, 0], [39, 0], [0, 29]), diagonal < 1100, diagonal > 1200),
    ):  # fmt: skip
        mask = mask_of(labelme(drawn))
        assert (mask[inside] == CAT).all(), drawn
        assert (mask[outside] == 0).all(), drawn


@pytest.mark.parametrize("kind", ["rectangle", "rotation", "oriented_rectangle", "quadrilateral"])
def test_four_corners_are_a_polygon_in_newer_versions(labelme, kind):
    box = shape(kind, [3, 4], [12, 4], [12, 13], [3, 13])
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:14, 3:13] = CAT
    assert (mask_of(labelme(box)) == expected).all()
    mask = mask_of(labelme(shape(kind, [20, 5], [30, 15], [20, 25], [10, 15])))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    assert (mask == CAT * (abs(columns - 20) + abs(rows - 15) <= 10)).all()
    assert notes(labelme(shape(kind, [40, 3], [50, 3], [50, 9], [40, 9]))) == [
        "1 shapes in 1 files lie outside of their pictures: they cover nothing"
    ]


@pytest.mark.parametrize("value", [1, 255], ids=["as Labelme writes it", "as others do"])
def test_a_mask_drawn_by_labelmes_models_lies_where_it_was(labelme, value):
    stencil = np.zeros((4, 6), np.uint8)
    stencil[1:3, 2:5] = value
    buffer = io.BytesIO()
    Image.fromarray(stencil).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    mask = mask_of(labelme(shape("mask", [10, 20], [15, 23], mask=text)))
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[21:23, 12:15] = CAT
    assert (mask == expected).all()


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (
            shape("rectangle", [1, 1], [2, 2], [3, 3]),
            "shape 1, a rectangle of 3 points; expected a polygon (3 points or more), rectangle (2, ",
        ),
        (shape("spline", [1, 1], [2, 2]), "shape 1, a spline of 2 points"),
        (
            shape("mask", [1, 1], [2, 2], mask="no text"),
            "a mask of 2 points, has a text that is no base64",
        ),
        (shape("mask", [1, 1], [2, 2]), "shape 1, a mask of 2 points; expected a polygon"),
        (shape("rotation", [1, 1], [9, 1], [9, 9]), "shape 1, a rotation of 3 points; expected a "),
        ({"points": []}, "not Labelme's JSON (shapes.0.label: field required)"),
        (shape("polygon", [1, 1, 1]), "not Labelme's JSON (shapes.0.points.0: "),
        (
            shape("polygon", [1, 1], [9, 9], [1, 1e300]),
            "shape 1, a polygon of 3 points, has a coordinate of 1e+300; expected x and y in pixels",
        ),
        (
            shape("circle", [1, 1], [9, float("nan")]),
            "a circle of 2 points, has a coordinate that is no n",
        ),
        (shape("circle", [1, 1], [1e6, 1]), "has a radius of 1e+06 pixels, with 100,000 at most"),
        (shape("line", [1, 1], [float("inf"), 9]), "a coordinate that is no number"),
        (shape("polygon", *[[-40, -30], [79, 59]] * 15_000), "an outline of 6.24e+06 pixels"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named(labelme, drawn, words):
    root = labelme(drawn)
    with bounded(), pytest.raises(BadSampleError) as error:
        mask_of(root)
    assert words in str(error.value.problem)
    assert str(error.value.problem).startswith("a.json: ")


@pytest.mark.parametrize("kind", ["polygon", "line", "rectangle"])
def test_shapes_that_reach_far_outside_cost_nothing(labelme, kind):
    far = [[-1e6, 5], [1e6, 5], [1e6, 1e6]][: 3 if kind == "polygon" else 2]
    root = labelme(shape(kind, *far))
    with bounded():
        assert (mask_of(root)[5, 5:] == CAT).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"label"',
            '"label": "dog", "label"',
            "not Labelme's JSON (two keys 'label' in one object at char",
        ),
        ('"imageHeight"', '"shapes": [], "imageHeight"', "(two keys 'shapes' in one object)"),
        ('"cat"', '"c\udce4t"', "(text that is not UTF-8)"),
        ('"imageHeight": 30', '"imageHeight": 30000000000', "drawn on a picture of 40x30000000000"),
        ('"imageHeight": 30', '"imageHeight": "tall"', "(imageHeight: input should be a valid integer"),
        ("]}", "", "an early end at char"),
    ],
)
def test_a_damaged_file_is_a_problem_of_its_sample(labelme, old, new, words):
    root = labelme(shape("rectangle", [3, 4], [12, 13]))
    text = (root / "a.json").read_text().replace(old, new)
    (root / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    (sample,) = only(Sample, found(root))
    assert words in str(check(sample, CATS))


def test_a_mask_larger_than_the_picture_is_refused_before_it_is_decoded(labelme):
    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    root = labelme(shape("mask", [0, 0], [9, 9], mask=text))
    with bounded(1, 50 << 20), pytest.raises(BadSampleError, match="a mask of 9000x9000"):
        mask_of(root)


def test_slips_of_too_few_points_cover_nothing_and_are_counted(labelme):
    box = shape("rectangle", [3, 4], [12, 13])
    slips = [shape("polygon", [1, 1], [2, 2]), shape("circle", [1, 1]), shape(None)]
    root = labelme(box, *slips)
    assert (mask_of(root) == CAT).sum() == 100
    assert notes(root) == ["3 shapes in 1 files cover nothing (a polygon needs three points)"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_known_with_an_image_before_its_shapes_and_any_byte_order_mark(labelme, encoding):
    root = labelme(shape("rectangle", [3, 4], [12, 13]))
    content = json.loads((root / "a.json").read_text())
    text = json.dumps({"imageData": "/9j/" * 100_000, **content})
    (root / "a.json").write_bytes(text.encode(encoding))
    assert module.seen(root) == "Labelme's JSON beside each image, as a.json"
    assert module.labels(root) == {"cat": 0}
    assert (mask_of(root) == CAT).sum() == 100


def test_the_picture_beside_a_file_is_the_one_that_it_names(labelme, rng):
    root = labelme(imagePath="a.png")
    save(photo(rng), root / "a.png")
    assert [sample.image for sample in only(Sample, found(root))] == ["a.png"]
    (problem,) = only(Problem, found(root))
    assert str(problem).startswith("a.jpg: no annotation for its partner")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shapes_lie_on_the_upright_view_whatever_exif_says(labelme, rng, orientation):
    root = labelme()
    upright = np.asarray(photo(rng))
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip  # from the upright view to the stored pixels
    stored = Image.fromarray(upright)
    stored = stored.transpose(turn[orientation]) if orientation > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    (root / "a.jpg").unlink()
    stored.save(root / "a.png", exif=exif)
    labelme(shape("rectangle", [3, 4], [12, 13]), imagePath="a.png")
    (sample,) = only(Sample, found(root))
    checked = check(sample, CATS)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:14, 3:13] = CAT
    assert (decode_png(checked.mask) == expected).all()
    assert (np.asarray(decode_rgb(checked.image)) == upright).all()


def test_splits_may_be_written_in_capitals(labelme, rng):
    root = labelme()
    for folder in ("Train", "Test"):
        save(photo(rng), root / folder / "x.jpg")
        shutil.copy(root / "a.json", root / folder / "x.json")
    assert {s.name: s.split for s in only(Sample, found(root))} == {"Train/x": "train", "Test/x": "test"}


def test_a_picture_and_its_json_may_have_other_unicode_forms(tmp_path, rng):
    composed, parted = (unicodedata.normalize(form, "über") for form in ("NFC", "NFD"))
    save(photo(rng), tmp_path / f"{parted}.jpg")
    content = {"shapes": [], "imagePath": "gone.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (tmp_path / f"{composed}.json").write_text(json.dumps(content))
    assert [one.name for one in found(tmp_path)] == [composed]


def test_splits_stay_splits_beside_other_folders(labelme, rng):
    root = labelme()
    for folder in ("train", "val", "test", "extra", ".ipynb_checkpoints"):
        save(photo(rng), root / folder / f"{folder}.jpg")
        shutil.copy(root / "a.json", root / folder / f"{folder}.json")
    validation = matching.splits_of(("train", "val", "test"))["val"]
    by_name = {sample.name: sample.split for sample in only(Sample, found(root))}
    assert by_name == {"train/train": "train", "val/val": validation, "test/test": "test"}
    assert notes(root) == [
        "left out, as they are in none of the splits test, train, val: 1 without a folder, 1 in extra/"
    ]


def test_a_label_close_to_a_class_is_met_with_a_question(labelme):
    drawn = {"label": "trafic light", "points": [[0, 0], [9, 0], [9, 9]]}
    with pytest.raises(BadSampleError) as error:
        mask_of(labelme(drawn))
    assert "labels that are no class: 'trafic light'; did you mean traffic_light?" in str(
        error.value.problem
    )


def test_an_image_without_annotation_is_reported_and_one_without_shapes_is_background(labelme, rng):
    root = labelme()
    assert (mask_of(root) == 0).all()
    save(photo(rng), root / "b.jpg")
    (problem,) = (item for item in found(root) if isinstance(item, Problem))
    assert str(problem) == (
        "b.jpg: no annotation for its partner; expected b.json beside it; one without shapes, where "
        "there is nothing"
    )


def test_an_annotation_elsewhere_names_its_image_as_windows_spells_paths(labelme):
    root = labelme(shape("point", [20, 15]), imagePath="..\\photos\\a.jpg")
    for file, place in (("a.jpg", "photos"), ("a.json", "labels")):
        (root / place).mkdir()
        shutil.move(root / file, root / place)
    (item,) = found(root)
    assert (item.name, item.image) == ("labels/a", "photos/a.jpg")


def test_a_class_takes_the_labels_among_its_values_in_any_script(labelme):
    labels = ("斑马线", "कुत्ता", "cafe\u0301")
    table = ClassTable(
        (
            SegmentationClass("background", "rest", "#999999"),
            SegmentationClass("cat", ("斑马线", "caf\u00e9"), "#0072b2"),
            SegmentationClass("कुत्ता", 6, "#e69f00"),
        )
    )
    drawn = [shape("rectangle", [n, 0], [n, 9], label=label) for n, label in enumerate(labels)]
    mask = mask_of(
        labelme(*[one | {"label": label} for one, label in zip(drawn, labels, strict=True)]), table
    )
    assert mask[0, :4].tolist() == [1, 2, 1, 0]


def test_coordinates_that_are_parts_of_the_picture_are_refused(labelme):
    root = labelme(
        shape("polygon", [0.1, 0.1], [0.5, 0.1], [0.5, 1.0]), shape("rectangle", [0, 0], [1, 1])
    )
    with pytest.raises(
        BadSampleError, match=r"a\.json: coordinates from 0 to 1 alone, as parts of width"
    ):
        mask_of(root)


def test_shapes_outside_of_their_pictures_are_counted(labelme):
    # A picture of 40 x 30.
    outside = shape("polygon", [40, 3], [50, 3], [50, 9]), shape("rectangle", [3, 30], [9, 35])
    root = labelme(
        *outside, shape("polygon", [30, 3], [50, 3], [50, 9]), shape("circle", [-2, 3], [3, 3])
    )
    assert notes(root) == ["2 shapes in 1 files lie outside of their pictures: they cover nothing"]


def test_a_folder_whose_pictures_lie_elsewhere_is_told_so_and_not_that_it_has_no_labels(tmp_path, rng):
    save(photo(rng), tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    content = {"shapes": [shape("polygon", [1, 1], [9, 1], [9, 9])], "imagePath": "a.jpg"}
    (tmp_path / "labels/a.json").write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"such as labels/a\.json: no image for its partner; expected the"
    ):
        survey(tmp_path, Request(0.2, 0.1), processes=1)
