"""Records: resized as promised, the same bytes always, a manifest that tells the truth."""

import io
import json
from typing import NamedTuple

import numpy as np
import pytest
from helpers import PETS, decode_rgb
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segpipe.common import records
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import decode_png, encode_png
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.common.traits import read_traits
from segpipe.fetch import layouts, synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Sample
from segpipe.preprocess.record_maker import RecordFormat, resize_sample
from segpipe.preprocess.resize import content_box, resize_image, resize_unread
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.traits import traits_of
from segpipe.preprocess.write import write_records

TWO = ClassTable(PETS.classes[:2], ignore=(3,))


def fetch(folder, table, processes):
    params = SyntheticParams(train=30, test=5, size=40, seed=0)
    write_raw("a test", synthetic.samples(params), table, False, 0.02, folder, processes)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return fetch(tmp_path_factory.mktemp("data") / "raw", PETS, processes=2)


@pytest.fixture(scope="module")
def raw_of_two_classes(tmp_path_factory):
    return fetch(tmp_path_factory.mktemp("data") / "raw", TWO, processes=1)


def write(raw, folder, table=PETS, size=(32, 32), how="stretch", share=0.3, threads=1):
    return write_records(raw, table, RecordFormat(size, how), SplitRule(share), 0.05, folder, threads)


def test_bytes_do_not_depend_on_the_number_of_threads(raw, tmp_path):
    for threads in (1, 3):
        write(raw, tmp_path / str(threads), threads=threads)
    one, three = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("1", "3"))
    assert one == three
    assert len(one) > 4, "several shards a split, and the manifest"


def test_raw_bytes_do_not_depend_on_the_number_of_processes(raw, tmp_path):
    fetch(tmp_path / "raw", PETS, processes=1)
    assert {p.name: p.read_bytes() for p in raw.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "raw").iterdir()
    }


def test_validation_is_cut_from_training_by_name_and_every_sample_is_in_one_split(raw, tmp_path):
    manifest = write(raw, tmp_path / "records")
    opened = records.open_records(tmp_path / "records")
    names = {split: [s["name"] for s in records.read(opened, split)] for split in opened.splits}
    everything = [n for split in names.values() for n in split]
    assert len(everything) == len(set(everything)) == 35
    assert names["test"] == [f"test-{n:06d}" for n in range(5)]
    assert all(name.startswith("train-") for name in names["val"])
    assert {s: v["samples"] for s, v in manifest["splits"].items()} == {
        s: len(n) for s, n in names.items()
    }
    assert 2 <= len(names["val"]) <= 16


def test_traits_of_training_and_validation_are_those_of_the_pictures_at_their_own_size(raw, tmp_path):
    manifest = write(raw, tmp_path / "records")
    rows = read_traits(tmp_path / "records", manifest["traits"])
    splits = {one.name: one.split for one in rows}
    opened = records.open_records(tmp_path / "records")
    expected = {s["name"]: split for split in ("train", "val") for s in records.read(opened, split)}
    assert splits == expected, "the test split is seen by evaluate alone"
    pictures = {s["name"].decode(): s["image"] for path in raw.glob("train*") for s in read_shard(path)}
    for one in rows:
        found = traits_of(np.asarray(Image.open(io.BytesIO(pictures[one.name]))))
        assert one.traits == pytest.approx(found, rel=1e-5)


def test_masks_are_scaled_by_nearest_neighbour():
    mask = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 255, 255], [1, 1, 255, 255]], np.uint8)
    features = {
        "name": b"a",
        "image": encode_png(np.zeros((4, 4, 3), np.uint8)),
        "mask": encode_png(mask),
    }
    small = resize_sample(features, (2, 2), "stretch", False)
    assert list(small["mask"]) == [0, 2, 1, 255]
    large = resize_sample(features, (8, 8), "stretch", False)["mask"]
    large = np.frombuffer(large, np.uint8).reshape(8, 8)
    assert (large == np.kron(mask, np.ones((2, 2), np.uint8))).all()


def test_pad_keeps_the_aspect_and_ignores_the_rest():
    """4 x 2 pixels into 8 x 8: twice as high and wide, two columns of margin on each side."""
    mask = np.array([[0, 1], [0, 1], [0, 2], [0, 2]], np.uint8)
    features = {
        "name": b"a",
        "image": encode_png(np.full((4, 2, 3), 200, np.uint8)),
        "mask": encode_png(mask),
    }
    record = resize_sample(features, (8, 8), "pad", False)
    found = np.frombuffer(record["mask"], np.uint8).reshape(8, 8)
    expected = np.full((8, 8), IGNORE)
    expected[:, 2:6] = np.kron(mask, np.ones((2, 2)))
    assert (found == expected).all()
    image = np.frombuffer(record["image"], np.uint8).reshape(8, 8, 3)
    assert (image[:, 2:6] == 200).all()
    assert (image[:, [0, 1, 6, 7]] == 0).all()


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 12), st.integers(1, 12))
def test_the_padded_picture_lies_within_the_input_and_touches_two_of_its_edges(h, w, rows, columns):
    size = (32 * rows, 32 * columns)
    top, left, height, width = content_box((h, w), size, "pad")
    assert height == size[0] or width == size[1]
    assert 0 <= top <= top + height <= size[0]
    assert 0 <= left <= left + width <= size[1]
    assert abs(2 * top + height - size[0]) <= 1, "in the middle"
    assert abs(2 * left + width - size[1]) <= 1
    scale = min(size[0] / h, size[1] / w)
    assert height == pytest.approx(h * scale, abs=1)
    assert width == pytest.approx(w * scale, abs=1)


def test_records_need_not_be_square(raw, tmp_path):
    write(raw, tmp_path / "records", size=(32, 64))
    record = next(records.read(records.open_records(tmp_path / "records"), "train"))
    assert (record["image"].shape, record["mask"].shape) == ((32, 64, 3), (32, 64))


def test_images_are_scaled_with_antialiasing():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    features = {
        "name": b"a",
        "image": encode_png(stripes),
        "mask": encode_png(np.ones((64, 64), np.uint8)),
    }
    image = np.frombuffer(resize_sample(features, (32, 32), "stretch", False)["image"], np.uint8)
    assert abs(image.astype(int) - 127).max() < 50, "stripes of one pixel become grey, not moire"
    assert abs(image.mean() - 127.5) < 2


@pytest.mark.parametrize("how", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(130, 101), (250, 333), (1003, 701)])
def test_a_large_jpeg_that_is_decoded_in_part_gives_the_picture_of_a_whole_one(size, how, pet_dir):
    with Image.open(sorted((pet_dir / "images").glob("*.jpg"))[0]) as photograph:
        buffer = io.BytesIO()
        photograph.convert("RGB").resize(size).save(buffer, "JPEG", quality=95)
    whole = resize_image(decode_rgb(buffer.getvalue()), (32, 64), how)
    ours = resize_unread(Image.open(buffer), (32, 64), how)
    difference = np.abs(np.subtract(ours, whole, dtype=np.int16))
    assert difference.mean() < 1, "of 255"
    assert difference.max() < 20
    assert difference.any() or size != (1003, 701), "of this one an eighth is decoded"


def test_test_records_carry_the_original_mask_and_size(raw, tmp_path):
    write(raw, tmp_path / "records")
    original = next(read_shard(raw / "test-00000.tfrecord"))
    record = next(read_shard(tmp_path / "records" / "test-00000.tfrecord"))
    indices = decode_png(original["mask"])
    assert (decode_png(record["original_mask"]) == indices).all()
    assert (record["height"], record["width"]) == indices.shape
    assert decode_rgb(original["image"]).size == indices.shape[::-1]
    training = next(read_shard(tmp_path / "records" / "train-00000.tfrecord"))
    assert set(training) == {"name", "image", "mask"}


def test_class_shares_are_those_of_the_counted_pixels(raw_of_two_classes, tmp_path):
    manifest = write(raw_of_two_classes, tmp_path / "records", TWO)
    opened = records.open_records(tmp_path / "records")
    masks = np.stack([s["mask"] for s in records.read(opened, "train")])
    split = manifest["splits"]["train"]
    assert split["class_shares"]["pet"] == pytest.approx(
        (masks == 0).sum() / (masks != 255).sum(), abs=1e-6
    )
    assert split["ignored_share"] == pytest.approx((masks == 255).mean(), abs=1e-6)


def test_the_manifest_reads_back_as_it_was_written(raw, tmp_path):
    manifest = write(raw, tmp_path / "records")
    assert json.loads((tmp_path / "records" / "manifest.json").read_text()) == manifest
    opened = records.open_records(tmp_path / "records")
    assert (opened.size, opened.resize, opened.classes) == ((32, 32), "stretch", PETS)
    assert opened.count("test") == 5


def test_pixels_are_counted_by_class_and_around_it(raw_of_two_classes, tmp_path):
    manifest = write(raw_of_two_classes, tmp_path / "records", TWO)
    opened = records.open_records(tmp_path / "records")
    masks = [s["mask"] for s in records.read(opened, "train")]
    split = manifest["splits"]["train"]
    for index, name in enumerate(("pet", "background")):
        assert split["class_pixels"][name] == sum((m == index).sum() for m in masks)
        around = sum((m != IGNORE).sum() for m in masks if (m == index).any())
        assert split["pixels_of_images_with_class"][name] == around


@pytest.mark.parametrize(("share", "empty"), [(0.001, "val"), (0.999, "train")])
def test_an_empty_split_is_an_error_that_names_the_share(raw, tmp_path, share, empty):
    with pytest.raises(UserError, match=rf"the {empty} split is empty: data.validation_share = {share}"):
        write(raw, tmp_path / "records", share=share)
    assert not (tmp_path / "records").exists()


class Drawn(NamedTuple):
    """A picture of noise whose mask holds one index."""

    seed: int
    index: int

    def read(self):
        noise = np.random.default_rng(self.seed).integers(0, 256, (8, 8, 3), np.uint8)
        return encode_png(noise), np.full((8, 8), self.index, np.uint8)


@pytest.mark.parametrize("without", ["train", "val"])
def test_a_split_to_train_with_whose_masks_are_ignored_is_an_error_that_names_it(tmp_path, without):
    splits = 3 * ["train"] + 3 * ["val"] + 3 * ["test"]
    samples = [
        Sample(f"{n}", split, "a.png", "b.png", Drawn(n, IGNORE if split == without else 0))
        for n, split in enumerate(splits)
    ]
    write_raw("a test", samples, TWO, False, 0.02, tmp_path / "raw", processes=1)
    message = f"no pixel of the {without} split counts: the masks of its 3 samples hold ignored values"
    with pytest.raises(UserError, match=message):
        write(tmp_path / "raw", tmp_path / "records", TWO)
    assert not (tmp_path / "records").exists()


def test_a_broken_raw_shard_stops_preprocessing(raw, tmp_path):
    broken = tmp_path / "raw"
    broken.mkdir()
    for path in raw.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "test-00000.tfrecord").write_bytes(b"")
    with pytest.raises(UserError, match=r"test-00000\.tfrecord: too short"):
        write(broken, tmp_path / "records")


def test_records_without_a_manifest_are_no_records(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.json: no such file; `dvc repro` writes it"):
        records.open_records(tmp_path)


def test_the_records_of_the_real_photographs_keep_their_class_shares(pet_dir, tmp_path):
    found = layouts.samples("oxford", pet_dir, 0.3, PETS)
    write_raw("a test", found, PETS, False, 100, tmp_path / "raw")
    manifest = write_records(
        tmp_path / "raw",
        PETS,
        RecordFormat((128, 128), "stretch"),
        SplitRule(0.1),
        100,
        tmp_path / "records",
    )
    counts = {split: content["samples"] for split, content in manifest["splits"].items()}
    assert counts["train"] + counts["val"] == 300
    assert counts["test"] == 298
    record = next(records.read(records.open_records(tmp_path / "records"), "test"))
    with Image.open(pet_dir / "images" / f"{record['name']}.jpg") as image:
        assert record["original_mask"].shape == (image.height, image.width)
    shares = [s["class_shares"]["border"] for s in manifest["splits"].values()]
    assert all(0.10 < share < 0.14 for share in shares), "12.0 % of pixels, says the data's README"
