"""COCO's JSON: what is drawn, what is left out and said, what is refused."""

import json
import shutil

import numpy as np
import pytest
from fuzz import bounded
from own_folders import HEIGHT, WIDTH, mask_in, only, photo, save
from pycocotools import mask as runs

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import coco as module
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample

CATS = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    ),
    (255,),
)
CAT, LIGHT, IGNORED = 1, 2, 255  # class indices


def found(root, table=CATS):
    return list(layouts.samples("coco", root, 0.3, table))


def mask_of(root, table=CATS):
    return mask_in(found(root, table))


def notes(root):
    return [note.text for note in only(Note, found(root))]


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


BOX = [3.0, 4.0, 13.0, 4.0, 13.0, 14.0, 3.0, 14.0]


def test_a_category_is_the_class_of_its_name_whatever_its_id(coco):
    mask = mask_of(coco({"category_id": 2, "segmentation": [BOX]}))
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:14, 3:13] = LIGHT
    assert (mask == expected).all()


def test_compressed_run_lengths_are_those_of_pycocotools(coco, rng):
    drawn = np.asfortranarray(rng.integers(0, 2, (HEIGHT, WIDTH), np.uint8))
    packed = runs.encode(drawn)
    segmentation = {"size": packed["size"], "counts": packed["counts"].decode()}
    mask = mask_of(coco({"category_id": 1, "segmentation": segmentation}))
    assert (mask == drawn * CAT).all()


def test_objects_lie_over_crowds_and_small_over_large_whatever_their_order(coco):
    small, large = [BOX], [[0.0, 0.0, 20.0, 0.0, 20.0, 20.0, 0.0, 20.0]]
    crowd = [[0.0, 0.0, 5.0, 0.0, 5.0, 30.0, 0.0, 30.0]]
    annotations = [
        {"category_id": 1, "segmentation": small},
        {"category_id": 2, "segmentation": large},
        {"category_id": 1, "segmentation": crowd, "iscrowd": 1},
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        mask = mask_of(coco(*(annotations[n] for n in order)))
        assert (mask[4:14, 3:13] == CAT).all()
        assert (mask[:4, :20] == LIGHT).all()
        assert (mask[20:, :5] == IGNORED).all()
        assert (mask[20:, 5:] == 0).all()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (
            {"category_id": 1, "bbox": [3, 4, 10, 10], "keypoints": [5, 5, 2], "segmentation": []},
            "annotation 10 has no segmentation; expected polygons or run lengths, not a box alone",
        ),
        ({"segmentation": [BOX]}, "annotation 10 is not COCO's (category_id: field required)"),
        (
            {"category_id": 1, "segmentation": [[[3, 4], [13, 4], [13, 14]]]},
            "annotation 10 is not COCO's (segmentation.list[list[float]].0.0: input should be a valid n",
        ),
        ({"category_id": 1, "segmentation": [BOX[:-1]]}, "annotation 10 has an odd number of coord"),
        (
            {"category_id": 1, "segmentation": [[*BOX, 1e300, 0]]},
            "annotation 10 has a coordinate of 1e+300",
        ),
        (
            {"category_id": 1, "segmentation": [[*BOX, float("nan"), 0]]},
            "a coordinate that is no number",
        ),
        (
            {"category_id": 1, "segmentation": [[*BOX, float("inf"), 0]]},
            "a coordinate that is no number",
        ),
        (
            {"category_id": 1, "segmentation": [[-40, -30, 79, 59] * 15_000]},
            "an outline of 6.24e+06 pixels",
        ),
        (
            {"category_id": 1, "segmentation": {"size": [5, 5], "counts": [25]}},
            "annotation 10 has run lengths for a size of (5, 5); expected pairs of numbers x and y, or "
            "run lengths, of a picture of 40x30",
        ),
        (
            {"category_id": 1, "segmentation": {"size": [30, 40], "counts": [25, 10**9]}},
            "annotation 10 has run lengths of 1000000025 pixels for a size of (30, 40)",
        ),
        (
            {"category_id": 1, "segmentation": {"size": [10**9, 10**9], "counts": [10**18]}},
            "annotation 10 has run lengths for a size of (1000000000, 1000000000)",
        ),
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_named(coco, annotation, words):
    root = coco(annotation)
    with bounded(), pytest.raises(BadSampleError) as error:
        mask_of(root)
    assert words in str(error.value.problem)
    assert str(error.value.problem).startswith("result.json (image 1): ")


@pytest.mark.parametrize(
    "annotation",
    [
        {"category_id": 1},
        {"category_id": 1, "segmentation": [], "area": 0, "bbox": [0, 0, 0, 0]},
        {"category_id": 1, "segmentation": [[]], "iscrowd": False},
        {"category_id": 1, "segmentation": [[1.0, 1.0, 9.0, 9.0]], "bbox": [1, 1, 8, 8]},
        {"category_id": 1, "keypoints": [5, 5, 2], "num_keypoints": 1},
    ],
)
def test_an_object_without_an_outline_covers_nothing_and_is_counted(coco, annotation):
    root = coco(annotation, {"category_id": 1, "segmentation": [BOX]})
    assert (mask_of(root) == CAT).sum() == 100
    assert notes(root) == ["result.json: 1 annotations cover nothing (fewer than three points)"]


def test_a_polygon_far_outside_is_cut_and_covers_what_it_should(coco):
    million = 1e6
    half = [-million, -million, 20.0, -million, 20.0, million, -million, million]
    root = coco({"category_id": 1, "segmentation": [half]})
    with bounded():
        mask = mask_of(root)
    assert (mask[:, :20] == CAT).all()
    assert (mask[:, 20:] == 0).all()


def test_a_polygon_of_a_million_points_is_drawn(coco):
    angles = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    circle = np.stack([20 + 9 * np.cos(angles), 15 + 9 * np.sin(angles)], axis=1)
    root = coco({"category_id": 1, "segmentation": [circle.round(4).ravel().tolist()]})
    with bounded(10, 1 << 30):
        mask = mask_of(root)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot(columns + 0.5 - 20, rows + 0.5 - 15)
    assert (mask[radius < 8.3] == CAT).all()
    assert (mask[radius > 9.8] == 0).all()


def test_crowd_regions_are_counted_and_a_folder_of_nothing_else_is_refused(coco):
    """CVAT's export marks every mask as a crowd, https://github.com/cvat-ai/cvat/issues/7030."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    drawn[4:14, 3:13] = 1
    packed = runs.encode(drawn)
    segmentation = {"size": packed["size"], "counts": packed["counts"].decode()}
    stroke = {"category_id": 1, "segmentation": segmentation, "iscrowd": 1}
    root = coco(stroke, stroke, {"category_id": 2, "segmentation": [BOX]})
    (note,) = notes(root)
    assert "2 annotations are crowd regions" in note and "set iscrowd to 0" in note
    with pytest.raises(UserError, match=r"holds no object, as 1 annotations are crowd regions"):
        module.labels(coco(stroke))


def test_annotations_of_missing_images_are_left_out_and_of_missing_categories_ignored(coco):
    root = coco(
        {"category_id": 1, "segmentation": [BOX]},
        {"category_id": 1, "segmentation": [BOX], "image_id": 77},
        {"category_id": 9, "segmentation": [[0.0, 0.0, 40.0, 0.0, 40.0, 2.0, 0.0, 2.0]]},
    )
    mask = mask_of(root)
    assert (mask == CAT).sum() == 100
    assert (mask[:2] == IGNORED).all()
    assert notes(root) == [
        "result.json: 1 annotations are of images that `images` lacks; they are left out",
        "result.json: 1 annotations are of categories that `categories` lacks (9); they are ignored",
    ]
    assert module.labels(root) == {"cat": 1, "__ignore__": 0}


def test_ids_may_be_numbers_and_texts_of_any_size(coco):
    root = coco(
        {"category_id": "1003", "segmentation": [BOX], "image_id": "1"},
        categories=[{"id": 1003, "name": "cat"}],
    )
    assert (mask_of(root) == CAT).sum() == 100
    assert module.labels(root) == {"cat": 1003}


def test_two_categories_of_one_name_are_one_class_and_it_is_said(coco):
    right = [20.0, 4.0, 30.0, 4.0, 30.0, 14.0, 20.0, 14.0]
    root = coco(
        {"category_id": 3, "segmentation": [BOX]},
        {"category_id": 7, "segmentation": [right]},
        categories=[{"id": 3, "name": "cat"}, {"id": 7, "name": "cat"}],
    )
    assert (mask_of(root) == CAT).sum() == 200
    assert notes(root) == ["result.json: the categories 3, 7 are all called 'cat': they are one class"]
    assert module.labels(root) == {"cat": 3}


def test_a_category_called_background_is_what_no_shape_covers(coco):
    table = ClassTable(
        (SegmentationClass("cat", 2, "#0072b2"), SegmentationClass("background", 1, "#999999"))
    )
    root = coco({"category_id": 1, "segmentation": [BOX]})
    mask = mask_of(root, table)
    assert (mask == 1).sum() == HEIGHT * WIDTH - 100
    assert (mask[4:14, 3:13] == 0).all()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_may_begin_with_a_byte_order_mark_and_name_paths_as_windows_does(coco, encoding):
    images = [{"id": 1, "file_name": "images\\a.jpg"}]
    root = coco({"category_id": 1, "segmentation": [BOX]}, images=images)
    text = (root / "result.json").read_text()
    (root / "result.json").write_bytes(text.encode(encoding))
    assert module.seen(root) == "COCO's JSON: result.json"
    assert (mask_of(root) == CAT).sum() == 100
    assert [sample.name for sample in only(Sample, found(root))] == ["images/a"]


def test_a_file_in_another_encoding_is_named(coco):
    root = coco(categories=[{"id": 1, "name": "e"}])
    file = root / "result.json"
    file.write_bytes(file.read_bytes().replace(b'"e"', b'"\xe9"'))
    with pytest.raises(
        UserError, match=r"result\.json: not COCO's annotations \(text that is not UTF-8\)"
    ):
        found(root)


def test_two_pictures_of_one_stem_or_one_id_are_a_problem_of_the_second(coco, rng):
    images = [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 2, "file_name": "a.png"},
        {"id": 1, "file_name": "b.jpg"},
        {"id": 4},
    ]
    root = coco(images=images)
    save(photo(rng), root / "images" / "a.png")
    save(photo(rng), root / "images" / "b.jpg")
    assert [str(problem) for problem in only(Problem, found(root))] == [
        "result.json (`images`, 4): no image of COCO's (file_name: field required); expected id and "
        "file_name",
        "result.json (image 2): a.png: a duplicate name, as a.jpg; expected every name once",
        "result.json (image 1): b.jpg: the id of another image too; expected an id for each image",
    ]


def test_names_are_found_in_either_form_of_unicode(coco, rng):
    save(photo(rng), coco() / "images" / "cafe\u0301.jpg")
    root = coco(images=[{"id": 1, "file_name": "caf\u00e9.jpg"}])
    assert [sample.name for sample in only(Sample, found(root))] == ["caf\u00e9"]


@pytest.mark.parametrize("counts", ["", "1", "no run lengths!", "e2" * 9])
def test_damaged_run_lengths_are_an_error_of_the_sample(coco, counts):
    annotation = {"category_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
    with pytest.raises(BadSampleError, match="run lengths"):
        mask_of(coco(annotation))


def test_annotations_of_a_picture_of_another_size_are_refused(coco):
    images = [{"id": 1, "file_name": "a.jpg", "height": 2 * HEIGHT, "width": 2 * WIDTH}]
    with pytest.raises(BadSampleError, match="drawn on a picture of 80x60"):
        mask_of(coco({"category_id": 1, "segmentation": [BOX]}, images=images))


def test_a_missing_image_is_a_problem_of_its_own(coco):
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in ((1, "a"), (2, "gone"))]
    items = found(coco(images=images))
    (problem,) = (item for item in items if isinstance(item, Problem))
    assert str(problem).startswith("result.json (image 2): gone.jpg: no such image; expected it beside")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/set/images/a.jpg", "images/a"),
        ("C:\\set\\pictures\\a.jpg", "a"),
        ("../upload/1/a.jpg", "a"),
        ("https://host/images/a.jpg", "images/a"),
    ],
)
def test_a_path_of_another_machine_is_found_by_its_end_and_counted(coco, path, name):
    items = found(coco({"category_id": 1, "segmentation": [BOX]}, images=[{"id": 1, "file_name": path}]))
    assert [sample.name for sample in only(Sample, items)] == [name]
    assert (mask_in(items) == CAT).sum() == 100
    assert [note.text for note in only(Note, items)] == [
        f"1 pictures are found by the end of the path in the JSON file, as {path}: look at one, if that "
        "is no path of another machine"
    ]


def test_a_path_on_this_machine_gives_a_sample_the_same_name_on_any_other(coco):
    path = coco() / "images/a.jpg"
    items = found(
        coco({"category_id": 1, "segmentation": [BOX]}, images=[{"id": 1, "file_name": str(path)}])
    )
    assert [sample.name for sample in only(Sample, items)] == ["images/a"]


def test_the_end_of_a_path_that_several_pictures_have_is_a_problem(coco, rng):
    images = [
        {"id": 1, "file_name": "/x/b.jpg"},
        {"id": 2, "file_name": "/x/images/a.jpg"},
        {"id": 3, "file_name": "/y/a.jpg"},
        {"id": 4, "file_name": "c.jpg"},
        {"id": 5, "file_name": "/y/c.jpg"},
    ]
    root = coco({"category_id": 1, "segmentation": [BOX]}, images=images)
    for name in ("images/b.jpg", "b.jpg", "c.jpg"):
        save(photo(rng), root / name)
    items = found(root)
    assert [sample.name for sample in only(Sample, items)] == ["c", "images/a"]
    assert [str(problem).partition("result.json ")[2] for problem in only(Problem, items)] == [
        "(image 1): /x/b.jpg: b.jpg and images/b.jpg; expected one picture whose path ends so",
        "(image 3): /y/a.jpg: a.jpg, as another image; expected one of its own",
        "(image 5): /y/c.jpg: no such image; expected it beside the JSON file, in "
        f"{root} or in its images/",
    ]


def test_an_export_of_fiftyone_is_read(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    (root / "images").rename(root / "data")
    (root / "result.json").rename(root / "labels.json")
    assert layouts.layouts_of(root) == {"coco": "COCO's JSON: labels.json"}
    assert (mask_of(root) == CAT).sum() == 100


def test_ids_may_be_whole_numbers_as_pandas_writes_them(coco):
    root = coco(
        {"image_id": 1.0, "category_id": 2.0, "segmentation": [BOX]},
        {"image_id": 1, "category_id": 1.0, "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]]},
        images=[{"id": 1.0, "file_name": "a.jpg"}],
        categories=[{"id": 1, "name": "cat"}, {"id": 2.0, "name": "traffic light"}],
    )
    assert module.labels(root) == {"cat": 1, "traffic light": 2}
    mask = mask_of(root)
    assert ((mask == CAT).sum(), (mask == LIGHT).sum()) == (9, 100)


@pytest.mark.parametrize("crowd", [0, "0", 0.0, None, False])
def test_an_object_is_no_crowd_however_a_tool_writes_that(coco, crowd):
    root = coco({"category_id": 1, "segmentation": [BOX], "iscrowd": crowd})
    assert module.labels(root) == {"cat": 1}
    assert (mask_of(root) == CAT).sum() == 100
    assert notes(root) == []


class Twice(dict):
    """An object that json.dumps writes with each key twice."""

    def items(self):
        return [*super().items()] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"annotations": [7]},
            r"result.json: not COCO's annotations \(an annotation that is no object: 7",
        ),
        ({"annotations": {}}, r"not COCO's annotations \('{' instead of '\[' at character 88\)"),
        ({"categories": [{"id": 1}]}, r"not COCO's annotations \(categories: name: field required\)"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "two categories of id 1"),
        ({"info": [Twice(id=1)]}, r"two keys 'id' in one object at character"),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "segmentation": [BOX]}]},
            "result.json: none of its 1 annotations is of one of its 1 images",
        ),
    ],
)
def test_a_file_that_is_not_cocos_is_named(coco, changes, words):
    with pytest.raises(UserError, match=words):
        found(coco(**changes))


@pytest.mark.parametrize("length", [0, 1, 40, 200])
def test_a_file_cut_short_is_named_or_not_cocos_at_all(coco, length):
    file = coco({"category_id": 1, "segmentation": [BOX]}) / "result.json"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(UserError, match=r"an empty file|an early end"):
        found(file.parent)


def test_a_file_too_long_for_memory_is_refused_with_its_size(coco):
    file = coco() / "result.json"
    with file.open("r+b") as opened:
        opened.truncate(900_000_000)  # a hole, which takes no disk
    with (
        bounded(),
        pytest.raises(UserError, match=r"result\.json: 900 MB; expected at most 600 MB; split"),
    ):
        found(file.parent)


def test_a_file_beside_those_of_the_splits_is_left_out_and_named(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    for name in ("train", "test", "all"):
        shutil.copy(root / "result.json", root / f"{name}.json")
    (root / "result.json").unlink()
    assert {sample.name for sample in only(Sample, found(root))} == {"train/a", "test/a"}
    assert notes(root) == ["all.json has no train, val or test in its name; it is left out"]


def test_files_whose_split_nobody_can_tell_are_refused(coco):
    root = coco()
    shutil.copy(root / "result.json", root / "other.json")
    with pytest.raises(
        UserError, match=r"cannot tell the splits of other\.json, result\.json; have one"
    ):
        found(root)


def test_a_json_file_in_the_folder_of_each_split(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    for part in ("train", "valid"):
        (root / part).mkdir()
        shutil.copy(root / "images/a.jpg", root / part)
        shutil.copy(root / "result.json", root / part / "_annotations.coco.json")
    (root / "result.json").unlink()
    assert {(s.split, s.name) for s in only(Sample, found(root))} == {
        ("train", "train/a"), ("test", "valid/a"),
    }  # fmt: skip


def test_pictures_that_no_file_names_are_counted_in_the_folders_of_those_that_are(coco, rng):
    box = {"category_id": 1, "segmentation": [BOX]}
    root = coco(box, images=[{"id": 1, "file_name": "../images/a.jpg"}])
    (root / "train").symlink_to(root / "images")
    shutil.move(root / "result.json", root / "train.json")
    shutil.copy(root / "train.json", root / "other.json")
    boxes = box, {**box, "image_id": 2}
    coco(*boxes, images=[{"id": 1, "file_name": "cafe\u0301.jpg"}, {"id": 2, "file_name": "gone.jpg"}])
    shutil.move(root / "result.json", root / "valid.json")
    for name in ("images/caf\xe9.jpg", "val2017/mine.jpg", "masks/a.jpg", "more.jpg"):
        save(photo(rng), root / name)
    (root / "images/notes.txt").touch()
    said = "other.json has no train, val or test in its name; it is left out"
    assert notes(root) == [said]
    for name in ("c", "b", ".hidden"):
        save(photo(rng), root / f"images/{name}.jpg")
    assert notes(root) == [
        said,
        "2 pictures are in no JSON file that is read and left out, as images/b.jpg",
    ]


def test_a_picture_that_lies_elsewhere_by_a_link_is_counted_in_its_folder(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    shutil.move(root / "images/a.jpg", root / "store.jpg")
    (root / "images/a.jpg").symlink_to(root / "store.jpg")
    assert notes(root) == []
    (root / "images/b.jpg").symlink_to(root / "store.jpg")
    assert notes(root) == ["1 pictures are in no JSON file that is read and left out, as images/b.jpg"]


def test_versions_of_one_photograph_stay_in_one_split(coco, rng):
    names = [f"p{number}_jpg.rf.{version}{number}.jpg" for number in range(6) for version in "abc"]
    root = coco(
        images=[{"id": number, "file_name": name} for number, name in enumerate(["a.jpg", *names])]
    )
    for name in names:
        save(photo(rng), root / "images" / name)
    samples = only(Sample, found(root))
    assert {sample.group for sample in samples} == {"", *(f"p{number}_jpg" for number in range(6))}
    splits = {(sample.group, sample.split) for sample in samples if sample.group}
    assert len(splits) == 6 and {split for _, split in splits} == {"train", "test"}


def test_a_category_that_is_no_class_is_named_with_its_share_and_a_line_to_add(coco, tmp_path):
    root = coco(
        {"category_id": 1, "segmentation": [BOX]},
        categories=[{"id": 1, "name": "big cat"}, {"id": 2, "name": "traffic light"}],
    )
    with pytest.raises(UserError) as error:
        write_raw("folder", found(root), CATS, False, 100, tmp_path / "raw", processes=1)
    assert "labels that are no class: 'big cat'" in str(error.value)
    assert (
        "  big cat: 8.33 % of all pixels, in 1 masks; to make it a class, add to data.classes: "
        "- {name: big_cat, value: 1, colour: '#009e73'}"
    ) in str(error.value)


def test_images_without_an_annotation_are_background_and_counted(coco, rng):
    save(photo(rng), coco({}) / "images" / "b.jpg")
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate("ab", 1)]
    root = coco({"category_id": 1, "segmentation": [BOX]}, images=images)
    assert notes(root) == ["result.json: 1 of 2 images have no annotation: nothing is on them"]
    assert len(only(Sample, found(root))) == 2


def splits_of(root, **annotated):
    """Write a file a split, with an object or without; return the splits that its pictures get."""
    for word, objects in annotated.items():
        content = json.loads((root / "result.json").read_text())
        content["annotations"] *= objects
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{word}.json").write_text(json.dumps(content))
    return {one.name: one.split for one in only(Sample, found(root))}


def test_a_split_without_annotations_is_not_used_and_named(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    assert splits_of(root, train=1, val=1, test=0) == {"val/a": "test", "train/a": "train"}
    assert notes(root) == [
        "annotations/instances_test.json: not used, as none of its images has an annotation"
    ]


def test_a_training_split_whose_test_split_has_no_annotations_is_split_by_hash(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    assert [*splits_of(root, train=1, test=0)] == ["a"]


def test_panoptic_segments_are_refused_by_name(coco):
    root = coco({"file_name": "a.png", "segments_info": [{"id": 11, "category_id": 1}]})
    with pytest.raises(
        UserError, match=r"panoptic, with its segments in PNG files; use the files of in"
    ):
        module.labels(root)


@pytest.mark.parametrize(
    "content", [{"annotations": [{"name": "cat", "polygon": {}}]}, {"annotations": [3]}]
)
def test_a_file_a_picture_of_another_tool_is_not_cocos(coco, content):
    root = coco()
    (root / "result.json").write_text(
        json.dumps({"version": "2.0", "item": {"name": "a.jpg"}, **content})
    )
    assert module.seen(root) is None


def test_a_file_that_begins_with_its_annotations_is_cocos(coco):
    root = coco({"category_id": 1, "segmentation": [BOX]})
    content = json.loads((root / "result.json").read_text())
    (root / "result.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert (mask_of(root) == CAT).sum() > 0


def test_coordinates_that_are_parts_of_the_picture_are_refused(coco):
    parts = [0.1, 0.1, 0.5, 0.1, 0.5, 1.0]
    root = coco(
        {"category_id": 1, "segmentation": [parts]},
        {"category_id": 2, "segmentation": [parts], "iscrowd": 1},
    )
    with pytest.raises(BadSampleError, match="coordinates from 0 to 1 alone, as parts of width and hei"):
        mask_of(root)
    large = {"category_id": 2, "segmentation": [BOX]}
    mask_of(coco({"category_id": 1, "segmentation": [parts]}, large))  # a small one at the corner


def test_annotations_outside_of_their_images_are_counted(coco):
    # A picture of 40 x 30: beyond the right, the lower, the left and the upper edge, and one across.
    boxes = [(40, 3, 50, 9), (3, 30, 9, 35), (-9, 3, 0, 9), (3, -9, 9, 0), (35, 25, 45, 35)]
    shapes = [[[x0, y0, x1, y0, x1, y1]] for x0, y0, x1, y1 in boxes]
    root = coco(*({"category_id": 1, "segmentation": one} for one in shapes))
    assert notes(root) == ["result.json: 4 annotations lie outside of their images: they cover nothing"]
    assert 0 < (mask_of(root) == CAT).sum() < 25
