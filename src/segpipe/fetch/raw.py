"""`data/raw`: checked samples as canonical shards, byte for byte the same for the same input.

A sample holds `name`, `image` (encoded, upright: JPEG or PNG in RGB, or a TIFF of other bands or more
than 8 bits), `mask` (a PNG of class indices, where 255 is ignored), and `group` where it has one:
samples of equal group stay in one split. `summary.json` lists the shards by split, near duplicates, and
what was left out and why; `index.csv` has a row a sample (`common.index`); `labels.json` tallies the
masks (`fetch.tally`).
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.progress import track

from segpipe.common import cluster, tfrecord
from segpipe.common.bands import Bands
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.duplicates import OnNear
from segpipe.common.files import replaces, write_json, write_text
from segpipe.common.index import write_index
from segpipe.common.parallel import Workers, ordered_map
from segpipe.common.records import SUMMARY
from segpipe.common.words import few
from segpipe.fetch import tally
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.integrity import InColoursError, decode_pair
from segpipe.fetch.ledger import Checked, Ledger
from segpipe.fetch.pictures import Decoded
from segpipe.fetch.sample import (
    BadSampleError,
    Mask,
    Note,
    Picture,
    Problem,
    Sample,
    Samples,
    badly_named,
    carried,
    unreadable,
    weight,
)

_SHOWN = 20  # values in a message


def write_raw(
    source: str,
    found: Samples,
    table: ClassTable,
    skip_bad: bool,
    shard_mb: float,
    folder: Path,
    processes: int | None = None,
    bands: Bands = "rgb",
    on_near: OnNear = "warn",
    workers: Workers = "local",
) -> dict:
    """Check every sample and write the good ones to `folder`, in the order they come.

    `found` yields test before val before train; val is optional. `source` is its name for people.
    Masks may hold the values of `table`. `bands` of the pictures are kept; where they are a list, all
    files must have equally many. `skip_bad` leaves bad samples out and lists them in the summary,
    instead of stopping; `on_near` decides about a picture that looks like one of an earlier
    split. A shard is full at `shard_mb` 10^6 bytes. The folder is replaced as a whole, once everything
    is written. `workers` are those of this machine, `processes` of them (None for one a core), or the
    processors of a Ray cluster. Returns the content of `summary.json`.

    Raises:
        UserError: a split holds no good sample; `skip_bad` is false and samples are bad (all are named);
            or `on_near` is error and there are near duplicates.
    """
    ledger = Ledger(table, skip_bad, on_near, None if bands == "rgb" else (0, ""))
    checking = functools.partial(check, table=table, bands=bands)
    noted = ledger.noting(found)
    if workers == "ray":
        checked = cluster.ordered_map(checking, map(carried, noted), weight, "data.workers = ray")
    else:
        checked = ordered_map(checking, noted, processes)
    good = ledger.good(track(checked, "Checking samples", total=None))
    with replaces(folder) as partial:
        partial.mkdir()
        splits = _write_splits(partial, good, shard_mb)
        ledger.judge(splits)
        summary = {"source": source, "bands": bands, "splits": splits, **ledger.to_json()}
        write_json(partial / SUMMARY, summary)
        write_index(partial, ledger.index)
        write_text(partial / tally.FILE, tally.encode(ledger.tally))
    return summary


def _write_splits(folder: Path, good: Iterable[Checked], shard_mb: float) -> dict[str, dict]:
    """Write the shards of each split; return what `summary.json` says of them."""
    splits: dict[str, dict] = {}
    for split, group in itertools.groupby(good, lambda checked: str(checked.sample.split)):
        depths = Counter[str]()
        features = (_features(checked, depths) for checked in group)
        shards = tfrecord.write_shards(folder, split, features, shard_mb)
        count = sum(shard["samples"] for shard in shards)
        splits[split] = {"samples": count, "depths": dict(sorted(depths.items())), "shards": shards}
    return splits


def check(
    sample: Sample | Problem | Note, table: ClassTable, bands: Bands = "rgb"
) -> Checked | Problem | Note:
    """Read and decode one sample, and make all checks that need no other sample."""
    if not isinstance(sample, Sample):
        return sample
    if problem := badly_named(sample):
        return problem
    try:
        image, mask = sample.content.read()
        picture, values = _decoded(sample, image, mask, table, bands)
    except OSError as error:
        of_mask = str(error.filename).endswith(sample.mask)
        return unreadable(sample.mask if of_mask else sample.image, error).problem
    except BadSampleError as error:
        return error.problem
    area = picture.width * picture.height
    if isinstance(mask, bytes):
        unknown, indices = table.unknown_values(values), table.to_indices(values)
    else:
        unknown, indices = {}, values
    if unknown:
        counts = [f"{value} ({count} pixels)" for value, count in unknown.items()]
        found = f"mask values outside the class table: {few(counts, _SHOWN)}"
        expected = f"{table.describe()} (data.classes, data.ignore)"
        most = dict(itertools.islice(unknown.items(), 256))
        return Problem(sample.mask, found, expected, most, area)
    if picture.invalid is not None:
        indices = np.where(picture.invalid, np.uint8(IGNORE), indices)
    return Checked(
        sample, picture.encoded(), encode_png(indices), picture.digest, picture_hash(picture), area,
        picture.bands, picture.depth, pixels_by_class(indices, table),
    )  # fmt: skip


def pixels_by_class(indices: np.ndarray, table: ClassTable) -> dict[str, int]:
    """Return how many of some pixels, class indices in uint8, each class has."""
    counts = np.bincount(indices.ravel(), minlength=IGNORE + 1)
    named = dict(zip(table.names, counts.tolist(), strict=False))
    return named | ({tally.IGNORED: int(counts[IGNORE])} if counts[IGNORE] else {})


def _decoded(
    sample: Sample, image: Picture, mask: Mask, table: ClassTable, bands: Bands
) -> tuple[Decoded, np.ndarray]:
    """Decode a sample: its mask by numbers where mask and table have some, else by colours."""
    arguments = (image, mask, sample.image, sample.mask)
    try:
        return decode_pair(*arguments, table.by_colour, sample.upright, bands)
    except InColoursError:
        if not table.has_colours:
            raise
        return decode_pair(*arguments, True, sample.upright, bands)


def _features(checked: Checked, depths: Counter[str]) -> tfrecord.Features:
    """Return the features of a sample in data/raw; count the type of its pixels."""
    depths[checked.depth] += 1
    sample = checked.sample
    group = {"group": sample.group.encode()} if sample.group else {}
    return {"name": sample.name.encode(), "image": checked.image, "mask": checked.mask, **group}
