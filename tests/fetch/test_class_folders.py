"""A folder of masks is a class, whatever that class is called."""

import numpy as np
import pytest
from own_folders import HEIGHT, WIDTH, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass, class_name
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import layers
from segpipe.fetch.sample import Note, Problem, Sample


def drawn(root, rng, image, mask, labels, names="abcd"):
    """Draw pictures, and a mask of each label: its n-th stripe of 10 columns."""
    for name in names:
        save(photo(rng), root / image.format(name))
        for number, label in enumerate(labels):
            values = np.zeros((HEIGHT, WIDTH), np.uint8)
            values[:, 10 * number : 10 * number + 10] = 255
            save(Image.fromarray(values), root / mask.format(label, name))


def read(root, labels):
    """Return the class of each stripe by split and name, with class 0 for none, problems, and notes."""
    named = enumerate(("none", *map(class_name, labels)))
    rows = [SegmentationClass(name, n, f"#0000{n:02x}") for n, name in named]
    found = list(layouts.samples("layers", root, 0.0, ClassTable(tuple(rows))))
    stripes = {
        (one.split, one.name): one.content.read()[1][0, 5::10].tolist()
        for one in found
        if isinstance(one, Sample)
    }
    problems = [str(one) for one in found if isinstance(one, Problem)]
    return stripes, problems, [one.text for one in found if isinstance(one, Note)]


@pytest.mark.parametrize(
    "labels", [["bus", "car", "train"], ["shadow", "target"], ["car", "gt", "label"], ["a.1", "a.2"]]
)
def test_a_class_may_be_called_like_a_split_or_like_masks(tmp_path, rng, labels):
    drawn(tmp_path, rng, "images/{}.jpg", "masks/{}/{}.png", labels)
    assert next(iter(layouts.layouts_of(tmp_path))) == "layers"
    assert [*layers.labels(tmp_path)] == labels
    stripes, problems, notes = read(tmp_path, labels)
    expected = [1, 2, 3, 0] if len(labels) == 3 else [1, 2, 0, 0]
    assert stripes == {("train", name): expected for name in "abcd"}
    assert (problems, notes) == ([], [layers.CLASS_ORDER])


def test_a_class_called_train_is_there_in_every_split(tmp_path, rng):
    labels = ["bus", "car", "train"]
    for part, names in (("train", "abcd"), ("test", "ef")):
        drawn(tmp_path, rng, f"{part}/images/{{}}.jpg", part + "/masks/{}/{}.png", labels, names)
    stripes, problems, notes = read(tmp_path, labels)
    expected = {("train", f"train/{name}") for name in "abcd"} | {("test", f"test/{n}") for n in "ef"}
    assert stripes == {key: [1, 2, 3, 0] for key in expected}
    assert (problems, notes) == ([], [layers.CLASS_ORDER])


def test_folders_of_splits_beside_pictures_in_one_folder_are_no_classes(tmp_path, rng):
    drawn(tmp_path, rng, "images/{}.jpg", "masks/{}/{}.png", ["train"], "abcd")
    assert layouts.layouts_of(tmp_path) == {}
    drawn(tmp_path, rng, "images/{}.jpg", "masks/{}/{}.png", ["test"], "ef")
    assert layouts.layouts_of(tmp_path) == {}


def test_archives_within_archives_hold_pairs_and_no_class_called_masks(tmp_path, rng):
    drawn(tmp_path, rng, "images/images/{}.jpg", "masks/{}/{}.png", ["masks"])
    assert [*layouts.layouts_of(tmp_path)] == ["pairs"]


def test_a_class_with_several_masks_of_a_picture_is_refused(tmp_path, rng):
    drawn(tmp_path, rng, "images/{}.jpg", "masks/{}/{}_mask.png", ["bus", "car"])
    drawn(tmp_path, rng, "images/{}.jpg", "masks/{}/{}_mask_1.png", ["car"])
    with pytest.raises(UserError, match=r"several masks \(a_mask.png, a_mask_1.png\)"):
        read(tmp_path, ["bus", "car"])
