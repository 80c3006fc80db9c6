"""A file whose content never came, by a failed download or Git LFS, is refused and never left out."""

import json

import pytest
from own_folders import HEIGHT, WIDTH, only, photo, save

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import unmatched
from segpipe.fetch.sample import Sample
from segpipe.survey.stats import sample_stats

CATS = ClassTable(
    (SegmentationClass("background", 0, "#999999"), SegmentationClass("cat", 1, "#0072b2"))
)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
LOST = [
    ("", "an empty file; fetch or export it again, or remove it"),
    (POINTER, "a pointer of Git LFS, not the file itself; run `git lfs pull`"),
]
CUT = (
    '{"images": {"id',
    "no whole JSON (no JSON, or an early end, at character 11); fetch or export it",
)
PAGE = (
    "<html>404</html>",
    "no whole JSON ('<' instead of '{' at character 0); fetch or export it again",
)


def coco(name):
    box = [[3.0, 4.0, 13.0, 4.0, 13.0, 14.0]]
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": name, "height": HEIGHT, "width": WIDTH}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": box}],
            "categories": [{"id": 1, "name": "cat"}],
        }
    )


def write(root, rng, **texts):
    for name in ("a.jpg", "b.jpg"):
        save(photo(rng), root / "images" / name)
    for name, text in texts.items():
        file = root / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return root


def names(layout, root):
    return [one.name for one in only(Sample, [*layouts.samples(layout, root, 0.3, CATS)])]


@pytest.mark.parametrize(("text", "words"), [*LOST, CUT, PAGE])
def test_the_file_of_a_coco_split_is_refused_and_not_left_out_with_its_pictures(
    tmp_path, rng, text, words
):
    files = {"annotations__instances_train_DOT_json": coco("a.jpg")}
    root = write(tmp_path, rng, annotations__instances_val_DOT_json=text, **files)
    with pytest.raises(UserError) as error:
        names("coco", root)
    assert str(error.value).startswith(f"{root}/annotations/instances_val.json: {words}")


@pytest.mark.parametrize("text", [POINTER, "", '{"a": 1} {"b": 2}'])
def test_a_file_that_is_no_part_of_a_coco_set_is_not_looked_at(tmp_path, rng, text):
    files = {"annotations__instances_train_DOT_json": coco("a.jpg"), "notes_DOT_json": text}
    root = write(tmp_path, rng, annotations__captions_val_DOT_json=text, **files)
    assert names("coco", root) == ["a"]


@pytest.mark.parametrize(("text", "words"), LOST)
def test_a_label_studio_export_beside_another_is_refused(tmp_path, rng, text, words):
    region = {"points": [[10, 10], [50, 10], [50, 60]], "polygonlabels": ["cat"]}
    result = {"to_name": "image", "original_width": WIDTH, "original_height": HEIGHT, "value": region}
    task = {
        "id": 1,
        "data": {"image": "a.jpg"},
        "annotations": [{"result": [result], "completed_by": 1}],
    }
    root = write(tmp_path, rng, train_DOT_json=json.dumps([task]), test_DOT_json=text)
    with pytest.raises(UserError) as error:
        names("label_studio", root)
    assert str(error.value) == f"{root}/test.json: {words}"


@pytest.mark.parametrize(("text", "words"), LOST)
def test_a_cvat_task_beside_another_is_refused(tmp_path, rng, text, words):
    shape = '<box label="cat" xtl="3" ytl="4" xbr="9" ybr="9"/>'
    task = f'<annotations><image name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{shape}</image>'
    files = {"task1__annotations_DOT_xml": f"{task}</annotations>", "task2__annotations_DOT_xml": text}
    root = write(tmp_path, rng, **files)
    with pytest.raises(UserError) as error:
        names("cvat", root)
    assert str(error.value) == f"{root}/task2/annotations.xml: {words}"


@pytest.mark.parametrize(("text", "words"), LOST)
def test_a_folder_whose_only_labels_are_lost_is_told_so(tmp_path, rng, text, words):
    root = write(tmp_path, rng, annotations__instances_train_DOT_json=text)
    assert f"annotations/instances_train.json is {words}" in unmatched.reason(root)


def test_a_mask_that_git_lfs_did_not_fetch_is_told_so(tmp_path, rng):
    save(photo(rng), tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.png").write_text(POINTER)
    (sample,) = only(Sample, [*layouts.samples("pairs", tmp_path, 0.3, CATS)])
    said = "masks/a.png: a pointer of Git LFS; expected the file itself: run `git lfs pull`"
    assert str(sample_stats(sample)) == said
