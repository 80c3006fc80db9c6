"""Pictures of other bands than red, green and blue, from the records to the report and the exports."""

import json
import re

import numpy as np
import pytest
import yaml
from helpers import PETS, make_project, run, run_stage
from PIL import Image

from segpipe.common.codec import encode_png
from segpipe.common.files import write_json
from segpipe.common.modelfile import CARD_FORMAT, read_card
from segpipe.common.records import MANIFEST
from segpipe.common.tfrecord import write_shards

FILES = {"savedmodel": "", "tflite": "model.tflite", "tflite-int8": "model.tflite", "onnx": "model.onnx"}
pytestmark = pytest.mark.slow

CHOICES = [[7], [8, 4, 3, 2]]


def write_records(folder, bands):
    """Records by hand: a pixel has 60 times its mask's value, and 10 times the place of its band."""
    folder.mkdir(parents=True)
    rng, splits = np.random.default_rng(0), {}
    for split, count in {"train": 8, "val": 4, "test": 4}.items():
        samples = []
        for number in range(count):
            mask = rng.integers(0, 3, (4, 4), np.uint8).repeat(8, 0).repeat(8, 1)
            image = mask[..., None] * 60 + 10 * np.arange(1, len(bands) + 1, dtype=np.uint8)
            record = {
                "name": f"{split} {number}".encode(),
                "image": image.tobytes(),
                "mask": mask.tobytes(),
            }
            if split == "test":
                record |= {"original_mask": encode_png(mask), "height": 32, "width": 32}
            samples.append(record)
        splits[split] = {
            "samples": count, "shards": write_shards(folder, split, samples, 1), "ignored_share": 0.0,
            **{
                key: dict.fromkeys(PETS.names, value)
                for key, value in {"class_shares": 1 / 3, "class_pixels": 9,
                                   "pixels_of_images_with_class": 9}.items()
            },
        }  # fmt: skip
    content = {"source": "by hand", "image_size": [32, 32], "resize": "stretch", "left_out": []}
    content |= {"bands": bands, "intensity": [[0, 1000]] * len(bands)}
    write_json(folder / MANIFEST, content | PETS.to_json() | {"splits": splits})


@pytest.fixture(scope="module", params=CHOICES, ids=lambda bands: f"{len(bands)} bands")
def project(request, tmp_path_factory):
    """A project with records of these bands, trained and scored."""
    bands = request.param
    chosen = [4, 3, 2] if len(bands) > 1 else "auto"
    project = make_project(
        tmp_path_factory.mktemp("bands") / "project",
        **{"data.bands": bands, "report.bands": chosen, "export.max_drop": 1.0},
    )
    write_records(project / "data/records", bands)
    for stage in ("fetch_encoder", "train", "evaluate", "report"):
        result = run_stage(stage, project)
        assert result.returncode == 0, result.stderr
    return project


def bands_of(project):
    return yaml.safe_load((project / "params.yaml").read_text())["data"]["bands"]


def test_the_card_says_which_bands_the_network_sees_and_their_ranges(project):
    card, bands = read_card(project / "models/model.keras"), bands_of(project)
    found = (card["format"], card["bands"], card["intensity"])
    assert found == (CARD_FORMAT, bands, [[0, 1000]] * len(bands))


def test_the_report_shows_the_bands_that_params_name_and_says_so(project):
    """`auto` of one band is grey. The picture in Git has colours only where three bands are shown."""
    text = (project / "results/report/report.md").read_text()
    picture = np.asarray(Image.open(project / "results/samples.jpg"), int)
    height, width = picture.shape[:2]
    image = picture[height // 6 : height // 4, width // 6 : width // 4]
    colourful = np.abs(image[..., 0] - image[..., 2]).max() > 12
    if len(bands_of(project)) == 1:
        assert "Band 7 is shown as grey." in text
        assert "The network sees band 7 of 0 to 1000." in text
        assert not colourful
    else:
        assert "Bands 4, 3 and 2 are shown as red, green and blue." in text
        assert "The network sees bands 8, 4, 3, 2 of 0 to 1000, 0 to 1000" in text
        assert colourful


def test_exports_take_the_same_bands_and_score_alike(project):
    formats = [argument for name in FILES for argument in ("--to", name)]
    result = run("segpipe", "export", *formats, "--no-whole", cwd=project)
    assert result.returncode == 0, result.stderr
    bands = bands_of(project)
    for name, file in FILES.items():
        found = json.loads((project / f"results/export/{name}.json").read_text())[name]
        assert found["largest_difference"] < (1e-4 if name != "tflite-int8" else 1)
        given = read_card(project / "models/export" / name / file)["export"]["input"]
        assert given["shape"][1:] == [32, 32, len(bands)]
        assert re.match(
            rf"bands? {', '.join(map(str, bands))} of 0 to 1000, .*0 to 255;", given["values"]
        )


def test_segpipe_model_names_the_bands(project):
    printed = run("segpipe", "model", cwd=project).stdout
    assert re.search(
        rf"3 classes, 32 x 32 px, bands? {', '.join(map(str, bands_of(project)))}\n", printed
    )
