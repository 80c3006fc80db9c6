"""TFRecord shards of `tf.train.Example` messages, to the byte, without importing TensorFlow.

TensorFlow's own writer serialises an Example's map in any order; here equal samples give equal bytes.
Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from segpipe.common.errors import UserError
from segpipe.common.files import sha256

Features = dict[str, Any]
"""One sample: feature name to bytes, or to an int64."""


def write_shards(folder: Path, prefix: str, samples: Iterable[Features], shard_mb: float) -> list[dict]:
    """Write samples as `PREFIX-00000.tfrecord`, `PREFIX-00001.tfrecord`, ... in the order they come.

    Args:
        folder: an existing folder.
        prefix: the shards' first name part, the split.
        samples: any number of samples; one is held in memory at a time.
        shard_mb: a shard that has reached this many 10^6 bytes is followed by another.

    Returns:
        One entry a shard: `file`, `samples`, `bytes`, `sha256`.
    """
    shards: list[dict] = []
    file: BinaryIO | None = None
    try:
        for features in samples:
            if file is None or file.tell() >= shard_mb * 1e6:
                if file:
                    file.close()
                path = folder / f"{prefix}-{len(shards):05d}.tfrecord"
                shards.append({"file": path.name, "samples": 0})
                file = path.open("wb")
            file.write(_frame(_serialise(features)))
            shards[-1]["samples"] += 1
    finally:
        if file:
            file.close()
    for shard in shards:
        path = folder / shard["file"]
        shard |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return shards


def read_shard(path: Path) -> Iterator[Features]:
    """Yield the samples of a shard; errors are those of `scan_shard`."""
    return (features for _, features in scan_shard(path))


def scan_shard(path: Path) -> Iterator[tuple[int, Features]]:
    """Yield the samples of a shard, each with the byte where `read_at` finds it again.

    Raises:
        UserError: the shard is cut short or a checksum is wrong; the message names it.
    """
    with path.open("rb") as file:
        number, begin = 0, 0
        while header := file.read(12):
            yield begin, _parse(_unframe(header, file, f"{path}: record {number}"))
            number, begin = number + 1, file.tell()


def read_at(path: Path, begin: int) -> Features:
    """The sample of a shard that begins at a byte.

    Raises:
        UserError: the shard ends before, or a checksum is wrong; the message names it.
    """
    with path.open("rb") as file:
        file.seek(begin)
        return _parse(_unframe(file.read(12), file, f"{path}: the record at byte {begin}"))


def check_shards(folder: Path, listed: dict[str, list[dict]]) -> None:
    """Compare the shards in `folder` with what its manifest lists, by split.

    Raises:
        UserError: a shard is missing, of another size, corrupt, or not listed.
    """
    names = {shard["file"] for shards in listed.values() for shard in shards}
    for path in sorted(folder.glob("*.tfrecord")):
        if path.name not in names:
            raise UserError(f"{path}: not in the manifest; {_MEND}")
    for shard in (shard for shards in listed.values() for shard in shards):
        path = folder / shard["file"]
        if not path.is_file():
            raise UserError(f"{path}: missing, the manifest lists it; {_MEND}")
        size = path.stat().st_size
        if size != shard["bytes"]:
            length = "short" if size < shard["bytes"] else "long"
            raise UserError(f"{path}: too {length}, {size} bytes, expected {shard['bytes']}; {_MEND}")
        if sha256(path) != shard["sha256"]:
            count = sum(1 for _ in read_shard(path))  # raises with the record's number where it can
            raise UserError(f"{path}: {count} records, but not those of the manifest (sha256); {_MEND}")


_MEND = "delete the folder and run `dvc repro` to write it again"


def _frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _unframe(header: bytes, file: BinaryIO, where: str) -> bytes:
    length, crc = header[:8], header[8:]
    if len(header) < 12:
        raise UserError(f"{where}: cut short; {_MEND}")
    if _masked_crc(length) != crc:
        raise UserError(f"{where}: corrupt length; {_MEND}")
    (size,) = struct.unpack("<Q", length)
    data, crc = file.read(size), file.read(4)
    if len(data) < size or len(crc) < 4:
        raise UserError(f"{where}: cut short; {_MEND}")
    if _masked_crc(data) != crc:
        raise UserError(f"{where}: corrupt, its checksum is wrong; {_MEND}")
    return data


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _example_class() -> Any:
    """`tf.train.Example` as a message class of its own pool, so that TensorFlow's can live beside it.

    Only bytes and int64 features, which is all that the pipeline writes.
    """
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="segpipe", syntax="proto3")
    one, many = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED

    def message(name: str, *fields: Field) -> descriptor_pb2.DescriptorProto:
        return file.message_type.add(name=name, field=fields)

    def link(name: str, number: int, type_name: str, label: int = one) -> Field:
        kind = {"type": Field.TYPE_MESSAGE, "type_name": f".segpipe.{type_name}"}
        return Field(name=name, number=number, label=label, **kind)

    message("BytesList", Field(name="value", number=1, label=many, type=Field.TYPE_BYTES))
    message("Int64List", Field(name="value", number=1, label=many, type=Field.TYPE_INT64))
    feature = message("Feature", link("bytes_list", 1, "BytesList"), link("int64_list", 3, "Int64List"))
    feature.oneof_decl.add(name="kind")
    for kind in feature.field:
        kind.oneof_index = 0
    features = message("Features", link("feature", 1, "Features.FeatureEntry", many))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=Field.TYPE_STRING)
    entry.field.append(link("value", 2, "Feature"))
    message("Example", link("features", 1, "Features"))

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("segpipe.Example"))


_Example = _example_class()


def _serialise(features: Features) -> bytes:
    example = _Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        (feature.int64_list if isinstance(value, int) else feature.bytes_list).value.append(value)
    return example.SerializeToString(deterministic=True)


def _parse(data: bytes) -> Features:
    features = _Example.FromString(data).features.feature
    return {
        name: getattr(feature, feature.WhichOneof("kind")).value[0] for name, feature in features.items()
    }
