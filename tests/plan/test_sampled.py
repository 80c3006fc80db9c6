"""What a plan reads of data/raw."""

import numpy as np
import pytest
from helpers import PETS
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.index import read_index
from segpipe.common.records import Tiles
from segpipe.fetch import synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.raw import write_raw
from segpipe.plan.pieces import cut
from segpipe.plan.sampled import sample_pictures
from segpipe.plan.shape import Input
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records
from segpipe.survey.remarks import on_objects

NAMES = PETS.names


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """30 pictures of about 80 px in many shards."""
    folder = tmp_path_factory.mktemp("data") / "raw"
    params = SyntheticParams(train=30, test=5, size=80, seed=0)
    write_raw("a test", synthetic.samples(params), PETS, False, 0.02, folder, 1)
    assert len([*folder.glob("train-*")]) > 8
    return folder


def test_pictures_come_from_shards_all_over_the_split_and_never_from_validation(raw):
    seen = sample_pictures(raw, SplitRule(0.3), NAMES)
    numbers = sorted(int(sample["name"].decode()[-6:]) for sample in seen.samples)
    assert numbers[0] < 8 and numbers[-1] > 20
    splits = SplitRule(0.3).assign(read_index(raw)).splits
    assert {splits[sample["name"].decode()] for sample in seen.samples} == {"train"}
    assert seen.pictures["train"] + seen.pictures["val"] == 30 and seen.pictures["test"] == 5
    assert next(iter(seen.thickness)) == "border" and set(seen.thickness) == set(NAMES)


def test_without_data_raw_the_line_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(UserError, match="no pictures yet; `dvc repro fetch` writes them"):
        sample_pictures(tmp_path / "raw", SplitRule(0.3), NAMES)


def test_classes_that_the_params_no_longer_have_are_refused(raw):
    with pytest.raises(
        UserError, match=r"holds class number 2, but data.classes has 2: .*dvc repro fetch"
    ):
        sample_pictures(raw, SplitRule(0.3), NAMES[:2])


@pytest.mark.parametrize(
    "chosen",
    [Input("stretch", (64, 64)), Input("pad", (64, 96)), Input("tiles", (32, 32), 1.5)],
    ids=lambda chosen: chosen.resize,
)
def test_the_counts_and_sizes_are_those_of_the_records(raw, tmp_path, chosen):
    tiles = Tiles(chosen.scale, 0.25) if chosen.resize == "tiles" else None
    format_ = RecordFormat(chosen.size, chosen.resize, tiles=tiles)
    manifest = write_records(raw, PETS, format_, SplitRule(0.3), 1, tmp_path / "records", 1)
    pieces = cut(sample_pictures(raw, SplitRule(0.3), NAMES), chosen, tiles, "rgb", 3, 4)
    for split in ("train", "val"):
        assert pieces.count[split] == pytest.approx(manifest["splits"][split]["samples"], rel=0.3)
    assert pieces.validation.size == chosen.size
    assert pieces.training.size == (tiles.piece(chosen.size) if tiles else chosen.size)
    assert 0 < min(pieces.held) <= max(pieces.held) <= 1


def test_there_is_a_batch_to_measure_even_of_few_pictures(raw):
    sampled = sample_pictures(raw, SplitRule(0.3), NAMES)
    pieces = cut(sampled, Input("stretch", (32, 32)), None, "rgb", 3, 100)
    assert len(pieces.training.names) == 100


def test_init_data_remarks_on_a_class_that_the_input_loses():
    now = Input("stretch", (128, 128))
    assert [*on_objects({"cell": 9.2, "rest": 80.0}, [(2000, 2000)], now)] == [
        "cell is 9.2 px thick, and 0.59 px where data.resize: stretch makes pictures 128 x 128 px; "
        "data.resize: tiles, data.tiles.scale: 0.35 would show it (`segpipe plan` says more)"
    ]
    (line,) = on_objects({"lesion": 8.0}, [(600, 900)], now)
    assert "; data.image_size: [256, 384] would show it" in line
    assert [*on_objects({"pet": 90.0}, [(600, 900)], now)] == []


def test_init_data_measures_the_masks_of_a_folder(tmp_path):
    from segpipe.survey.folder import Request, survey
    from segpipe.survey.remarks import remarks

    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for number in range(4):
        mask = np.zeros((400, 400), np.uint8)
        mask[100:103] = 255
        Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
        noise = np.random.default_rng(number).integers(0, 256, (400, 400, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"images/{number}.png")
    found = survey(tmp_path, Request(0.3, 0.2))
    said = [*remarks(found, 1, Input("stretch", (128, 128)))]
    assert any(line.startswith("foreground is 3 px thick, and 0.96 px where") for line in said), said
