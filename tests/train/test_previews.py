"""The pictures drawn during training: the right masks at the right places, readable, the same again."""

import numpy as np
import pytest
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.train.previews import drawer, sheet
from segpipe.train.samples import Arrays

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = {"pet": "#ff0000", "ground": "#00ff00", "sky": "#0000ff"}
TABLE = ClassTable(
    tuple(SegmentationClass(name, value, colour) for value, (name, colour) in enumerate(COLOURS.items()))
)


@pytest.fixture
def shown(rng):
    """Two samples of 64 x 96 pixels, left half class 0, right half class 1."""
    images = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
    masks = np.zeros((2, 64, 96), np.uint8)
    masks[..., 48:] = 1
    return Arrays(images, masks, ["first", "second"])


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def test_image_truth_and_prediction_stand_side_by_side_each_pixel_doubled(shown):
    """Twice as large, so that the short edge has 128; a column is 192 + 4 wide, a row 128 + 22 high."""
    predictions = np.full((2, 64, 96), 2, np.uint8)
    predictions[:, :32] = 0
    drawn = pixels(sheet(shown, predictions, TABLE, "after epoch 3"))
    for number, image in enumerate(shown.images):
        top = 36 + 150 * number
        of_sample = drawn[top : top + 128]
        assert (of_sample[:, :192] == image.repeat(2, 0).repeat(2, 1)).all()
        assert (of_sample[:, 196:292] == RED).all()
        assert (of_sample[:, 292:388] == GREEN).all()
        assert (of_sample[:64, 392:584] == RED).all()
        assert (of_sample[64:, 392:584] == BLUE).all()
    assert drawn.shape[1] == 3 * 196


def test_ignored_pixels_are_drawn_and_are_no_class_of_the_legend(shown):
    shown.masks[:] = 255
    predictions = np.zeros((2, 64, 96), np.uint8)
    drawn = pixels(sheet(shown, predictions, TABLE, "title"))
    assert (drawn[36:164, 196:388] == TABLE.palette[255]).all()
    legend = drawn[36 + 2 * 150 :]
    assert (legend == RED).all(-1).any()
    assert not (legend == GREEN).all(-1).any(), "no mask holds it"


def test_each_class_of_the_masks_is_in_the_legend(shown):
    predictions = np.full((2, 64, 96), 2, np.uint8)
    legend = pixels(sheet(shown, predictions, TABLE, "title"))[36 + 2 * 150 :]
    assert len(legend) == 18, "one line"
    for colour in (RED, GREEN, BLUE):
        swatch = np.argwhere((legend == colour).all(-1))
        assert (np.ptp(swatch, 0) == (9, 9)).all(), "a square of 10 pixels"


def test_a_long_list_of_classes_wraps_and_none_is_cut_off():
    names = [f"class_with_a_long_name_{number}" for number in range(40)]
    table = ClassTable(tuple(SegmentationClass(n, v, f"#{6 * v:02x}00ff") for v, n in enumerate(names)))
    masks = np.arange(40, dtype=np.uint8).repeat(128 * 128 // 40 + 1)[: 128 * 128].reshape(1, 128, 128)
    shown = Arrays(np.zeros((1, 128, 128, 3), np.uint8), masks, ["one"])
    drawn = pixels(sheet(shown, masks, table, "title"))
    legend = drawn[36 + 150 :]
    assert len(legend) >= 18 * 40 / 3
    for one in table.classes:
        assert (legend == one.rgb).all(-1).sum() == 100, "its whole square"
    assert (legend[:, -3:] == 255).all(), "no name runs over the edge"


def test_equal_predictions_give_equal_bytes_and_earlier_pictures_come_back(shown, tmp_path):
    predictions = np.zeros((2, 64, 96), np.uint8)
    files = []
    for name in ("one", "two"):
        kept, results = tmp_path / name / "kept", tmp_path / name / "results"
        kept.parent.mkdir()
        drawer(shown, TABLE, kept, results)(7, predictions)
        files.append((results / "epoch-007.png").read_bytes())
    assert files[0] == files[1]
    with Image.open(tmp_path / "one/results/epoch-007.png") as picture:
        assert picture.size == sheet(shown, predictions, TABLE, "after epoch 7").size
    drawer(shown, TABLE, tmp_path / "one/kept", tmp_path / "again")
    assert (tmp_path / "again/epoch-007.png").read_bytes() == files[0], "a resumed run has it too"
