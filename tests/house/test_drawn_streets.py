"""The example data set of streets: the same bytes every time, thin lines, and no class by its colour.

Larger streets have the same thin lines, and two more classes of small things.
"""

import json
import runpy

import numpy as np
import pytest
import scipy.ndimage
from helpers import ROOT, make_project, run
from PIL import Image, ImageFilter

from segpipe.evaluate import metrics
from segpipe.survey.folder import Request, survey

STREETS = runpy.run_path(str(ROOT / "examples/drawn_streets.py"))
CLASSES = STREETS["CLASSES"]
MORE_CLASSES = STREETS["MORE_CLASSES"]
MARKING, POLE, CAR, SIGN, PEDESTRIAN = (
    MORE_CLASSES.index(name) for name in ("marking", "pole", "car", "sign", "pedestrian")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight streets to train on and four to test on."""
    out = tmp_path_factory.mktemp("streets")
    STREETS["write"](out, 8, 4, 0)
    return out


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three large streets to train on and one to test on."""
    out = tmp_path_factory.mktemp("large")
    STREETS["write"](out, 3, 1, 0, (512, 1024))
    return out


def read(folder, part):
    """Images and masks of a split."""
    names = (folder / f"{part}.txt").read_text().split()
    images = [Image.open(folder / f"images/{name}.jpg") for name in names]
    masks = [Image.open(folder / f"masks/{name}.png") for name in names]
    return np.stack([np.asarray(i) for i in images]), np.stack([np.asarray(m) for m in masks])


def test_the_command_writes_the_same_bytes_whatever_the_counts_and_others_for_another_seed(
    folder, tmp_path
):
    command = ("python", "examples/drawn_streets.py", str(tmp_path), "--train", "2", "--test", "1")
    result = run(*command, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "train.txt").read_text() == "train-00000\ntrain-00001\n"
    assert (tmp_path / "test.txt").read_text() == "test-00000\n"
    pictures = [path.relative_to(tmp_path) for path in tmp_path.glob("*/*")]
    assert len(pictures) == 6
    for path in pictures:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes(), path
    STREETS["write"](tmp_path, 1, 1, seed=1)
    for path in ("masks/train-00000.png", "images/test-00000.jpg"):
        assert (tmp_path / path).read_bytes() != (folder / path).read_bytes(), path


@pytest.mark.parametrize("part", ["train", "test"])
def test_each_split_holds_each_class_and_pixels_to_ignore_in_natural_shares(folder, part):
    images, masks = read(folder, part)
    assert images.shape == (*masks.shape, 3)
    assert masks.shape[1:] == (256, 256)
    assert np.unique(masks).tolist() == [*range(len(CLASSES)), 255]
    shares = {name: (masks == value).mean() for value, name in enumerate(CLASSES)}
    assert all(0.05 < shares[name] < 0.6 for name in ("road", "sky", "building", "green")), shares
    assert all(0.001 < shares[name] < 0.05 for name in ("marking", "pole", "car")), shares
    assert 0.001 < (masks == 255).mean() < 0.05


@pytest.mark.parametrize("thin", [MARKING, POLE])
def test_markings_and_poles_are_1_to_4_pixels_wide(folder, thin):
    _, masks = read(folder, "train")
    assert 0 < share_with_room_for(3, masks == thin) < 0.25, "most are thinner, some as thick"
    assert share_with_room_for(5, masks == thin) < 0.03, "but where some meet"


def share_with_room_for(square, regions):
    """The share of some regions' pixels around which a square of the regions lies."""
    pictures = [Image.fromarray(region.astype(np.uint8)) for region in regions]
    eroded = [picture.filter(ImageFilter.MinFilter(square)) for picture in pictures]
    return np.mean(eroded) / np.mean(pictures)


def test_cars_are_small(folder):
    _, masks = read(folder, "train")
    assert 0 < (masks == CAR).sum((1, 2)).mean() < 30 * 30


def test_colours_alone_do_not_tell_the_classes(folder):
    def colours(images):
        return np.concatenate([images.reshape(-1, 3) / 255, np.ones((images.size // 3, 1))], 1)

    images, masks = read(folder, "train")
    known = masks.ravel() < 255
    truth = np.eye(len(CLASSES))[masks.ravel()[known]]
    weights = np.linalg.lstsq(colours(images)[known], truth, rcond=None)[0]
    images, masks = read(folder, "test")
    known = masks.ravel() < 255
    found = (colours(images)[known] @ weights).argmax(1)
    confusion = metrics.confusion_matrix(masks.ravel()[known], found, len(CLASSES))
    assert metrics.summarise(confusion, [*CLASSES])["mean_iou"] < 0.25


def test_init_data_reads_the_names_the_splits_and_what_to_ignore(folder):
    found = survey(folder, Request(0.2, 0.1), processes=1)
    table = found.proposal.table
    assert [(c.name, c.value) for c in table.classes] == [(n, v) for v, n in enumerate(CLASSES)]
    assert table.ignore == (255,)
    assert found.splits["test"] == 4
    assert found.problems == []


def test_large_streets_have_the_size_asked_for_and_two_more_classes(large):
    images, masks = read(large, "train")
    assert images.shape == (3, 512, 1024, 3)
    assert masks.shape == (3, 512, 1024)
    assert (large / "classes.txt").read_text().split() == [*CLASSES, "sign", "pedestrian"]
    shares = {name: (masks == value).mean() for value, name in enumerate(MORE_CLASSES)}
    assert all(0.05 < shares[name] < 0.6 for name in ("road", "sky", "building", "green")), shares
    assert all(0.001 < shares[name] < 0.02 for name in ("marking", "pole", "car")), shares
    assert all(0.0003 < shares[name] < 0.01 for name in ("sign", "pedestrian")), shares
    found = survey(large, Request(0.2, 0.1), processes=1)
    assert [c.name for c in found.proposal.table.classes] == [*MORE_CLASSES]
    assert found.problems == []


def test_poles_stay_1_or_2_pixels_wide_in_large_streets(large):
    _, masks = read(large, "train")
    assert share_with_room_for(3, masks == POLE) < 0.05, "but where some meet"


@pytest.mark.parametrize("small, least, most", [(SIGN, 6, 16), (PEDESTRIAN, 8, 30)])
def test_signs_and_pedestrians_are_small(large, small, least, most):
    _, masks = read(large, "train")
    heights = [
        rows.stop - rows.start
        for mask in masks
        for rows, _ in scipy.ndimage.find_objects(scipy.ndimage.label(mask == small)[0])
    ]
    assert least <= np.median(heights) <= most
    assert max(heights) <= 2 * most, "where one stands before another"


@pytest.mark.parametrize("size", ["512", "512x", "0x256", "x", "512x1024x3", "64x1024"])
def test_a_size_that_is_none_is_refused(size, tmp_path):
    result = run("python", "examples/drawn_streets.py", str(tmp_path), "--size", size, cwd=ROOT)
    assert result.returncode == 2
    assert f"'{size}' is no HEIGHTxWIDTH" in result.stderr


@pytest.mark.slow
def test_a_tiny_network_learns_streets_through_the_true_stages(tmp_path):
    params = {
        "data.image_size": 64, "data.validation_share": 0.1, "train.epochs": 20, "train.batch_size": 8,
    }  # fmt: skip
    project = make_project(tmp_path / "project", **params)
    STREETS["write"](project / "streets", 40, 10, 0)
    written = run("segpipe", "init-data", "streets", "--write", cwd=project)
    assert written.returncode == 0, written.stderr
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((project / "results/evaluate/metrics.json").read_text())["original"]
    assert [*scores["iou"]] == [*CLASSES]
    assert scores["mean_iou"] > 0.25, "which colours alone do not reach"
