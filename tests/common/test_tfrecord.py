"""Shards: TensorFlow reads what we write, equal samples give equal bytes, damage is named."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.common.errors import UserError
from segpipe.common.tfrecord import check_shards, read_shard, write_shards

SAMPLES = [
    {"name": b"a", "image": bytes(range(256)), "height": 3},
    {"name": b"b", "image": b"", "height": 0},
]

values = st.one_of(st.binary(max_size=50), st.integers(-(2**63), 2**63 - 1))
samples = st.lists(st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=5), max_size=5)


@pytest.fixture
def shard(tmp_path):
    """A shard of three samples, and its entry in a manifest."""
    entries = write_shards(tmp_path, "train", [{"name": f"sample {n}".encode()} for n in range(3)], 100)
    return tmp_path / "train-00000.tfrecord", entries


@given(samples)
@settings(deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("shards")
    shards = write_shards(folder, "train", written, 100)
    assert [s for shard in shards for s in read_shard(folder / shard["file"])] == written


def test_tensorflow_reads_our_shards(tmp_path):
    write_shards(tmp_path, "train", SAMPLES, 100)
    records = tf.data.TFRecordDataset(str(tmp_path / "train-00000.tfrecord"))
    examples = [tf.train.Example.FromString(record.numpy()) for record in records]
    features = [e.features.feature for e in examples]
    assert [f["name"].bytes_list.value[:] for f in features] == [[b"a"], [b"b"]]
    assert [f["image"].bytes_list.value[:] for f in features] == [[bytes(range(256))], [b""]]
    assert [f["height"].int64_list.value[:] for f in features] == [[3], [0]]


def test_bytes_are_those_of_tensorflows_writer_where_that_is_deterministic(tmp_path):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"one feature has one order"]))
    example = tf.train.Example(features=tf.train.Features(feature={"name": feature}))
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        writer.write(example.SerializeToString())
    write_shards(tmp_path, "ours", [{"name": b"one feature has one order"}], 100)
    assert (tmp_path / "ours-00000.tfrecord").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_features_stand_in_name_order_however_they_came(tmp_path):
    names = [f"feature {number:02d}" for number in range(30)]
    shards = []
    for prefix, order in (("one", names), ("two", names[::-1])):
        shards += write_shards(tmp_path, prefix, [dict.fromkeys(order, b"")], 100)
    content = (tmp_path / "one-00000.tfrecord").read_bytes()
    positions = [content.index(name.encode()) for name in names]
    assert positions == sorted(positions)
    assert shards[0]["sha256"] == shards[1]["sha256"]


def test_a_full_shard_is_followed_by_another(tmp_path):
    shards = write_shards(tmp_path, "train", [{"image": bytes(600)}] * 5, 0.001)
    assert [s["samples"] for s in shards] == [2, 2, 1]
    assert [s["file"] for s in shards][-1] == "train-00002.tfrecord"


def test_sound_shards_pass_the_check(shard):
    path, entries = shard
    check_shards(path.parent, {"train": entries})
    assert len(list(read_shard(path))) == 3


def test_a_shard_cut_in_half_is_named(shard):
    path, entries = shard
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        UserError, match=rf"{path}: too short, \d+ bytes, expected {entries[0]['bytes']}"
    ):
        check_shards(path.parent, {"train": entries})
    with pytest.raises(UserError, match=rf"{path}: record 1: cut short"):
        list(read_shard(path))


def test_a_shard_cut_at_a_record_boundary_is_named_too(shard):
    path, entries = shard
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert len(list(read_shard(path))) == 1, "it reads clean: only the manifest knows better"
    with pytest.raises(UserError, match="too short"):
        check_shards(path.parent, {"train": entries})


@pytest.mark.parametrize("position", [0, 9, 20, -1])
def test_a_flipped_byte_is_named_with_its_shard(shard, position):
    path, entries = shard
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path}: record \d: corrupt"):
        check_shards(path.parent, {"train": entries})


def test_a_shard_that_the_manifest_does_not_list_is_named(shard):
    path, entries = shard
    path.with_name("train-00001.tfrecord").touch()
    with pytest.raises(UserError, match=r"train-00001\.tfrecord: not in the manifest"):
        check_shards(path.parent, {"train": entries})


def test_a_missing_shard_is_named(shard):
    path, entries = shard
    path.unlink()
    with pytest.raises(UserError, match=rf"{path}: missing"):
        check_shards(path.parent, {"train": entries})


def test_a_sound_shard_of_other_samples_is_named(shard):
    path, entries = shard
    write_shards(path.parent, "train", [{"name": f"sample {n}".encode()} for n in (3, 4, 5)], 100)
    with pytest.raises(UserError, match="3 records, but not those of the manifest"):
        check_shards(path.parent, {"train": entries})
