"""`data/raw`: checked samples as canonical shards, byte for byte the same for the same input.

A sample holds `name`, `image` (encoded, upright: JPEG or PNG in RGB, or a TIFF of other bands or more
than 8 bits), `mask` (a PNG of class indices, where 255 is ignored), and `group` where it has one:
samples of equal group stay in one split.
`summary.json` lists the shards by split, and what was left out and why.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import track

from segpipe.common import tfrecord
from segpipe.common.bands import Bands
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.files import replaces, write_json
from segpipe.common.parallel import ordered_map
from segpipe.common.records import SUMMARY
from segpipe.fetch.integrity import InColoursError, decode_pair
from segpipe.fetch.naming import proposed_rows
from segpipe.fetch.pictures import Decoded
from segpipe.fetch.sample import (
    BadSampleError,
    Mask,
    Note,
    Picture,
    Problem,
    Sample,
    Samples,
    unreadable,
)

SPLITS = ("test", "train")
"""In the order of the sources: all test pictures are known before the first training sample is kept."""

_SHOWN = 20
_PHOTOGRAPH = (
    "  ... so many values are not classes: is this a photograph, or a mask saved as JPEG, whose "
    "compression changes values? Save masks as PNG"
)


@dataclass(frozen=True)
class Checked:
    """A sample that passed every check that needs no other sample."""

    sample: Sample
    image: bytes
    mask: bytes
    pixels: str  # SHA-256 of the decoded image, equal for equal pictures in different files
    area: int  # pixels of the mask
    bands: int  # of the picture's file
    depth: str  # the type of its pixels


@dataclass
class _Ledger:
    """The memory of the checks across samples."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    area: int = 0  # pixels of all masks that were read
    names: set[str] = field(default_factory=set)
    test_pictures: dict[str, str] = field(default_factory=dict)  # image files by `Checked.pixels`
    bands: tuple[int, str] | None = None  # of the first picture, with its file, where all must have them

    def good(self, results: Iterable[Checked | Problem | Note]) -> Iterator[Checked]:
        """Yield the samples to keep, and remember the problems and notes."""
        for result in results:
            if isinstance(result, Note):
                self.notes.append(result.text)
                continue
            self.area += result.area
            problem = result if isinstance(result, Problem) else self._clash(result)
            if problem:
                self.problems.append(problem)
            elif isinstance(result, Checked):
                yield result

    def _clash(self, checked: Checked) -> Problem | None:
        sample = checked.sample
        if sample.name in self.names:
            return Problem(sample.image, f"a duplicate name, {sample.name}", "every name once")
        self.names.add(sample.name)
        if self.bands and not self.bands[0]:
            self.bands = checked.bands, sample.image
        if self.bands and checked.bands != self.bands[0]:
            expected = f"{self.bands[0]}, as {self.bands[1]} has (data.bands)"
            return Problem(sample.image, f"a picture with {checked.bands} bands", expected)
        if sample.split == "test":
            self.test_pictures.setdefault(checked.pixels, sample.image)
        elif twin := self.test_pictures.get(checked.pixels):
            return Problem(sample.image, f"the same picture as {twin} of the test split",
                           "no picture in both train and test")  # fmt: skip
        return None


def write_raw(
    source: str,
    found: Samples,
    table: ClassTable,
    skip_bad: bool,
    shard_mb: float,
    folder: Path,
    processes: int | None = None,
    bands: Bands = "rgb",
) -> dict:
    """Check every sample and write the good ones to `folder`, in the order they come.

    `found` holds the test split before the train split; `source` names its source for people. Masks may
    hold the values of `table`. `bands` of the pictures are kept; where they are a list, all files must
    have equally many. `skip_bad` leaves bad samples out and lists them in the summary, instead of
    stopping. A shard is full at `shard_mb` 10^6 bytes. The folder is replaced as a whole, once
    everything is written. `processes` is the number of workers, None for one a core. Returns the content
    of `summary.json`.

    Raises:
        UserError: `skip_bad` is false and samples are bad (all are named), or a split ends up empty.
    """
    ledger = _Ledger(bands=None if bands == "rgb" else (0, ""))
    checked = ordered_map(functools.partial(check, table=table, bands=bands), found, processes)
    good = ledger.good(track(checked, "Checking samples", total=None))
    splits: dict[str, dict] = {split: {"samples": 0, "shards": []} for split in SPLITS}
    with replaces(folder) as partial:
        partial.mkdir()
        for split, group in itertools.groupby(good, lambda one: one.sample.split):
            depths = Counter[str]()
            features = (_features(one, depths) for one in group)
            shards = tfrecord.write_shards(partial, split, features, shard_mb)
            count = sum(shard["samples"] for shard in shards)
            splits[split] = {"samples": count, "depths": dict(sorted(depths.items())), "shards": shards}
        if ledger.problems and not skip_bad:
            raise UserError(_list(ledger, table))
        if empty := next((split for split in SPLITS if not splits[split]["samples"]), None):
            listed = f"no good sample is left in the {empty} split. {_list(ledger, table)}"
            raise UserError(listed if ledger.problems else f"the {empty} split holds no sample")
        left_out = [{"file": p.file, "problem": str(p)} for p in ledger.problems]
        summary: dict = {"source": source, "bands": bands, "splits": splits, "left_out": left_out}
        summary["notes"] = ledger.notes
        write_json(partial / SUMMARY, summary)
    return summary


def check(
    sample: Sample | Problem | Note, table: ClassTable, bands: Bands = "rgb"
) -> Checked | Problem | Note:
    """Read and decode one sample, and make all checks that need no other sample."""
    if not isinstance(sample, Sample):
        return sample
    if not sample.name.isprintable():
        return Problem(sample.image, "an unprintable letter in its name", "printable UTF-8")
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
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        found = f"mask values outside the class table: {', '.join(counts[:_SHOWN])}{more}"
        expected = f"{table.describe()} (data.classes, data.ignore)"
        most = dict(itertools.islice(unknown.items(), 256))
        return Problem(sample.mask, found, expected, most, area)
    if picture.invalid is not None:
        indices = np.where(picture.invalid, np.uint8(IGNORE), indices)
    encoded, drawn = picture.encoded(), encode_png(indices)
    return Checked(sample, encoded, drawn, picture.digest, area, picture.bands, picture.depth)


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
    """Return what data/raw holds of a sample; count the type of its pixels."""
    depths[checked.depth] += 1
    sample = checked.sample
    group = {"group": sample.group.encode()} if sample.group else {}
    return {"name": sample.name.encode(), "image": checked.image, "mask": checked.mask, **group}


def _list(ledger: _Ledger, table: ClassTable) -> str:
    problems = ledger.problems
    shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return (
        f"{len(problems)} bad samples; mend them, or set data.on_bad to skip to leave them out:\n"
        f"{shown}{more}{_unknown(ledger, table)}"
    )


def _unknown(ledger: _Ledger, table: ClassTable) -> str:
    """List the values or labels that the table lacks, each with the line that would make it a class."""
    pixels: Counter[str | int] = Counter()
    masks: Counter[str | int] = Counter()
    for problem in ledger.problems:
        pixels.update(problem.unknown)
        masks.update(problem.unknown.keys())
    if not pixels:
        return ""
    most = pixels.most_common(_SHOWN)
    rows = proposed_rows((value for value, _ in most), table)
    lines = [
        f"  {value}: {100 * count / max(ledger.area, 1):.3g} % of all pixels, in {masks[value]} masks; "
        f"to make it a class, add to data.classes: - {row}"
        for (value, count), row in zip(most, rows, strict=False)
    ]
    head = f"{len(pixels)} values or labels that the class table lacks (or list values in data.ignore):"
    return "\n".join(["", head, *lines, *([_PHOTOGRAPH] if len(pixels) > _SHOWN else [])])
