"""TFRecord shards of `tf.train.Example` messages, without TensorFlow.

Equal samples give equal bytes; TensorFlow's own writer serialises an Example's map in any order.
Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.protobuf import message_class

Features = dict[str, Any]  # one sample: bytes or an int64 by feature name


def write_shards(folder: Path, prefix: str, samples: Iterable[Features], shard_mb: float) -> list[dict]:
    """Write samples in their order to `folder`, as `PREFIX-00000.tfrecord`, `PREFIX-00001.tfrecord`, ...

    A new shard begins once one has `shard_mb` 10^6 bytes. One sample is held in memory at a time.
    Returns one entry a shard: `file`, `samples`, `bytes`, `sha256`.
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
                file, digest = path.open("wb"), hashlib.sha256()
            for part in _framed(_serialise(features)):
                file.write(part)
                digest.update(part)  # reading it all again would take as long as decoding the pictures
            shards[-1]["samples"] += 1
            shards[-1] |= {"bytes": file.tell(), "sha256": digest.hexdigest()}
    finally:
        if file:
            file.close()
    return shards


def read_shard(path: Path) -> Iterator[Features]:
    """Yield the samples of a shard; raises as `scan_shard`."""
    return (features for _, features in scan_shard(path))


def scan_shard(path: Path) -> Iterator[tuple[int, Features]]:
    """Yield a shard's samples, each with the position of its first byte before it, for `read_at`.

    Raises a UserError where the shard is cut short or a checksum is wrong.
    """
    with path.open("rb") as file:
        number, begin = 0, 0
        while header := file.read(12):
            yield begin, _parse(_unframe(header, file, f"{path}: record {number}"))
            number, begin = number + 1, file.tell()


def read_at(path: Path, begin: int) -> Features:
    """Return the sample of a shard that begins at a byte; raises as `scan_shard`."""
    with path.open("rb") as file:
        file.seek(begin)
        return _parse(_unframe(file.read(12), file, f"{path}: the record at byte {begin}"))


def check_shards(folder: Path, listed: dict[str, list[dict]]) -> None:
    """Raise a UserError where a shard is missing, of another size, corrupt, or not in the manifest.

    `listed` holds the manifest's entries of `write_shards`, by split.
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


def _framed(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a record's header, data and footer; to join them would copy the pixels once more."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length), data, _masked_crc(data)


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


# `tf.train.Example` with the features that the pipeline writes. A map is a list of entries on disk.
_Example = message_class("Example", """
    message_type { name: "BytesList"
      field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
    message_type { name: "Int64List"
      field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
    message_type { name: "Feature"
      field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".segpipe.BytesList" }
      field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".segpipe.Int64List" } }
    message_type { name: "Entry"
      field { name: "key" number: 1 type: TYPE_STRING }
      field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".segpipe.Feature" } }
    message_type { name: "Features"
      field { name: "feature" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED
              type_name: ".segpipe.Entry" } }
    message_type { name: "Example"
      field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".segpipe.Features" } }
""")  # fmt: skip


def _serialise(features: Features) -> bytes:
    example = _Example()
    for name, value in sorted(features.items()):
        feature = example.features.feature.add(key=name).value
        (feature.int64_list if isinstance(value, int) else feature.bytes_list).value.append(value)
    return example.SerializeToString()


def _parse(data: bytes) -> Features:
    return {
        entry.key: (entry.value.bytes_list.value or entry.value.int64_list.value)[0]
        for entry in _Example.FromString(data).features.feature
    }
