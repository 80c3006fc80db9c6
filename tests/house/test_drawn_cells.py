"""The example data set of cells: one band of 12 bits, small cells, and no class by its grey level."""

import runpy

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from helpers import ROOT, run
from PIL import Image

from segpipe.survey.folder import Request, survey

CELLS = runpy.run_path(str(ROOT / "examples/drawn_cells.py"))
SIZE = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pictures to train on and two to test on."""
    out = tmp_path_factory.mktemp("cells")
    CELLS["write"](out, 5, 2, 0, SIZE)
    return out


@pytest.fixture(scope="module")
def samples(folder):
    """Images and masks to train on."""
    names = (folder / "train.txt").read_text().split()
    images = [tifffile.imread(folder / f"images/{name}.tif") for name in names]
    masks = [np.asarray(Image.open(folder / f"masks/{name}.png")) for name in names]
    return np.stack(images), np.stack(masks)


def test_the_command_writes_the_same_bytes_whatever_the_counts_and_others_for_another_seed(
    folder, tmp_path
):
    counts = ("--train", "1", "--test", "1", "--size", str(SIZE))
    result = run("python", "examples/drawn_cells.py", str(tmp_path), *counts, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    paths = [path.relative_to(tmp_path) for path in tmp_path.glob("*/*")]
    assert len(paths) == 4
    for path in paths:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes(), path
    CELLS["write"](tmp_path, 1, 1, 1, SIZE)
    for path in paths:
        assert (tmp_path / path).read_bytes() != (folder / path).read_bytes(), path


def test_pictures_have_one_band_of_12_bits(samples):
    images, masks = samples
    assert images.shape == masks.shape == (5, SIZE, SIZE)
    assert images.dtype == np.uint16
    assert 255 < images.max() <= 4095


def test_cells_are_8_to_16_pixels_wide_and_cover_2_to_6_percent(samples):
    _, masks = samples
    assert np.unique(masks).tolist() == [0, 1]
    assert all(0.02 < share < 0.06 for share in masks.mean((1, 2)))
    boxes = [box for m in masks for box in scipy.ndimage.find_objects(scipy.ndimage.label(m)[0])]
    widths = [columns.stop - columns.start for _, columns in boxes]
    assert 10 <= np.median(widths) <= 14
    assert np.percentile(widths, 75) <= 16, "the others are several that touch"


def test_no_grey_level_tells_cells_from_the_background(samples):
    images, masks = samples
    for image, mask in zip(images, masks, strict=True):
        cells, others = (np.bincount(image[mask == value], minlength=4096) for value in (1, 0))
        above, wrong = (np.cumsum(counts[::-1]) for counts in (cells, others))
        assert (above / (mask.sum() + wrong)).max() < 0.4, "the best IoU of a threshold"


def test_init_data_reads_the_names_and_the_splits(folder):
    found = survey(folder, Request(0.2, 0.1), processes=1)
    assert [(c.name, c.value) for c in found.proposal.table.classes] == [("background", 0), ("cell", 1)]
    assert found.splits["test"] == 2
    assert found.problems == []
