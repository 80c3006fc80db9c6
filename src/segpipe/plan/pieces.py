"""The samples that training would see, cut from a few pictures, and how many there would be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import prod
from statistics import fmean

import numpy as np

from segpipe.common.bands import Bands
from segpipe.common.errors import UserError
from segpipe.common.records import Tiles
from segpipe.plan.look import Look
from segpipe.plan.shape import Input, Size
from segpipe.preprocess.tiles import Cutter, Record, piece_starts, starts
from segpipe.preprocess.write import resize_sample
from segpipe.train.samples import Arrays

_PIXELS = 1 << 26  # of the pictures that are cut
_KEPT = 64  # samples to measure with


@dataclass(frozen=True)
class Pieces:
    """Some training and validation samples, and the counts of all."""

    training: Arrays
    validation: Arrays
    count: dict[str, int]  # estimated records of train and val
    held: list[float]  # share of the training samples that hold a class, by its index


def cut(
    look: Look, chosen: Input, tiles: Tiles | None, bands: Bands, classes: int, batch: int
) -> Pieces:
    """Make samples as preprocess would, a batch at least; `tiles` is given where pictures are cut.

    Only the first pictures of the look are cut; the sizes of all say how many pieces there would be.
    """
    cutter = Cutter(chosen.size, tiles, look.levels, None) if tiles else None
    if cutter and tiles and tiles.keep_empty < 1:
        cutter.empty = look.commonest
    training, validation, held = list[dict](), list[dict](), np.zeros(classes, np.int64)
    total = pictures = pixels = 0
    for sample, size in zip(look.samples, look.sizes, strict=True):
        if pictures and pixels + size[0] * size[1] > _PIXELS:
            break
        pixels, pictures = pixels + size[0] * size[1], pictures + 1
        for record, counts in _records(sample, chosen, look, cutter):
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
    a_picture = _pieces_a_picture(look.sizes, chosen, tiles) * total / (total + left_out)
    count = {
        "train": max(round(look.pictures["train"] * a_picture), 1),
        "val": max(round(look.pictures.get("val", 0) * _tiles_a_picture(look.sizes, chosen)), 1),
    }
    training = [*islice(cycle(training), max(len(training), batch))]
    piece = tiles.piece(chosen.size) if tiles else chosen.size
    return Pieces(
        _arrays(training, piece, bands),
        _arrays(validation[:_KEPT] or training, chosen.size, bands),
        count, (held / max(total, 1)).tolist(),
    )  # fmt: skip


def _records(sample: dict, chosen: Input, look: Look, cutter: Cutter | None) -> Iterator[Record]:
    if cutter:
        yield from cutter.cut(cutter.decoded(sample, "train"))
        return
    record = resize_sample(sample, chosen.size, chosen.resize, False, look.levels)
    yield record, np.bincount(np.frombuffer(record["mask"], np.uint8), minlength=256)


def _pieces_a_picture(sizes: Sequence[Size], chosen: Input, tiles: Tiles | None) -> float:
    """Return the mean number of training pieces of a picture; 1 where pictures are not cut."""
    if not tiles:
        return 1
    piece = tiles.piece(chosen.size)
    edges = (zip(tiles.scaled(size), chosen.size, piece, strict=True) for size in sizes)
    return fmean(prod(len(piece_starts(*edge)) for edge in of_one) for of_one in edges)


def _tiles_a_picture(sizes: Sequence[Size], chosen: Input) -> float:
    """Return the mean number of tiles of a picture; 1 where pictures are not cut."""
    if chosen.resize != "tiles":
        return 1
    scaled = (Tiles(chosen.scale).scaled(size) for size in sizes)
    counts = [np.prod([len(starts(*edge)) for edge in zip(s, chosen.size, strict=True)]) for s in scaled]
    return float(np.mean(counts))


def _arrays(records: Sequence[dict], size: Size, bands: Bands) -> Arrays:
    images = [np.frombuffer(one["image"], np.uint8).reshape(*size, -1) for one in records]
    masks = [np.frombuffer(one["mask"], np.uint8).reshape(size) for one in records]
    return Arrays(np.stack(images), np.stack(masks), [one["name"].decode() for one in records], bands)
