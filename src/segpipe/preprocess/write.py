"""From `data/raw` to `data/records`: resizing, the validation split, the manifest."""

import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track

from segpipe.common import cluster, tfrecord
from segpipe.common.bands import Intensity, numbers
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import decode_image, decode_png, decode_tiff, is_tiff
from segpipe.common.errors import UserError
from segpipe.common.files import read_json, replaces, write_json
from segpipe.common.index import read_index
from segpipe.common.parallel import Workers, in_order, usable_cores
from segpipe.common.records import MANIFEST, SUMMARY, Resize, Tiles
from segpipe.common.splits import SPLITS, Split
from segpipe.common.traits import Measured, write_traits
from segpipe.common.words import extent
from segpipe.preprocess.cut import Assignment, Cut
from segpipe.preprocess.intensity import RGB_OF_8_BITS, Levels, Ranges, fit_encoded
from segpipe.preprocess.params import Range
from segpipe.preprocess.percentiles import Deep, found_ranges
from segpipe.preprocess.resize import resize_mask
from segpipe.preprocess.tiles import Cutter, Record, Scaled, area
from segpipe.preprocess.traits import traits_of

DECODED = 1 << 25  # pixels of the pictures that are decoded ahead, at most; one may be larger


def write_records(
    raw: Path,
    table: ClassTable,
    size: tuple[int, int],
    how: Resize,
    cut: Cut,
    shard_mb: float,
    folder: Path,
    threads: int | None = None,
    intensity: Literal["auto"] | Range | Ranges = "auto",
    tiles: Tiles | None = None,
    workers: Workers = "local",
) -> dict:
    """Resize or cut the samples in `raw` and write them to `folder`: equal bytes for any `threads`.

    `raw` is the folder that `segpipe.fetch.raw.write_raw` wrote, with indices of the classes in `table`.
    Records have `size`, height and width in pixels. `cut` says which training samples become `val` where
    the data name no such split. A shard is full at `shard_mb` 10^6 bytes. `folder` is replaced as a
    whole, once everything is written. `threads` is None for one a core. `intensity` are the values that
    become 0 and 255 (`data.intensity`). `tiles` is given where `how` is `tiles`, and says how pictures
    are cut. `workers` are threads, or the processors of a Ray cluster, with equal bytes. Returns the
    content of the manifest. Raises UserError where a raw shard is broken, the cut cannot be made,
    validation gets no sample or all of them, no piece is kept, a split to train with has no pixel of a
    class, or no cluster answers.
    """
    summary = read_json(raw / SUMMARY, "fetch")
    tfrecord.check_shards(raw, {name: split["shards"] for name, split in summary["splits"].items()})
    assignment = cut.of(read_index(raw))
    chosen = _chosen(raw, summary["splits"], assignment)
    levels = _levels(raw, summary, assignment, intensity)
    cutter = None
    if tiles:
        empty = _commonest(raw, summary, assignment) if tiles.keep_empty < 1 else None
        cutter = Cutter(size, tiles, levels, empty)
    with replaces(folder) as partial:
        partial.mkdir()
        making = _Making(size, how, levels, cutter)
        measured: list[Measured] = []
        records = _records(chosen, making, workers, threads or usable_cores(), measured)
        splits = {
            split: _write(partial, split, (record for _, record in group), table, shard_mb)
            | _sources(split, assignment, cutter)
            for split, group in groupby(records, itemgetter(0))
        }
        if missing := [split for split in ("train", "val") if split not in splits]:
            raise UserError(_why_empty(missing[0], assignment, cut, cutter, table))
        _require_labels(splits)
        manifest = {"source": summary["source"], "image_size": list(size), "resize": how}
        manifest |= {"bands": summary["bands"], **levels.to_json()}
        if cutter and tiles:
            manifest |= {"tiles": dataclasses.asdict(tiles), "cut": _said(cutter, table)}
        manifest |= {**table.to_json(), "splits": splits, "validation": assignment.validation}
        manifest["near_duplicates"] = [*summary["near_duplicates"], *map(str, assignment.near)]
        manifest["traits"] = write_traits(partial, measured)
        manifest["left_out"] = [*summary["left_out"], *(one.left_out() for one in assignment.left_out)]
        write_json(partial / MANIFEST, manifest)
    return manifest


def _sources(split: Split, assignment: Assignment, cutter: Cutter | None) -> dict[str, Any]:
    """Return how many groups a split's records come from, and how many pictures, if they are pieces."""
    found: dict[str, Any] = {"groups": assignment.groups(split)}
    if cutter:
        found["pictures"] = sum(of_one == split for of_one in assignment.splits.values())
    return found


def _why_empty(
    split: str, assignment: Assignment, cut: Cut, cutter: Cutter | None, table: ClassTable
) -> str:
    """Say why a split has no record, and what to do."""
    if cutter and split == "train" and cutter.left_out:
        words = "; ".join(_said(cutter, table))
        mend = "raise data.tiles.keep_empty, or add labelled pictures"
        return f"no training piece is left: {words}; {mend}"
    total, dropped = sum(name != "test" for name in assignment.splits.values()), len(assignment.left_out)
    more = f" ({dropped} near duplicates are left out)" if dropped else ""
    return (
        f"the {split} split is empty: {cut.called} of {total} training samples{more}, "
        "by hash of the name or group; change it or add samples"
    )


def _require_labels(splits: dict[str, dict]) -> None:
    """Raise UserError where nothing could be learned, or no epoch be better than another."""
    for name in ("train", "val"):
        if not any((split := splits[name])["class_pixels"].values()):
            raise UserError(
                f"no pixel of the {name} split counts: the masks of its {split['samples']} samples "
                "hold ignored values alone; label some of them, or change data.ignore or the split"
            )


def _levels(
    raw: Path, summary: dict, assignment: Assignment, intensity: Literal["auto"] | Range | Ranges
) -> Levels:
    """Return how pictures become 8 bits; `auto` reads the training pictures of more than 8 bits."""
    bands = len(numbers(summary["bands"]))
    depths = tuple(summary["splits"]["train"]["depths"])
    deep = [depth for depth in depths if depth != "uint8"]

    def pictures() -> Iterator[Deep]:
        for _, sample in _chosen(raw, summary["splits"], assignment, ("train",), "Measuring"):
            if is_tiff(sample["image"]):
                pixels, invalid = decode_tiff(sample["image"])
                if pixels.dtype != np.uint8:
                    yield pixels, invalid

    ranges: Intensity = None
    if intensity != "auto":
        ranges = intensity if isinstance(intensity[0], tuple) else (intensity,) * bands
    elif deep:
        ranges = found_ranges(pictures, bands, deep)
    return Levels(bands, ranges, depths)


def _commonest(raw: Path, summary: dict, assignment: Assignment) -> int:
    """Return the class with the most pixels in the training pictures."""
    pixels = np.zeros(256, np.int64)
    for _, sample in _chosen(raw, summary["splits"], assignment, ("train",), "Counting"):
        for rows in np.array_split(mask := decode_png(sample["mask"]), -(-mask.size // DECODED)):
            pixels += np.bincount(rows.ravel(), minlength=256)  # which takes 8 bytes a pixel
    return int(pixels[:IGNORE].argmax())


def _said(cutter: Cutter, table: ClassTable) -> list[str]:
    """Say what cutting left out, and whether tiles suit the pictures."""
    said = []
    if count := cutter.left_out["empty"]:
        said.append(
            f"{count} training pieces hold nothing but {table.names[cutter.empty or 0]} and are left "
            f"out (data.tiles.keep_empty = {cutter.tiles.keep_empty:g})"
        )
    if count := cutter.left_out["ignored"]:
        said.append(f"{count} training pieces hold ignored pixels alone and are left out")
    if cutter.largest[0] <= cutter.size[0] and cutter.largest[1] <= cutter.size[1]:
        said.append(
            f"every picture fits into one tile of {extent(cutter.size)}, which is black around it; "
            "data.resize: stretch would enlarge it to fill the input"
        )
    return said


def _chosen(
    raw: Path,
    sources: dict,
    assignment: Assignment,
    splits: Iterable[Split] = SPLITS,
    doing: str = "Writing",
) -> Iterator[tuple[Split, dict]]:
    """Yield the raw samples of each split of the records, with the split."""
    for split in splits:
        source = "train" if split == "val" and not assignment.given else split
        shards = [raw / shard["file"] for shard in sources[source]["shards"]]
        stream = (sample for shard in shards for sample in tfrecord.read_shard(shard))
        for sample in track(stream, f"{doing} {split}", total=sources[source]["samples"]):
            if assignment.splits.get(sample["name"].decode()) == split:
                yield split, sample


@dataclass(frozen=True)
class _Making:
    """How raw samples become records; picklable, so that any process can."""

    size: tuple[int, int]
    how: Resize
    levels: Levels
    cutter: Cutter | None

    def decoded(self, one: tuple[Split, dict]) -> tuple[Split, Record | Scaled, Measured | None]:
        """Return a sample's split, its record or the sample to be cut, and its traits but of a test."""
        split, features = one
        traits = None if split == "test" else _measured(features, split, self.levels)
        if self.cutter:
            return split, self.cutter.decoded(features, split), traits
        record = resize_sample(features, self.size, self.how, split == "test", self.levels)
        counts = np.bincount(np.frombuffer(record["mask"], np.uint8), minlength=256)
        return split, (record, counts), traits

    def pixels(self, one: tuple[Split, dict]) -> int:
        """Return the pixels of a sample as it is decoded."""
        return area(one[1], self.cutter.tiles.scale if self.cutter else 1.0)

    def weight(self, one: tuple[Split, dict]) -> int:
        """Return the bytes of a sample, or of what is decoded of it: a pixel has bands and two masks."""
        if self.cutter:
            return self.pixels(one) * (self.levels.bands + 2)
        return len(one[1]["image"]) + len(one[1]["mask"])


def _records(
    chosen: Iterable[tuple[Split, dict]],
    making: _Making,
    workers: Workers,
    threads: int,
    measured: list[Measured],
) -> Iterator[tuple[Split, Record]]:
    """Yield records in the order of their raw samples, with their pixels by value.

    The traits of the pictures that they are of go to `measured`, but for the test split.
    """
    with ThreadPoolExecutor(threads) as pool:  # Pillow releases the GIL, so threads suffice
        if workers == "ray":
            ready = cluster.ordered_map(making.decoded, chosen, making.weight, "data.workers = ray")
        else:
            ready = in_order(
                lambda one: pool.submit(making.decoded, one), chosen, 4 * threads,
                making.pixels, DECODED if making.cutter else None,
            )  # fmt: skip
        for split, one, traits in ready:
            if traits:
                measured.append(traits)
            if isinstance(one, Scaled):
                assert making.cutter, "which made it"
                yield from ((split, record) for record in making.cutter.cut(one))
            else:
                yield split, one


def _measured(features: dict, split: Split, levels: Levels) -> Measured:
    """Measure a raw sample's picture at its own size."""
    pixels = levels.in_8_bits(*decode_image(features["image"]))
    return Measured(features["name"].decode(), split, traits_of(pixels))


def resize_sample(
    features: dict,
    size: tuple[int, int],
    how: Resize,
    with_original: bool,
    levels: Levels = RGB_OF_8_BITS,
) -> dict:
    """Make a record of a raw sample."""
    indices = decode_png(features["mask"])
    image = fit_encoded(features["image"], levels, size, how)
    mask = resize_mask(indices, size, how)
    record = {"name": features["name"], "image": image.tobytes(), "mask": mask.tobytes()}
    if with_original:
        height, width = indices.shape
        record |= {"original_mask": features["mask"], "height": height, "width": width}
    return record


def _write(
    folder: Path, split: str, records: Iterable[Record], table: ClassTable, shard_mb: float
) -> dict[str, Any]:
    """Write a split's records, and return its part of the manifest: shares, and counts for weights."""
    pixels, around = np.zeros(256, np.int64), np.zeros(len(table), np.int64)

    def counted(one: Record) -> dict:
        record, counts = one
        of_classes = counts[: len(table)]
        pixels[:] += counts
        around[:] += np.where(of_classes > 0, of_classes.sum(), 0)
        return record

    shards = tfrecord.write_shards(folder, split, map(counted, records), shard_mb)
    of_classes = pixels[: len(table)]

    def by_name(numbers: np.ndarray) -> dict:
        return dict(zip(table.names, numbers.tolist(), strict=True))

    return {
        "samples": sum(shard["samples"] for shard in shards),
        "class_shares": by_name((of_classes / max(int(of_classes.sum()), 1)).round(6)),
        "ignored_share": round(float(pixels[IGNORE] / max(int(pixels.sum()), 1)), 6),
        "class_pixels": by_name(of_classes),
        "pixels_of_images_with_class": by_name(around),
        "shards": shards,
    }
