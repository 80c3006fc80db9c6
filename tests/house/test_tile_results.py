"""A project whose pictures are cut into tiles: what people see of it at each step."""

import json
import re
import shutil
import signal
import sys

import numpy as np
import pytest
from helpers import commit, end, make_project, run, run_stage, set_params, start
from PIL import Image

from segpipe.common.modelfile import read_card
from segpipe.common.records import read, read_manifest
from segpipe.export.run import _middle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tile_project(tmp_path_factory):
    """A clone in which the pipeline ran on tiles of tiny drawings; do not change it, copy it."""
    tiles = {"data.resize": "tiles", "data.tiles.scale": 0.8, "data.synthetic.size": 90}
    project = make_project(tmp_path_factory.mktemp("tiles") / "project", **tiles)
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    commit(project)
    return project


@pytest.fixture(scope="module")
def manifest(tile_project):
    return read_manifest(tile_project / "data/records")


def test_the_report_speaks_of_pieces_tiles_and_the_scale(tile_project, manifest):
    text = (tile_project / "results/report/report.md").read_text()
    pieces, pictures = manifest.count("train"), manifest.pictures("train")
    assert pictures < pieces
    assert (
        f"trained on {pieces} pieces of {pictures} images, seen in tiles of 32 x 32 px at scale 0.8, "
        f"for 1 epoch; best on {24 - pictures} validation images in epoch 1; scored on 6 test images."
    ) in text
    assert f"| images | {pictures} | {24 - pictures} | 6 |" in text
    counts = [str(manifest.count(split)) for split in ("train", "val", "test")]
    assert f"| records | {' | '.join(counts)} |" in text
    assert "| at scale 0.8 |" in text
    assert "at 32 x 32 px" not in text


def test_its_figures_are_as_wide_as_the_page_and_twice_as_sharp(tile_project):
    page = (tile_project / "results/report/index.html").read_text()
    for name in ("samples", "worst"):
        with Image.open(tile_project / f"results/report/figures/{name}.png") as picture:
            width, height = picture.size
        assert f'width="{round(width / 2)}" height="{round(height / 2)}"' in page
    with Image.open(tile_project / "results/samples.jpg") as picture:
        assert picture.width < 600


def test_each_epoch_has_a_preview(tile_project):
    names = [path.name for path in sorted((tile_project / "results/train/previews").iterdir())]
    assert names == ["epoch-000.png", "epoch-001.png"]


def test_data_tells_tiles_pieces_pictures_records_and_memory(tile_project, manifest):
    result = run("segpipe", "data", cwd=tile_project)
    assert result.returncode == 0, result.stderr
    assert "size:    tiles of 32 x 32 px at scale 0.8, training pieces of 48 x 48 px\n" in result.stdout
    pixels = manifest.count("train") * 48 * 48 + manifest.count("val") * 32 * 32
    assert f"memory:  {4 * pixels / 1e6:,.0f} MB of training and validation samples" in result.stdout
    for split in ("train", "val", "test"):
        row = rf"{split} +\S +{manifest.pictures(split)} +\S +{manifest.count(split)} "
        assert re.search(row, result.stdout)


def test_data_and_report_say_what_cutting_left_out(tile_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(tile_project, project, symlinks=True)
    path = project / "data/records/manifest.json"
    content = json.loads(path.read_text()) | {"cut": ["7 training pieces are odd"]}
    path.unlink()  # DVC keeps its own read-only
    path.write_text(json.dumps(content))
    assert "\n7 training pieces are odd\n" in run("segpipe", "data", cwd=project).stdout
    result = run_stage("report", project)
    assert result.returncode == 0, result.stderr
    assert "- 7 training pieces are odd\n" in (project / "results/report/report.md").read_text()


def test_calibration_sees_the_middle_of_training_pieces(manifest):
    piece = next(read(manifest, "train"))["image"]
    assert piece.shape == (48, 48, 3)
    assert np.array_equal(_middle(piece, (32, 32)), piece[8:40, 8:40])
    assert np.array_equal(_middle(piece, (48, 48)), piece)


@pytest.mark.parametrize("name", ["onnx", "tflite-int8"])
def test_an_export_is_proven_on_tiles_and_says_how_it_is_to_be_fed(tile_project, tmp_path, name):
    project = tmp_path / "project"
    shutil.copytree(tile_project, project, symlinks=True)
    set_params(project, {"export.max_drop": 1.0})
    result = run("python", "stages/export.py", name, cwd=project)
    assert result.returncode == 0, result.stderr
    findings = json.loads((project / f"results/export/{name}.json").read_text())[name]
    assert findings["images"] == 6
    card = read_card(next((project / "models/export" / name).glob("model.*")))
    assert (card["resize"], card["tiles"]) == ("tiles", {"scale": 0.8})
    edges = card["export"]["input"]["shape"][1:3]
    assert edges == (["any", "any"] if name == "onnx" else [32, 32])
    for_people = (project / "models/export" / name / "MODEL_CARD.md").read_text()
    assert "the network sees them in tiles of 32 x 32 px at scale 0.8 (`tiles`)" in for_people


def test_revisions_of_other_tiles_and_without_tiles_are_compared(tile_project, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(tile_project, project, symlinks=True)
    for params in ({"data.tiles.scale": 0.5, "data.image_size": 64}, {"data.resize": "stretch"}):
        set_params(project, params)
        assert run("dvc", "repro", cwd=project).returncode == 0
        result = run("segpipe", "compare", "HEAD", cwd=project)
        assert result.returncode == 0, result.stderr
        markdown = (project / "logs/compare/compare.md").read_text()
        _, table = markdown.split("Share of these images' pixels that changed")
        assert table.count(" % |") == 4, "two images, better and worse"


def test_training_on_pieces_that_was_killed_goes_on_to_the_same_bits(tile_project, tmp_path):
    """With rare classes drawn more often, each sample read from its shard, and a preview an epoch."""
    params = {"train.epochs": 12, "train.sampling": "balanced", "train.in_memory": False}

    def project(name):
        shutil.copytree(tile_project, tmp_path / name, symlinks=True)
        set_params(tmp_path / name, params)
        return tmp_path / name

    whole, killed = project("whole"), project("killed")
    assert run_stage("train", whole).returncode == 0
    end(start(killed, sys.executable, "stages/train.py"), signal.SIGKILL)
    result = run_stage("train", killed)
    assert "resuming run" in result.stdout
    for name in (
        "models/model.keras",
        "results/train/history.csv",
        "results/train/previews/epoch-012.png",
    ):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
