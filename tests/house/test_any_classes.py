"""From 2 to 150 classes, in numbers or colours, at any size, padded or not: the whole graph agrees."""

import json

import numpy as np
import pytest
import yaml
from helpers import make_project, run
from PIL import Image

from segpipe.common import records
from segpipe.common.classes import IGNORE


def shapes(rng, classes, width, height):
    """Class indices in random rectangles on class 0: uint8 [height, width]."""
    indices = np.zeros((height, width), np.uint8)
    for index in rng.permutation(classes)[:12]:
        top, left = rng.integers(0, height - 6), rng.integers(0, width - 6)
        indices[top : top + rng.integers(5, 20), left : left + rng.integers(5, 20)] = index
    return indices


def write(folder, rng, to_mask, classes, count=30):
    """Pictures whose grey says the class, and their masks."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        indices = shapes(rng, classes, *rng.integers(30, 90, 2))
        grey = (indices.astype(int) * 200 // classes + rng.integers(0, 30, indices.shape)).astype(
            np.uint8
        )
        Image.fromarray(grey).convert("RGB").save(folder / "images" / f"{number:02d}.jpg")
        Image.fromarray(to_mask(indices)).save(folder / "masks" / f"{number:02d}.png")


def colour(index):
    return f"#{(37 * index + 40) % 256:02x}{(91 * index) % 256:02x}{index:02x}"


def numbered(classes):
    return [{"name": f"c{i}", "value": i, "colour": colour(i)} for i in range(classes)]


KINDS = {
    "binary masks of 0 and 255": (
        2,
        lambda indices: indices * np.uint8(255),
        {
            "data.classes": [
                {"name": "background", "value": 0, "colour": "#999999"},
                {"name": "car", "value": 255, "colour": "#0072b2"},
            ],
            "train.class_weights": {"car": 2.0},
        },
    ),
    "5 classes by colour, 64 x 96 px padded": (
        5,
        lambda indices: np.array(
            [[int(colour(i)[at : at + 2], 16) for at in (1, 3, 5)] for i in range(5)], np.uint8
        )[indices],
        {
            "data.classes": [
                {"name": f"c{i}", "value": colour(i), "colour": colour(i)} for i in range(4)
            ],
            "data.ignore": [colour(4)],
            "data.image_size": [64, 96],
            "data.resize": "pad",
            "train.class_weights": "median_frequency",
        },
    ),
    "150 classes and an ignore value, 96 x 32 px": (
        151,
        lambda indices: np.where(indices == 150, 255, indices).astype(np.uint8),
        {
            "data.classes": numbered(150),
            "data.ignore": [255],
            "data.image_size": [96, 32],
            "train.class_weights": "balanced",
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_graph_runs_and_its_numbers_agree(kind, tmp_path, rng):
    classes, to_mask, params = KINDS[kind]
    folder = {"data.source": "folder", "data.folder.path": str(tmp_path / "mine")}
    write(tmp_path / "mine", rng, to_mask, classes)
    project = make_project(tmp_path / "project", **{**folder, **params})
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr

    manifest = records.open_records(project / "data/records")
    names = [c["name"] for c in params["data.classes"]]
    assert manifest.classes.names == names
    scores = json.loads((project / "results/evaluate/metrics.json").read_text())
    assert list(scores["original"]["iou"]) == list(scores["network"]["iou"]) == names
    samples = list(records.read(manifest, "test"))
    counted = {
        "network": sum((s["mask"] != IGNORE).sum() for s in samples),
        "original": sum((s["original_mask"] != IGNORE).sum() for s in samples),
    }
    per_image = np.genfromtxt(project / "results/evaluate/per_image.csv", delimiter=",", names=True)
    truth = sum(np.nansum(per_image[f"truth_{name}"]) for name in names)
    assert truth == counted["original"], "every counted pixel, and no ignored or padded one"
    shares = manifest.splits["test"]
    pixels = len(samples) * manifest.size[0] * manifest.size[1]
    assert sum(shares["class_pixels"].values()) == counted["network"]
    assert shares["ignored_share"] == pytest.approx(1 - counted["network"] / pixels, abs=1e-6)
    page = (project / "results/report/index.html").read_text()
    assert names[1] in page
    used = yaml.safe_load((project / "results/train/params.yaml").read_text())
    assert used["train"]["class_weights"] == params["train.class_weights"]
