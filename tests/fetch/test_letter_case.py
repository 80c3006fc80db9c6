"""Suffixes and folders in capitals, as Windows' programs write them, are those in small letters."""

import json

import pytest
from own_folders import HEIGHT, WIDTH, only, photo, save

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.fetch import layouts
from segpipe.fetch.sample import Sample

CATS = ClassTable(
    (SegmentationClass("background", 0, "#999999"), SegmentationClass("cat", 1, "#0072b2"))
)
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[3, 4, 13, 4, 13, 14]]}],
    "categories": [{"id": 1, "name": "cat"}],
}
SHAPE = {"label": "cat", "points": [[3, 4], [13, 4], [13, 14]], "shape_type": "polygon"}
BOX = '<box label="cat" xtl="3" ytl="4" xbr="13" ybr="14"/>'
CVAT = f'<annotations><image name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{BOX}</image></annotations>'


@pytest.mark.parametrize(
    ("layout", "image", "file", "text"),
    [
        ("coco", "images/a.jpg", "ANNOTATIONS/RESULT.JSON", json.dumps(COCO)),
        ("coco", "Train/a.jpg", "Train/_annotations.coco.json", json.dumps(COCO)),
        ("labelme", "a.jpg", "a.JSON", json.dumps({"shapes": [SHAPE], "imagePath": "a.jpg"})),
        ("cvat", "images/a.jpg", "ANNOTATIONS.XML", CVAT),
        ("yolo", "images/a.jpg", "labels/a.TXT", "0 0.1 0.1 0.5 0.1 0.5 0.5\n"),
        ("rle", "images/a.jpg", "TRAIN.CSV", "ImageId,EncodedPixels,ClassId\na.jpg,1 99,cat\n"),
    ],
)
def test_annotations_in_capitals_are_read(tmp_path, rng, layout, image, file, text):
    save(photo(rng), tmp_path / image)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    if layout == "yolo":
        (tmp_path / "classes.txt").write_text("cat\n")
    assert layout in layouts.layouts_of(tmp_path)
    (sample,) = only(Sample, [*layouts.samples(layout, tmp_path, 0.3, CATS)])
    assert 10 < sample.content.read()[1].sum() < 300


def test_labels_of_yolo_in_capitals_beside_others_are_no_background(tmp_path, rng):
    for name, suffix in (("a", "txt"), ("b", "TXT")):
        save(photo(rng), tmp_path / f"images/{name}.jpg")
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / f"labels/{name}.{suffix}").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    samples = only(Sample, [*layouts.samples("yolo", tmp_path, 0.3, CATS)])
    assert [one.content.read()[1].any() for one in samples] == [True, True]
