"""Why no picture has a mask is said without sending people to do what they did already."""

import json

import pytest
from own_folders import photo, save
from PIL import Image

from segpipe.fetch.layouts import unmatched


@pytest.fixture
def folder(tmp_path, rng):
    """A folder with a photograph for each name that ends in .jpg, else a mask."""

    def write(*names):
        for name in names:
            mask = Image.new("L", (40, 30), 1)
            save(photo(rng) if name.endswith(".jpg") else mask, tmp_path / name)
        return tmp_path

    return write


def test_folders_called_images_and_masks_are_told_to_have_the_same_sub_folders(folder):
    root = folder("images/train/a.jpg", "images/test/b.jpg", "masks/a.png", "masks/b.png")
    said = "images/test/ and masks/ share 1 names, but lie in different sub-folders: give pictures and"
    assert f"no masks that go with them: {said} masks the same sub-folders;" in unmatched.reason(root)


def test_other_folders_of_masks_are_told_what_to_be_called(folder):
    root = folder("CXR/a.jpg", "CXR/b.jpg", "leftMask/a.png", "leftMask/b.png")
    assert "CXR/ and leftMask/ share 2 names: call them images/ and masks/;" in unmatched.reason(root)


def test_batches_of_pictures_that_share_names_are_no_images_and_masks(folder):
    root = folder("data/batch_1/0.jpg", "data/batch_2/0.jpg", "data/batch_3/0.jpg")
    assert "share" not in unmatched.reason(root)
    for name in ("annotations", "unofficial"):
        text = json.dumps({"images": [], "annotations": [], "categories": []})
        (root / f"data/{name}.json").write_text(text)
    said = f"data/annotations.json is COCO's: give its folder, {root}/data;"
    assert f"no masks that go with them: {said}" in unmatched.reason(root)
