"""`data/raw`: checked samples as canonical shards, byte for byte the same for the same input.

A sample holds `name`, `image` (encoded, upright, RGB) and `mask` (a PNG of class indices, where 255 is
ignored), and `group` where it must not be parted from others.
`summary.json` lists the shards by split, and what was left out and why.
"""

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.progress import track

from segpipe.common import tfrecord
from segpipe.common.classes import ClassTable
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.files import replaces, write_json
from segpipe.common.parallel import ordered_map
from segpipe.common.records import SUMMARY
from segpipe.fetch.integrity import decode_pair
from segpipe.fetch.naming import proposed_rows
from segpipe.fetch.sample import BadSampleError, Problem, Sample

SPLITS = ("test", "train")
"""In the order of the sources: what the test split holds is known before training data is kept."""

_SHOWN = 20
_BAND = 256
"""Rows of a picture that are hashed at once."""
_PHOTOGRAPH = (
    "  ... so many values are not classes: is this a photograph, or a mask saved as JPEG, whose "
    "compression changes values? Save masks as PNG"
)


@dataclass(frozen=True)
class Checked:
    """A sample that passed every check that it can pass alone."""

    sample: Sample
    image: bytes
    mask: bytes
    pixels: str
    """SHA-256 of the decoded image: equal pictures in different files are equal here."""
    area: int
    """The mask's pixels."""


@dataclass
class _Inspection:
    """What the checks across samples need to remember."""

    problems: list[Problem] = field(default_factory=list)
    area: int = 0
    """The pixels of all masks that were read."""
    names: dict[str, str] = field(default_factory=dict)
    test_pictures: dict[str, str] = field(default_factory=dict)

    def good(self, results: Iterable[Checked | Problem]) -> Iterator[Checked]:
        """Yield the samples to keep; the rest is remembered as problems."""
        for result in results:
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
        self.names[sample.name] = sample.image
        if sample.split == "test":
            self.test_pictures.setdefault(checked.pixels, sample.image)
        elif checked.pixels in self.test_pictures:
            twin = self.test_pictures[checked.pixels]
            return Problem(sample.image, f"the same picture as {twin} of the test split",
                           "no picture in both train and test")  # fmt: skip
        return None


def write_raw(
    source: str,
    found: Iterable[Sample | Problem],
    table: ClassTable,
    skip_bad: bool,
    shard_mb: float,
    folder: Path,
    processes: int | None = None,
) -> dict:
    """Check every sample and write the good ones, in the order they come, to `folder`.

    Args:
        source: what the samples are, for people.
        found: samples and problems, the test split before the train split.
        table: values that masks may hold.
        skip_bad: leave bad samples out and list them in the summary, instead of stopping.
        shard_mb: size from which a shard is followed by another, 10^6 bytes.
        folder: replaced as a whole, once everything is written.
        processes: how many worker processes decode; None for one a core.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: a sample is bad and `skip_bad` is false (all of them are named), or a split ends
            up empty.
    """
    inspection = _Inspection()
    checked = ordered_map(functools.partial(check, table=table), found, processes)
    good = inspection.good(track(checked, "Checking samples", total=None))
    with replaces(folder) as partial:
        partial.mkdir()
        shards = _write_by_split(good, partial, shard_mb)
        if inspection.problems and not skip_bad:
            raise UserError(_list(inspection, table))
        for split in SPLITS:
            if not shards[split]:
                raise UserError(_empty(split, inspection, table))
        summary = {
            "source": source,
            "splits": {
                split: {
                    "samples": sum(s["samples"] for s in shards[split]),
                    "shards": shards[split],
                }
                for split in SPLITS
            },
            "left_out": [{"file": p.file, "problem": str(p)} for p in inspection.problems],
        }
        write_json(partial / SUMMARY, summary)
    return summary


def check(sample: Sample | Problem, table: ClassTable) -> Checked | Problem:
    """Read and decode one sample, and check all that can be checked in it alone."""
    if isinstance(sample, Problem):
        return sample
    if not sample.name.isprintable():
        return Problem(sample.image, "an unprintable letter in its name", "printable UTF-8")
    try:
        encoded_image, encoded_mask = sample.content.read()
        picture, values, kept = decode_pair(
            encoded_image, encoded_mask, sample.image, sample.mask, table.by_colour
        )
    except OSError as error:
        file = sample.mask if str(error.filename).endswith(sample.mask) else sample.image
        return Problem(file, f"unreadable ({error.strerror or error})", "a readable file")
    except BadSampleError as error:
        return error.problem
    area = picture.width * picture.height
    if unknown := table.unknown_values(values):
        counts = [f"{value} ({count} pixels)" for value, count in unknown.items()]
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        return Problem(
            sample.mask, f"mask values outside the class table: {', '.join(counts[:_SHOWN])}{more}",
            f"{table.describe()} (data.classes, data.ignore)",
            dict(itertools.islice(unknown.items(), 256)), area,
        )  # fmt: skip
    return Checked(sample, kept, encode_png(table.to_indices(values)), _digest(picture), area)


def _digest(picture: Image.Image) -> str:
    """SHA-256 of size and pixels, taken in bands: a large picture is in memory once."""
    digest = hashlib.sha256(repr(picture.size).encode())
    for top in range(0, picture.height, _BAND):
        bottom = min(top + _BAND, picture.height)
        digest.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return digest.hexdigest()


def _write_by_split(good: Iterable[Checked], folder: Path, shard_mb: float) -> dict[str, list[dict]]:
    """Write a stream that holds first one split and then the next."""
    stream = iter(good)
    waiting = next(stream, None)

    def of(split: str) -> Iterator[tfrecord.Features]:
        nonlocal waiting
        while waiting and waiting.sample.split == split:
            sample = waiting.sample
            group: tfrecord.Features = {"group": sample.group.encode()} if sample.group else {}
            yield {"name": sample.name.encode(), "image": waiting.image, "mask": waiting.mask, **group}
            waiting = next(stream, None)

    return {split: tfrecord.write_shards(folder, split, of(split), shard_mb) for split in SPLITS}


def _list(inspection: _Inspection, table: ClassTable) -> str:
    problems = inspection.problems
    shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return (
        f"{len(problems)} bad samples; mend them, or set data.on_bad to skip to leave them out:\n"
        f"{shown}{more}{_unknown(inspection, table)}"
    )


def _unknown(inspection: _Inspection, table: ClassTable) -> str:
    """What all masks together hold that the table lacks, each with a line that would make it a class."""
    pixels: Counter[str | int] = Counter()
    masks: Counter[str | int] = Counter()
    for problem in inspection.problems:
        pixels.update(problem.unknown)
        masks.update(problem.unknown.keys())
    if not pixels:
        return ""
    most = pixels.most_common(_SHOWN)
    rows = proposed_rows((value for value, _ in most), table)
    lines = [
        f"  {value}: {_share(count, inspection.area)} of all pixels, in {masks[value]} masks; "
        f"to make it a class, add to data.classes: - {row}"
        for (value, count), row in zip(most, rows, strict=False)
    ]
    head = f"{len(pixels)} values or labels that the class table lacks (or list values in data.ignore):"
    return "\n".join(["", head, *lines, *([_PHOTOGRAPH] if len(pixels) > _SHOWN else [])])


def _share(count: int, area: int) -> str:
    """A share in per cent that never looks like nothing."""
    return f"{100 * count / area:.3g} %" if area else "0 %"


def _empty(split: str, inspection: _Inspection, table: ClassTable) -> str:
    if not inspection.problems:
        return f"the {split} split holds no sample"
    return f"no good sample is left in the {split} split. {_list(inspection, table)}"
