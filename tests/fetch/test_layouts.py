"""Layouts of the user's own folder: what goes together, what is drawn, what is refused."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from own_folders import FOLDERS, HEIGHT, WIDTH, photo, save
from PIL import Image
from pycocotools import mask as runs

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.records import open_records, read
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError, Problem, Sample
from segpipe.preprocess.write import write_records

CATS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    ),
    (255,),
)


def found(root, layout, table=CATS, share=0.3):
    return list(layouts.samples(layout, root, share, table))


def names(root, layout, **more):
    items = [item for item in found(root, layout, **more) if isinstance(item, Sample)]
    return {split: {s.name for s in items if s.split == split} for split in ("train", "val", "test")}


# --- splits -------------------------------------------------------------------------------------


def test_train_val_and_test_are_what_their_names_say(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    for split, found_there in names(tmp_path, "splits").items():
        assert {name.split("/")[0] for name in found_there} == {split}


def test_val_is_the_test_split_where_there_is_no_other(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    shutil.rmtree(tmp_path / "testannot")  # a challenge's test images, without masks
    split = names(tmp_path, "splits")
    assert {name.split("/")[0] for name in split["test"]} == {"val"}
    assert len(split["train"]) == 10


def test_train_alone_is_split_by_hash(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path, rng)
    for part in ("val", "test"):
        shutil.rmtree(tmp_path / f"{part}annot")
    split = names(tmp_path, "splits")
    assert len(split["train"]) + len(split["test"]) == 10
    assert split["test"]


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("train", "train_labels", "_L"),
        ("train", "train-masks", ""),
        ("train/img", "train/gt", "_gt"),
        ("imgs/train", "labels/train", "_label"),
        ("images/training", "annotations/training", ""),
    ],
)
def test_the_usual_words_for_images_and_masks_are_known(tmp_path, rng, images, masks, ending):
    for part in ("train", "test"):
        save(photo(rng), tmp_path / images.replace("train", part) / "a.jpg")
        save(Image.new("L", (WIDTH, HEIGHT)), tmp_path / masks.replace("train", part) / f"a{ending}.png")
    word = "training" if "training" in images else "train"
    assert names(tmp_path, "splits") == {
        "train": {f"{word}/a"}, "val": set(), "test": {word.replace("train", "test") + "/a"},
    }  # fmt: skip
    assert next(iter(layouts.layouts_of(tmp_path))) == "splits"


def test_a_folder_without_parts_for_training_is_named(pairs):
    for kind in ("images", "masks"):
        (pairs / kind / "test").mkdir()
        for path in (pairs / kind).glob("photo*"):
            path.rename(path.parent / "test" / path.name)
    with pytest.raises(UserError, match=r"no folders for training, but test/; expected train/ with"):
        found(pairs, "splits")


# --- Carvana ------------------------------------------------------------------------------------


def test_the_views_of_a_car_stay_together_in_test_and_in_validation(tmp_path, rng):
    FOLDERS["Carvana"][1](tmp_path / "cars", rng)
    table = ClassTable(
        (SegmentationClass("ground", 0, "#000000"), SegmentationClass("car", 255, "#ffffff"))
    )
    items = found(tmp_path / "cars", "carvana", table, 0.2)
    write_raw("cars", items, table, False, 100, tmp_path / "raw", processes=1)
    write_records(
        tmp_path / "raw", table, (32, 32), "stretch", 0.25, 100, tmp_path / "records", threads=1
    )
    manifest = open_records(tmp_path / "records")
    cars = {s: [sample["name"].split("_")[0] for sample in read(manifest, s)] for s in manifest.splits}
    assert sum(map(len, cars.values())) == 32
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {*cars[one]} & {*cars[other]}
    assert all(cars[split].count(car) == 4 for split in cars for car in cars[split])


def test_a_number_at_the_end_of_a_name_makes_no_car(tmp_path, rng):
    for number in range(1, 13):
        save(photo(rng), tmp_path / f"photo_{number:02d}.jpg")
        save(Image.new("L", (WIDTH, HEIGHT)), tmp_path / f"photo_{number:02d}_mask.gif")
    assert all(s.group == "" for s in found(tmp_path, "carvana"))
    split = names(tmp_path, "carvana")
    assert split["train"]
    assert split["test"]


def test_a_car_without_a_mask_is_reported(tmp_path, rng):
    FOLDERS["one folder"][1](tmp_path, rng)
    (tmp_path / "car 3_mask.gif").unlink()
    (problem,) = (item for item in found(tmp_path, "carvana") if isinstance(item, Problem))
    assert str(problem).startswith("car 3.jpg: no mask for its partner; expected a file of the same")


# --- VOC ----------------------------------------------------------------------------------------


def test_vocs_val_is_the_test_split_until_there_is_one(tmp_path, rng):
    FOLDERS["VOC"][1](tmp_path, rng)
    assert names(tmp_path, "voc")["test"] == {f"2007_{n:06d}" for n in range(10, 14)}
    lists = tmp_path / "ImageSets/Segmentation"
    (lists / "test.txt").write_text("2007_000010\n")
    (lists / "val.txt").write_text("2007_000011\n")
    split = names(tmp_path, "voc")
    assert split["test"] == {"2007_000010"}
    assert split["val"] == {"2007_000011"}
    assert len(split["train"]) == 10


# --- COCO ---------------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path, rng):
    """One image and its JSON file; `change` edits the latter's content."""
    save(photo(rng), tmp_path / "images" / "a.jpg")

    def write(*annotations, **changes):
        content = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "annotations": [{"id": n, "image_id": 1, **a} for n, a in enumerate(annotations, 10)],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "traffic light"}],
        }
        (tmp_path / "result.json").write_text(json.dumps({**content, **changes}))
        return tmp_path

    return write


def mask_of(root, layout):
    (item,) = found(root, layout)
    return decode_png(item.content.read()[1])


BOX = [3.0, 4.0, 13.0, 4.0, 13.0, 14.0, 3.0, 14.0]


def test_a_category_is_the_class_of_its_name_whatever_its_id(coco):
    mask = mask_of(coco({"category_id": 2, "segmentation": [BOX]}), "coco")
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:14, 3:13] = 6
    assert (mask == expected).all()


def test_compressed_run_lengths_are_those_of_pycocotools(coco, rng):
    drawn = np.asfortranarray(rng.integers(0, 2, (HEIGHT, WIDTH), np.uint8))
    packed = runs.encode(drawn)
    segmentation = {"size": packed["size"], "counts": packed["counts"].decode()}
    mask = mask_of(coco({"category_id": 1, "segmentation": segmentation}), "coco")
    assert (mask == drawn * 5).all()


def test_objects_lie_over_crowds_and_small_over_large_whatever_their_order(coco):
    small, large = [BOX], [[0.0, 0.0, 20.0, 0.0, 20.0, 20.0, 0.0, 20.0]]
    crowd = [[0.0, 0.0, 5.0, 0.0, 5.0, 30.0, 0.0, 30.0]]
    annotations = [
        {"category_id": 1, "segmentation": small},
        {"category_id": 2, "segmentation": large},
        {"category_id": 1, "segmentation": crowd, "iscrowd": 1},
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        mask = mask_of(coco(*(annotations[n] for n in order)), "coco")
        assert (mask[4:14, 3:13] == 5).all()
        assert (mask[:4, :20] == 6).all()
        assert (mask[20:, :5] == 255).all()
        assert (mask[20:, 5:] == 0).all()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"category_id": 1}, "annotation 10 has no segmentation; expected polygons or run lengths, not"),
        ({"category_id": 9, "segmentation": [BOX]}, "annotation 10 has category 9; expected one of"),
        ({"category_id": 1, "segmentation": [BOX[:-1]]}, "a polygon of an odd number of numbers"),
        (
            {"category_id": 1, "segmentation": {"size": [5, 5], "counts": [25]}},
            "annotation 10 has run lengths of 25 pixels for a size of (5, 5); expected the image's, (",
        ),
        (
            {"category_id": 1, "segmentation": {"size": [30, 40], "counts": [25, 10**9]}},
            "annotation 10 has run lengths of 1000000025 pixels for a size of (30, 40); expected the",
        ),
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_named(coco, annotation, words):
    with pytest.raises(BadSampleError) as error:
        mask_of(coco(annotation), "coco")
    assert words in str(error.value.problem)
    assert str(error.value.problem).startswith("result.json (image 1): ")


@pytest.mark.parametrize("counts", ["", "1", "no run lengths!", "e2" * 9])
def test_damaged_run_lengths_are_an_error_of_the_sample(coco, counts):
    annotation = {"category_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
    with pytest.raises(BadSampleError, match="run lengths"):
        mask_of(coco(annotation), "coco")


def test_annotations_of_a_picture_of_another_size_are_refused(coco):
    images = [{"id": 1, "file_name": "a.jpg", "height": 2 * HEIGHT, "width": 2 * WIDTH}]
    with pytest.raises(BadSampleError, match="drawn on a picture of 80x60"):
        mask_of(coco({"category_id": 1, "segmentation": [BOX]}, images=images), "coco")


def test_a_missing_image_is_a_problem_of_its_own(coco):
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in ((1, "a"), (2, "gone"))]
    items = found(coco(images=images), "coco")
    (problem,) = (item for item in items if isinstance(item, Problem))
    assert str(problem).startswith("result.json (image 2): gone.jpg: no such image; expected it beside")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"annotations": [{"id": 1}]},
            r"result.json: not COCO's annotations \(annotations.0.image_id: F",
        ),
        ({"annotations": [{"image_id": 7, "category_id": 1}]}, "is of image 7, which `images` does not"),
    ],
)
def test_a_file_that_is_not_cocos_is_named(coco, changes, words):
    with pytest.raises(UserError, match=words):
        found(coco(**changes), "coco")


def test_files_whose_split_nobody_can_tell_are_refused(coco):
    root = coco()
    shutil.copy(root / "result.json", root / "other.json")
    with pytest.raises(
        UserError, match=r"cannot tell the splits of other\.json, result\.json; have one"
    ):
        found(root, "coco")


def test_a_json_file_in_the_folder_of_each_split(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    for part in ("train", "valid"):
        (root / part).mkdir()
        shutil.copy(root / "images/a.jpg", root / part)
        shutil.copy(root / "result.json", root / part / "_annotations.coco.json")
    (root / "result.json").unlink()
    assert names(root, "coco") == {"train": {"train/a"}, "val": set(), "test": {"valid/a"}}


def test_a_category_that_is_no_class_is_named_with_its_share_and_a_line_to_add(coco, tmp_path):
    root = coco(
        {"category_id": 1, "segmentation": [BOX]},
        categories=[{"id": 1, "name": "big cat"}, {"id": 2, "name": "traffic light"}],
    )
    with pytest.raises(UserError) as error:
        write_raw("folder", found(root, "coco"), CATS, False, 100, tmp_path / "raw", processes=1)
    assert "labels that are no class: 'big cat'" in str(error.value)
    assert (
        "  big cat: 8.33 % of all pixels, in 1 masks; to make it a class, add to data.classes: "
        "- {name: big_cat, value: 1, colour: '#009e73'}"
    ) in str(error.value)


# --- Labelme ------------------------------------------------------------------------------------


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
        mask = mask_of(labelme(drawn), "labelme")
        assert (mask[inside] == 5).all(), drawn
        assert (mask[outside] == 0).all(), drawn


def test_a_mask_drawn_by_labelmes_models_lies_where_it_was(labelme):
    stencil = np.zeros((4, 6), np.uint8)
    stencil[1:3, 2:5] = 255
    buffer = io.BytesIO()
    Image.fromarray(stencil).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    mask = mask_of(labelme(shape("mask", [10, 20], [15, 23], mask=text)), "labelme")
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[21:23, 12:15] = 5
    assert (mask == expected).all()


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (
            shape("polygon", [1, 1], [2, 2]),
            "shape 1, a polygon of 2 points; expected a polygon (3 points",
        ),
        (shape("spline", [1, 1], [2, 2]), "shape 1, a spline of 2 points"),
        (shape("mask", [1, 1], [2, 2], mask="no picture"), "shape 1, a mask of 2 points"),
        ({"points": []}, "not Labelme's JSON (shapes.0.label: Field required)"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named(labelme, drawn, words):
    with pytest.raises(BadSampleError) as error:
        mask_of(labelme(drawn), "labelme")
    assert words in str(error.value.problem)
    assert str(error.value.problem).startswith("a.json: ")


def test_a_label_close_to_a_class_is_met_with_a_question(labelme):
    drawn = {"label": "trafic light", "points": [[0, 0], [9, 0], [9, 9]]}
    with pytest.raises(BadSampleError) as error:
        mask_of(labelme(drawn), "labelme")
    assert "labels that are no class: 'trafic light'; did you mean traffic_light?" in str(
        error.value.problem
    )


def test_an_image_without_annotation_is_reported_and_one_without_shapes_is_background(labelme, rng):
    root = labelme()
    assert (mask_of(root, "labelme") == 0).all()
    save(photo(rng), root / "b.jpg")
    (problem,) = (item for item in found(root, "labelme") if isinstance(item, Problem))
    assert str(problem) == (
        "b.jpg: no annotation for its partner; expected b.json beside it; one without shapes, where "
        "there is nothing"
    )


def test_an_annotation_elsewhere_names_its_image_as_windows_spells_paths(labelme):
    root = labelme(shape("point", [20, 15]), imagePath="..\\photos\\a.jpg")
    for file, place in (("a.jpg", "photos"), ("a.json", "labels")):
        (root / place).mkdir()
        shutil.move(root / file, root / place)
    (item,) = found(root, "labelme")
    assert (item.name, item.image) == ("labels/a", "photos/a.jpg")


def test_a_class_table_in_colours_cannot_name_labels(labelme):
    table = ClassTable((SegmentationClass("cat", "#ff0000", "#ff0000"),))
    with pytest.raises(UserError, match=r"data\.classes: the values are colours, but this layout draws"):
        found(labelme(), "labelme", table)


@pytest.mark.parametrize("layout", ["coco", "labelme"])
def test_a_folder_without_annotations_is_named(pairs, layout):
    with pytest.raises(UserError, match="no JSON file"):
        found(pairs, layout)
