"""From `data/raw` to `data/records`: resizing, the validation split, the manifest."""

import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.common import cluster, tfrecord
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import replaces, write_json
from segpipe.common.parallel import Workers, in_order, usable_cores
from segpipe.common.records import MANIFEST
from segpipe.common.splits import Split
from segpipe.common.traits import Measured, write_traits
from segpipe.common.words import extent
from segpipe.preprocess.record_maker import RecordFormat, RecordMaker
from segpipe.preprocess.source import Source, open_source
from segpipe.preprocess.splitting import Assignment, SplitRule
from segpipe.preprocess.tiles import Cutter, Record

DECODED = 1 << 25  # pixels of the pictures that are decoded ahead, at most; one may be larger

Picture = tuple[Split, Iterable[Record], Measured | None]  # its records; its traits but for test


def write_records(
    raw: Path,
    table: ClassTable,
    format_: RecordFormat,
    rule: SplitRule,
    shard_mb: float,
    folder: Path,
    threads: int | None = None,
    workers: Workers = "local",
) -> dict:
    """Resize or cut the samples in `raw` and write them to `folder`: equal bytes for any `threads`.

    `raw` is the folder that `segpipe.fetch.raw.write_raw` wrote, with indices of the classes in `table`.
    `rule` says which training samples become `val` where the data name no such split. A shard is full at
    `shard_mb` 10^6 bytes. `folder` is replaced as a whole, once everything is written. `threads` is None
    for one a core. `workers` are threads, or the processors of a Ray cluster, with equal bytes.

    Returns the content of the manifest. Raises UserError where a raw shard is broken, validation cannot
    be split off, gets no sample or all of them, no piece is kept, a split to train with has no pixel of
    a class, or no cluster answers.
    """
    source = open_source(raw, rule)
    levels, cutter = source.levels(format_.intensity), None
    if tiles := format_.tiles:
        empty = source.commonest_class() if tiles.keep_empty < 1 else None
        cutter = Cutter(format_.size, tiles, levels, empty)
    maker = RecordMaker(format_, levels, cutter)
    splits: dict[str, dict[str, Any]] = {}
    measured: list[Measured] = []
    with replaces(folder) as partial:
        partial.mkdir()
        pictures = _pictures(source, maker, workers, threads or usable_cores())
        for split, group in groupby(pictures, itemgetter(0)):
            content, traits = _write(partial, split, group, table, shard_mb)
            splits[split] = content | _origins(split, source.assignment, cutter)
            measured += traits
        for name in ("train", "val"):
            if name not in splits or not splits[name]["samples"]:
                raise UserError(_why_empty(name, source.assignment, rule, cutter, table))
        _require_labels(splits)
        entry = write_traits(partial, measured)
        manifest = _manifest(source, maker, table, splits, entry)
        write_json(partial / MANIFEST, manifest)
    return manifest


def _manifest(
    source: Source, maker: RecordMaker, table: ClassTable, splits: dict, traits: dict
) -> dict[str, Any]:
    summary, assignment, cutter = source.summary, source.assignment, maker.cutter
    tiling: dict[str, Any] = {}
    if cutter:
        tiling = {"tiles": dataclasses.asdict(cutter.tiles), "cut": _tiling_notes(cutter, table)}
    return {
        "source": summary["source"],
        "image_size": list(maker.format.size),
        "resize": maker.format.resize,
        "bands": summary["bands"],
        **maker.levels.to_json(),
        **tiling,
        **table.to_json(),
        "splits": splits,
        "validation": assignment.validation,
        "near_duplicates": [*summary["near_duplicates"], *map(str, assignment.near)],
        "traits": traits,
        "left_out": [*summary["left_out"], *(near.left_out() for near in assignment.left_out)],
    }


def _origins(split: Split, assignment: Assignment, cutter: Cutter | None) -> dict[str, Any]:
    """Return how many groups a split's records come from, and how many pictures, if they are pieces."""
    counts: dict[str, Any] = {"groups": assignment.groups(split)}
    if cutter:
        counts["pictures"] = sum(other == split for other in assignment.splits.values())
    return counts


def _why_empty(
    split: str, assignment: Assignment, rule: SplitRule, cutter: Cutter | None, table: ClassTable
) -> str:
    """Say why a split has no record, and what to do."""
    if cutter and split == "train" and cutter.left_out:
        notes = "; ".join(_tiling_notes(cutter, table))
        mend = "raise data.tiles.keep_empty, or add labelled pictures"
        return f"no training piece is left: {notes}; {mend}"
    return rule.why_empty(split, assignment)


def _require_labels(splits: dict[str, dict]) -> None:
    """Raise UserError where nothing could be learned, or no epoch be better than another."""
    for name in ("train", "val"):
        split = splits[name]
        if not any(split["class_pixels"].values()):
            raise UserError(
                f"no pixel of the {name} split counts: the masks of its {split['samples']} samples "
                "hold ignored values alone; label some of them, or change data.ignore or the split"
            )


def _tiling_notes(cutter: Cutter, table: ClassTable) -> list[str]:
    """Say what cutting left out, and whether tiles suit the pictures."""
    notes = []
    if count := cutter.left_out["empty"]:
        notes.append(
            f"{count} training pieces hold nothing but {table.names[cutter.empty or 0]} and are left "
            f"out (data.tiles.keep_empty = {cutter.tiles.keep_empty:g})"
        )
    if count := cutter.left_out["ignored"]:
        notes.append(f"{count} training pieces hold ignored pixels alone and are left out")
    if cutter.largest[0] <= cutter.size[0] and cutter.largest[1] <= cutter.size[1]:
        notes.append(
            f"every picture fits into one tile of {extent(cutter.size)}, which is black around it; "
            "data.resize: stretch would enlarge it to fill the input"
        )
    return notes


def _pictures(source: Source, maker: RecordMaker, workers: Workers, threads: int) -> Iterator[Picture]:
    """Yield the pictures of all splits in order; the records of each are to be read before the next."""
    samples = source.samples()
    with ThreadPoolExecutor(threads) as pool:  # Pillow releases the GIL, so threads suffice
        if workers == "ray":
            ready = cluster.ordered_map(maker.decoded, samples, maker.weight, "data.workers = ray")
        else:
            ready = in_order(
                lambda sample: pool.submit(maker.decoded, sample), samples, 4 * threads,
                maker.pixels, DECODED if maker.cutter else None,
            )  # fmt: skip
        for split, decoded, traits in ready:
            yield split, maker.records_of(decoded), traits


def _write(
    folder: Path, split: str, pictures: Iterable[Picture], table: ClassTable, shard_mb: float
) -> tuple[dict[str, Any], list[Measured]]:
    """Write a split's records.

    Returns its part of the manifest, with shares and with counts for weights, and the pictures' traits.
    """
    pixels, of_images_with = np.zeros(256, np.int64), np.zeros(len(table), np.int64)
    measured: list[Measured] = []

    def records() -> Iterator[dict]:
        for _, records_of_picture, traits in pictures:
            if traits:
                measured.append(traits)
            for record, counts in records_of_picture:
                of_classes = counts[: len(table)]
                pixels[:] += counts
                of_images_with[:] += np.where(of_classes > 0, of_classes.sum(), 0)
                yield record

    shards = tfrecord.write_shards(folder, split, records(), shard_mb)
    of_classes = pixels[: len(table)]

    def by_name(numbers: np.ndarray) -> dict:
        return dict(zip(table.names, numbers.tolist(), strict=True))

    content = {
        "samples": sum(shard["samples"] for shard in shards),
        "class_shares": by_name((of_classes / max(int(of_classes.sum()), 1)).round(6)),
        "ignored_share": round(float(pixels[IGNORE] / max(int(pixels.sum()), 1)), 6),
        "class_pixels": by_name(of_classes),
        "pixels_of_images_with_class": by_name(of_images_with),
        "shards": shards,
    }
    return content, measured
