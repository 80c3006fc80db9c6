"""What a plan reads of data/raw."""

import numpy as np
import pytest
from helpers import PETS
from PIL import Image

from segpipe.common.classes import ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.common.index import read_index
from segpipe.common.records import Tiles
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Sample
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


def test_where_pictures_are_large_each_shard_gives_those_with_the_lowest_hash(raw, monkeypatch):
    """Room for one picture a shard: those that come first in the names are as likely as others."""

    def hashed(name):
        return name_hash(name, "plan")

    def sampled_names():
        return [s["name"].decode() for s in sample_pictures(raw, SplitRule(0.3), NAMES).samples]

    names = sampled_names()
    assert names == sorted(names, key=hashed)
    monkeypatch.setattr("segpipe.plan.sampled._BYTES", 1)
    shards = sorted(raw.glob("train-*"))
    read = shards[:: -(-len(shards) // 8)]
    by_shard = [{s["name"].decode() for s in read_shard(path)}.intersection(names) for path in read]
    assert {*sampled_names()} == {min(held, key=hashed) for held in by_shard if held}


def drawn(number):
    """Six pictures of 160 px without a border, and after them 18 of 40 px with one."""
    edge, fresh = (160, number) if number < 6 else (40, number * 7)
    mask = np.full((edge, edge), 2, np.uint8)
    mask[2:20, 2:20] = 1
    mask[30:36, 30:36] = 2 if number < 6 else 3
    image = np.random.default_rng(fresh).integers(0, 256, (edge, edge, 3), np.uint8)
    return Sample(
        f"p{number:02}", "test" if number == 24 else "train", "p", "p",
        Encoded(encode_png(image), encode_png(mask)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uneven") / "raw"
    numbers = [24, *range(24)]  # test comes before train
    write_raw("a test", map(drawn, numbers), PETS, False, 100, folder, 1)
    return folder


@pytest.mark.parametrize("keep_empty", [1.0, 0.0])
def test_pieces_are_counted_by_the_sizes_of_all_pictures_and_not_of_the_first(
    uneven, tmp_path, monkeypatch, keep_empty
):
    """At 32 px a picture of 160 px has 5 x 5 pieces, of 40 px 2 x 2; at most 3 large ones are cut."""
    monkeypatch.setattr("segpipe.plan.pieces._PIXELS", 3 * 160 * 160)
    rule, tiles = SplitRule(0.1), Tiles(1.0, 0.0, keep_empty)
    sampled = sample_pictures(uneven, rule, NAMES)
    pieces = cut(sampled, Input("tiles", (32, 32), 1.0), tiles, "rgb", 3, 4)
    splits = rule.assign(read_index(uneven)).splits
    training = [name for name, split in splits.items() if split == "train"]
    large = sum(name < "p06" for name in training)
    if keep_empty:
        assert pieces.count["train"] == large * 25 + (len(training) - large) * 4
    format_ = RecordFormat((32, 32), "tiles", tiles=tiles)
    manifest = write_records(uneven, PETS, format_, rule, 1, tmp_path / "records", 1)
    # Without empty pieces, those that were cut tell how many are kept.
    room = 0 if keep_empty else 0.5
    assert pieces.count["train"] == pytest.approx(manifest["splits"]["train"]["samples"], rel=room)
    assert pieces.held[NAMES.index("border")] > 0.05, "all pieces of the small pictures hold it"


def test_without_data_raw_the_line_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(UserError, match="no pictures yet; `dvc repro fetch` writes them"):
        sample_pictures(tmp_path / "raw", SplitRule(0.3), NAMES)


@pytest.mark.parametrize(("share", "empty"), [(0.001, "val"), (0.999, "train")])
def test_a_split_that_preprocess_would_find_empty_is_named_in_its_words(raw, tmp_path, share, empty):
    rule = SplitRule(share)
    with pytest.raises(UserError) as planned:
        sample_pictures(raw, rule, NAMES)
    with pytest.raises(UserError) as written:
        write_records(raw, PETS, RecordFormat((32, 32), "stretch"), rule, 1, tmp_path / "records", 1)
    assert str(planned.value) == str(written.value)
    assert str(planned.value).startswith(f"the {empty} split is empty: data.validation_share = {share}")


def test_pictures_without_a_pixel_that_counts_are_refused(tmp_path):
    def unlabelled(number, split):
        image, mask = (np.zeros((40, 40, *bands), np.uint8) for bands in ((3,), ()))
        content = Encoded(encode_png(image + number), encode_png(mask))
        return Sample(f"p{number}", split, "p", "p", content)

    ignoring = ClassTable(PETS.classes, ignore=(0,))
    samples = [unlabelled(n, split) for n, split in enumerate(("test", "train", "train", "val"))]
    write_raw("a test", samples, ignoring, False, 100, tmp_path / "raw", 1)
    with pytest.raises(
        UserError, match="no pixel of the 2 training pictures that were looked at counts"
    ):
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


def test_init_data_remarks_on_every_line_of_1_to_2_px():
    now = Input("stretch", (256, 256))
    for hundredths in range(100, 200):
        (line,) = on_objects({"wire": hundredths / 100, "ground": 400.0}, [(1000, 1000)], now)
        assert "; data.resize: tiles, data.tiles.scale: " in line and " would show it (" in line


def test_init_data_says_the_best_there_is_where_nothing_shows_a_class():
    """1 px in 190: the pictures' own resolution leaves it 192 / 190 = 1.01 px, and 128 px 0.67."""
    thick = {"wire": 1.0, "ground": 90.0}
    (line,) = on_objects(thick, [(190, 190)], Input("stretch", (128, 128)))
    assert line == (
        "wire is 1 px thick, and 0.67 px where data.resize: stretch makes pictures 128 x 128 px; "
        "data.image_size: 192 would leave it 1 px (`segpipe plan` says more)"
    )
    (line,) = on_objects(thick, [(190, 190)], Input("stretch", (224, 224)))
    assert line == (
        "wire is 1 px thick, and 1.2 px where data.resize: stretch makes pictures 224 x 224 px; no "
        "input that `segpipe plan` knows shows more of it: draw it thicker, or take larger pictures"
    )


def test_init_data_remarks_on_tiles_by_their_scale():
    (line,) = on_objects({"wire": 8.0}, [(2000, 2000)], Input("tiles", (128, 128), 0.1))
    assert line == (
        "wire is 8 px thick, and 0.8 px at data.tiles.scale: 0.1; data.tiles.scale: 0.4 would "
        "show it (`segpipe plan` says more)"
    )
    (line,) = on_objects({"wire": 8.0}, [(300, 300)], Input("tiles", (128, 128), 0.1))
    assert "; data.resize: stretch, data.image_size: 128 would show it" in line


def test_init_data_says_the_scale_that_fits_where_tiles_are_much_too_fine():
    """3 px of 100 would be a scale of 0.03; the least that params allow makes cells 10 px thick."""
    cells = {"cell": 100.0, "ground": 2000.0}
    assert [*on_objects(cells, [(4000, 4000)], Input("tiles", (128, 128), 1.0))] == [
        "typical objects are 100 px thick at data.tiles.scale: 1, more than a quarter of a tile of "
        "128 x 128 px; at data.tiles.scale: 0.1 they would be 10 px (`segpipe plan` says more)"
    ]
    fitting = [(0.3, 128), (1.0, 512)]  # 30 px of 128, and 100 of 512, are less than a quarter
    for scale, edge in fitting:
        assert not [*on_objects(cells, [(4000, 4000)], Input("tiles", (edge, edge), scale))]
    small = {"cell": 6.0, "nest": 100.0, "hill": 150.0, "ground": 2000.0}
    (line,) = on_objects(small, [(4000, 4000)], Input("tiles", (128, 128), 1.0))
    assert "; at data.tiles.scale: 0.5, data.image_size: 256 they would be 50 px" in line
    large = {"wall": 5.0, "roof": 100.0, "court": 110.0, "ground": 2000.0}
    assert not [*on_objects(large, [(4000, 4000)], Input("tiles", (128, 128), 1.0))], "walls need 0.6"


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
