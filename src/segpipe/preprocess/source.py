"""The samples of `data/raw`, by the split of the records that they are in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track

from segpipe.common import tfrecord
from segpipe.common.bands import Intensity, numbers
from segpipe.common.classes import IGNORE
from segpipe.common.codec import decode_png, decode_tiff, is_tiff
from segpipe.common.files import read_json
from segpipe.common.index import read_index
from segpipe.common.records import SUMMARY
from segpipe.common.splits import SPLITS, Split
from segpipe.preprocess.intensity import Levels, Ranges
from segpipe.preprocess.params import Range
from segpipe.preprocess.percentiles import Deep, found_ranges
from segpipe.preprocess.splitting import Assignment, SplitRule

_AT_ONCE = 1 << 25  # pixels of a mask that are counted at once: each takes 8 bytes


@dataclass(frozen=True)
class Source:
    """A folder that fetch wrote, and the split of the records that each of its samples is in."""

    folder: Path
    summary: dict[str, Any]
    assignment: Assignment

    def samples(
        self, splits: Iterable[Split] = SPLITS, doing: str = "Writing"
    ) -> Iterator[tuple[Split, dict]]:
        """Yield the raw samples of each split of the records, with the split."""
        for split in splits:
            is_taken = split == "val" and not self.assignment.given
            source = self.summary["splits"]["train" if is_taken else split]
            shards = [self.folder / shard["file"] for shard in source["shards"]]
            stream = (sample for shard in shards for sample in tfrecord.read_shard(shard))
            for sample in track(stream, f"{doing} {split}", total=source["samples"]):
                if self.assignment.splits.get(sample["name"].decode()) == split:
                    yield split, sample

    def levels(self, intensity: Literal["auto"] | Range | Ranges) -> Levels:
        """Return how pictures become 8 bits; `auto` reads the training pictures of more than 8 bits."""
        bands = len(numbers(self.summary["bands"]))
        depths = tuple(self.summary["splits"]["train"]["depths"])
        deep = [depth for depth in depths if depth != "uint8"]
        ranges: Intensity = None
        if intensity != "auto":
            ranges = intensity if isinstance(intensity[0], tuple) else (intensity,) * bands
        elif deep:
            ranges = found_ranges(self._deep_pictures, bands, deep)
        return Levels(bands, ranges, depths)

    def _deep_pictures(self) -> Iterator[Deep]:
        """Yield the training pictures of more than 8 bits."""
        for _, sample in self.samples(("train",), "Measuring"):
            if is_tiff(sample["image"]):
                pixels, invalid = decode_tiff(sample["image"])
                if pixels.dtype != np.uint8:
                    yield pixels, invalid

    def commonest_class(self) -> int:
        """Return the class with the most pixels in the training pictures."""
        pixels = np.zeros(256, np.int64)
        for _, sample in self.samples(("train",), "Counting"):
            mask = decode_png(sample["mask"])
            for rows in np.array_split(mask, -(-mask.size // _AT_ONCE)):
                pixels += np.bincount(rows.ravel(), minlength=256)
        return int(pixels[:IGNORE].argmax())


def open_source(folder: Path, rule: SplitRule) -> Source:
    """Check the shards of a folder that fetch wrote, and assign its samples to splits.

    Raises a UserError where a shard is broken, or as `SplitRule.assign`.
    """
    summary = read_json(folder / SUMMARY, "fetch")
    tfrecord.check_shards(folder, {name: split["shards"] for name, split in summary["splits"].items()})
    return Source(folder, summary, rule.assign(read_index(folder)))
