"""Some training pictures of `data/raw`, read and measured for a plan."""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from segpipe.common import tfrecord
from segpipe.common.bands import numbers
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash, read_json
from segpipe.common.index import read_index
from segpipe.common.records import SUMMARY
from segpipe.common.splits import Split
from segpipe.plan.objects import Thickness
from segpipe.plan.shape import Size
from segpipe.preprocess.intensity import Levels
from segpipe.preprocess.splitting import SplitRule

_PICTURES, _SHARDS = 200, 8  # the most pictures to read, and shards to read them from
_BYTES = 1 << 28  # the most bytes of encoded pictures to keep; each shard has an equal part


@dataclass(frozen=True)
class SampledPictures:
    """Some training pictures, their statistics, and how many there are in all."""

    samples: list[tfrecord.Features]  # encoded pictures and masks, by hash of the name
    sizes: list[Size]
    thickness: dict[str, float]  # pixels, by class, the thinnest first
    pixels: dict[int, int]  # by index of the class
    pictures: dict[Split, int]  # by split of the records
    levels: Levels
    deep: bool  # whether pictures have more than 8 bits

    @property
    def commonest(self) -> int:
        """The class with the most pixels."""
        return max(self.pixels, key=self.pixels.__getitem__)

    @property
    def largest(self) -> int:
        """The pixels of the largest picture."""
        return max(height * width for height, width in self.sizes)


def sample_pictures(raw: Path, rule: SplitRule, names: Sequence[str]) -> SampledPictures:
    """Read about 200 training pictures, chosen by hash, and measure their objects.

    `names` are the classes by index. Raises UserError where fetch has written none, or wrote them for
    other classes; where training or validation is empty; or where no pixel that is read counts.
    """
    if not (raw / SUMMARY).is_file():
        raise UserError(f"{raw}: no pictures yet; `dvc repro fetch` writes them, then plan again")
    summary = read_json(raw / SUMMARY, "fetch")
    assignment = rule.assign(read_index(raw))
    counts = Counter(assignment.splits.values())
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        if not counts[split]:
            raise UserError(rule.why_empty(split, assignment))
    training = {name for name, split in assignment.splits.items() if split == "train"}
    shards = [raw / shard["file"] for shard in summary["splits"]["train"]["shards"]]
    samples = sorted(_chosen(shards, training), key=_hash)
    thickness = Thickness()
    sizes = list[Size]()
    for sample in track(samples, "Measuring objects"):
        mask = decode_png(sample["mask"])
        sizes.append((mask.shape[0], mask.shape[1]))
        thickness.add(mask)
    if (highest := max(thickness.pixels, default=0)) >= len(names):
        raise UserError(
            f"{raw} holds class number {highest}, but data.classes has {len(names)}: the params have "
            "changed since; `dvc repro fetch` writes it anew"
        )
    if not thickness.pixels:
        raise UserError(
            f"no pixel of the {len(samples)} training pictures that were looked at counts: their masks "
            "hold ignored values alone; label some of them, or change data.ignore"
        )
    depths = tuple(summary["splits"]["train"]["depths"])
    return SampledPictures(
        samples, sizes, {names[n]: t for n, t in thickness.by_class().items()}, thickness.pixels,
        dict(counts), Levels(len(numbers(summary["bands"])), None, depths), {*depths} != {"uint8"},
    )  # fmt: skip


def _chosen(shards: Sequence[Path], training: set[str]) -> Iterator[tfrecord.Features]:
    """Yield the training samples of lowest hash in a few shards, which are spread evenly over all."""
    step = -(-len(shards) // _SHARDS)
    read = shards[::step]
    share = _PICTURES * len(shards) / max(len(read) * len(training), 1)  # of their training samples
    for path in track(read, "Reading data/raw"):
        samples = (s for s in tfrecord.read_shard(path) if s["name"].decode() in training)
        yield from _lowest((s for s in samples if _hash(s) < share), _BYTES // len(read))


def _lowest(samples: Iterable[tfrecord.Features], most: int) -> list[tfrecord.Features]:
    """Return the samples of lowest hash that take at most `most` bytes together, but at least one."""
    lowest, kept = list[tfrecord.Features](), 0  # bytes
    for sample in samples:
        bisect.insort(lowest, sample, key=_hash)
        kept += _encoded_bytes(sample)
        while kept > most and len(lowest) > 1:
            kept -= _encoded_bytes(lowest.pop())
    return lowest


def _hash(sample: tfrecord.Features) -> float:
    return name_hash(sample["name"].decode(), "plan")


def _encoded_bytes(sample: tfrecord.Features) -> int:
    return len(sample["image"]) + len(sample["mask"])
