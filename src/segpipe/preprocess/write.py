"""From `data/raw` to `data/records`: resizing, the validation split, the manifest."""

import functools
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from segpipe.common import tfrecord
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash, read_json, replaces, write_json
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.records import MANIFEST, SUMMARY, Resize, Split
from segpipe.preprocess.resize import resize_mask, resize_unread

SOURCES: dict[Split, str] = {"train": "train", "val": "train", "test": "test"}
"""From which raw split each split of the records comes."""


def write_records(
    raw: Path,
    table: ClassTable,
    size: tuple[int, int],
    how: Resize,
    validation_share: float,
    shard_mb: float,
    folder: Path,
    threads: int | None = None,
) -> dict:
    """Resize the samples in `raw` and write them to `folder`, the manifest last.

    The same raw shards and arguments give the same bytes, whatever the number of threads.

    Args:
        raw: what `segpipe.fetch.raw.write_raw` wrote.
        table: the classes that the raw masks' indices mean.
        size: height and width of the records in pixels.
        how: whether the pictures' aspect is kept.
        validation_share: part of the training split, 0..1, that becomes `val`, by hash of the name.
        shard_mb: size from which a shard is followed by another, 10^6 bytes.
        folder: replaced as a whole, once everything is written.
        threads: how many decode; None for one a core.

    Returns:
        The content of the manifest.

    Raises:
        UserError: a raw shard is broken, or validation gets no sample or all of them.
    """
    summary = read_json(raw / SUMMARY, "fetch")
    listed = {name: split["shards"] for name, split in summary["splits"].items()}
    tfrecord.check_shards(raw, listed)

    def chosen() -> Iterator[tuple[Split, dict]]:
        for split, source in SOURCES.items():
            total = summary["splits"][source]["samples"]
            for sample in track(_raw_samples(raw, listed[source]), f"Writing {split}", total=total):
                if _split_of(sample, source, validation_share) == split:
                    yield split, sample

    threads = threads or usable_cores()
    resize = functools.partial(_resize, size=size, how=how)
    # Pillow decodes and scales without Python's lock: threads, which start at once and copy nothing, do.
    with replaces(folder) as partial, ThreadPoolExecutor(threads) as pool:
        partial.mkdir()
        splits = {split: _write(partial, split, (), table, shard_mb) for split in SOURCES}
        resized = in_order(lambda one: pool.submit(resize, one), chosen(), 4 * threads)
        for split, group in groupby(resized, itemgetter(0)):
            splits[split] = _write(partial, split, (record for _, record in group), table, shard_mb)
        _check_split(splits, validation_share)
        manifest = {
            "source": summary["source"],
            "image_size": list(size),
            "resize": how,
            **table.to_json(),
            "splits": splits,
            "left_out": summary["left_out"],
        }
        write_json(partial / MANIFEST, manifest)
    return manifest


def _resize(chosen: tuple[Split, dict], size: tuple[int, int], how: Resize) -> tuple[Split, dict]:
    split, features = chosen
    return split, resize_sample(features, size, how, with_original=split == "test")


def _write(
    folder: Path, split: Split, resized: Iterable[dict], table: ClassTable, shard_mb: float
) -> dict[str, Any]:
    """Write a split's records, and give what the manifest says of it."""
    counter = _Counter(table)
    shards = tfrecord.write_shards(folder, split, map(counter.count, resized), shard_mb)
    count = sum(shard["samples"] for shard in shards)
    return {"samples": count, **counter.summary(), "shards": shards}


def resize_sample(features: dict, size: tuple[int, int], how: Resize, with_original: bool) -> dict:
    """Make a record of a raw sample."""
    indices = decode_png(features["mask"])
    image = resize_unread(Image.open(io.BytesIO(features["image"])), size, how)
    mask = resize_mask(indices, size, how)
    record = {"name": features["name"], "image": image.tobytes(), "mask": mask.tobytes()}
    if with_original:
        height, width = indices.shape
        record |= {"original_mask": features["mask"], "height": height, "width": width}
    return record


def _split_of(features: dict, source: str, validation_share: float) -> Split:
    if source == "test":
        return "test"
    together = features.get("group", features["name"]).decode()
    return "val" if name_hash(together, "val") < validation_share else "train"


class _Counter:
    """Counts pixels by class while samples pass."""

    def __init__(self, table: ClassTable) -> None:
        self.names = table.names
        self.pixels = np.zeros(256, np.int64)
        self.around = np.zeros(len(self.names), np.int64)

    def count(self, record: dict) -> dict:
        pixels = np.bincount(np.frombuffer(record["mask"], np.uint8), minlength=256)
        counted = pixels[: len(self.names)]
        self.pixels += pixels
        self.around += np.where(counted > 0, counted.sum(), 0)
        return record

    def summary(self) -> dict:
        """Class shares of the counted pixels, the ignored share of all, and the counts for weights."""
        counted = self.pixels[: len(self.names)]
        shares = counted / max(int(counted.sum()), 1)
        ignored = self.pixels[IGNORE] / max(int(self.pixels.sum()), 1)
        return {
            "class_shares": self._by_name(shares.round(6)),
            "ignored_share": round(float(ignored), 6),
            "class_pixels": self._by_name(counted),
            "pixels_of_images_with_class": self._by_name(self.around),
        }

    def _by_name(self, numbers: np.ndarray) -> dict:
        return dict(zip(self.names, numbers.tolist(), strict=True))


def _raw_samples(raw: Path, shards: list[dict]) -> Iterator[dict]:
    for shard in shards:
        yield from tfrecord.read_shard(raw / shard["file"])


def _check_split(splits: dict, validation_share: float) -> None:
    for split in ("train", "val"):
        if not splits[split]["samples"]:
            total = splits["train"]["samples"] + splits["val"]["samples"]
            raise UserError(
                f"the {split} split is empty: data.validation_share = {validation_share} of "
                f"{total} training samples, by hash of the name; change the share or add samples"
            )
