"""Training and validation samples cut from a few pictures, and an estimate of how many there will be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import prod
from statistics import fmean

import numpy as np

from segpipe.common.bands import Bands
from segpipe.common.errors import UserError
from segpipe.common.records import Tiles
from segpipe.plan.sampled import SampledPictures
from segpipe.plan.shape import Input, Size
from segpipe.preprocess.record_maker import resize_sample
from segpipe.preprocess.tiles import Cutter, Record, piece_starts, starts
from segpipe.train.samples import Arrays

_PIXELS = 1 << 26  # of the pictures that are cut, in all
_KEPT = 64  # samples of a split to measure with


@dataclass(frozen=True)
class Pieces:
    """Some training and validation samples, and the counts of all."""

    training: Arrays
    validation: Arrays
    count: dict[str, int]  # estimated records of train and val
    held: list[float]  # share of the training samples that hold a class, by its index


def cut(
    sampled: SampledPictures, chosen: Input, tiles: Tiles | None, bands: Bands, classes: int, batch: int
) -> Pieces:
    """Make samples as preprocess would, a batch at least; `tiles` None leaves pictures whole.

    Only the first of the sampled pictures are cut; the sizes of all tell how many pieces there will be.
    """
    cutter = Cutter(chosen.size, tiles, sampled.levels, None) if tiles else None
    if cutter and tiles and tiles.keep_empty < 1:
        cutter.empty = sampled.commonest
    training, validation, held = list[dict](), list[dict](), np.zeros(classes, np.int64)
    total = pictures = pixels = 0
    for sample, size in zip(sampled.samples, sampled.sizes, strict=True):
        if pictures and pixels + size[0] * size[1] > _PIXELS:
            break
        pixels, pictures = pixels + size[0] * size[1], pictures + 1
        for record, counts in _records(sample, chosen, sampled, cutter):
            training += [record] * (len(training) < _KEPT)
            held += counts[:classes] > 0
            total += 1
        if cutter and len(validation) < _KEPT:
            validation += [
                record for record, _ in islice(cutter.cut(cutter.decoded(sample, "val")), _KEPT)
            ]
    if not training:
        raise UserError(
            "no training piece is left of the pictures that were looked at: they hold nothing but "
            "ignored pixels or the commonest class; raise data.tiles.keep_empty"
        )
    left_out = cutter.left_out.total() if cutter else 0
    pieces_each = _pieces_a_picture(sampled.sizes, chosen, tiles) * total / (total + left_out)
    tiles_each = _tiles_a_picture(sampled.sizes, chosen)
    count = {
        "train": max(round(sampled.pictures["train"] * pieces_each), 1),
        "val": max(round(sampled.pictures.get("val", 0) * tiles_each), 1),
    }
    training = [*islice(cycle(training), max(len(training), batch))]
    piece = tiles.piece(chosen.size) if tiles else chosen.size
    return Pieces(
        _arrays(training, piece, bands),
        _arrays(validation[:_KEPT] or training, chosen.size, bands),
        count, (held / max(total, 1)).tolist(),
    )  # fmt: skip


def _records(
    sample: dict, chosen: Input, sampled: SampledPictures, cutter: Cutter | None
) -> Iterator[Record]:
    if cutter:
        yield from cutter.cut(cutter.decoded(sample, "train"))
        return
    record = resize_sample(sample, chosen.size, chosen.resize, False, sampled.levels)
    yield record, np.bincount(np.frombuffer(record["mask"], np.uint8), minlength=256)


def _pieces_a_picture(sizes: Sequence[Size], chosen: Input, tiles: Tiles | None) -> float:
    """Return the mean number of training pieces of a picture; 1 where pictures are not cut."""
    if not tiles:
        return 1
    piece = tiles.piece(chosen.size)
    edges = (zip(tiles.scaled(size), chosen.size, piece, strict=True) for size in sizes)
    return fmean(prod(len(piece_starts(*edge)) for edge in picture) for picture in edges)


def _tiles_a_picture(sizes: Sequence[Size], chosen: Input) -> float:
    """Return the mean number of tiles of a picture; 1 where pictures are not cut."""
    if chosen.resize != "tiles":
        return 1
    scaled = (Tiles(chosen.scale).scaled(size) for size in sizes)
    counts = [np.prod([len(starts(*edge)) for edge in zip(s, chosen.size, strict=True)]) for s in scaled]
    return float(np.mean(counts))


def _arrays(records: Sequence[dict], size: Size, bands: Bands) -> Arrays:
    images = [np.frombuffer(record["image"], np.uint8).reshape(*size, -1) for record in records]
    masks = [np.frombuffer(record["mask"], np.uint8).reshape(size) for record in records]
    names = [record["name"].decode() for record in records]
    return Arrays(np.stack(images), np.stack(masks), names, bands)
