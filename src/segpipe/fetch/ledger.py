"""The memory of the checks across samples: those kept, those left out, problems and notes."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from segpipe.common.classes import ClassTable
from segpipe.common.duplicates import Lookalikes, Near, OnNear, report
from segpipe.common.errors import UserError
from segpipe.common.index import Entry
from segpipe.common.words import listed
from segpipe.fetch.naming import proposed_rows
from segpipe.fetch.sample import Note, Problem, Sample, Samples
from segpipe.fetch.tally import Tally

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
    hash: str  # perceptual: close for pictures that look alike
    area: int  # pixels of the mask
    bands: int  # of the picture's file
    depth: str  # the type of its pixels
    classes: dict[str, int] = field(default_factory=dict)  # pixels of the mask


class _First(NamedTuple):
    """The first sample with a picture; no content, however small."""

    file: str
    split: str
    name: str
    group: str


@dataclass
class Ledger:
    """The memory of the checks across samples, which come split by split: test, val, train."""

    table: ClassTable
    skip_bad: bool  # leave bad samples out, instead of stopping
    on_near: OnNear  # near duplicates of an earlier split
    bands: tuple[int, str] | None = None  # of the first picture, with its file, where all must have them
    index: list[Entry] = field(default_factory=list)  # of the samples that are kept
    problems: list[Problem] = field(default_factory=list)
    near: list[Near] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)  # of the masks that are kept
    _splits: set[str] = field(default_factory=lambda: {"test", "train"})  # that must not be empty
    _notes: list[str] = field(default_factory=list)
    _area: int = 0  # pixels of all masks that were read
    _names: set[str] = field(default_factory=set)
    _pictures: dict[str, "_First"] = field(default_factory=dict)  # by `Checked.pixels`
    _lookalikes: Lookalikes = field(default_factory=Lookalikes)

    def noting(self, found: Samples) -> Samples:
        """Yield the items of a source, and remember its splits: none may lack a good sample."""
        for item in found:
            if isinstance(item, Sample):
                self._splits.add(str(item.split))
            yield item

    def good(self, results: Iterable[Checked | Problem | Note]) -> Iterator[Checked]:
        """Yield the samples to keep, and remember the others, problems and notes."""
        for result in results:
            if isinstance(result, Note):
                self._notes.append(result.text)
                continue
            self._area += result.area
            problem = result if isinstance(result, Problem) else self._clash(result)
            if problem:
                self.problems.append(problem)
            elif isinstance(result, Checked) and not self._leaves_out(result):
                sample = result.sample
                group = sample.group or self._group_of_twin(result)
                self.index.append(Entry(sample.name, str(sample.split), group, result.hash))
                self.tally.add(sample.name, sha256(result.mask).hexdigest(), result.classes)
                yield result

    def _clash(self, checked: Checked) -> Problem | None:
        sample = checked.sample
        if sample.name in self._names:
            return Problem(sample.image, f"a duplicate name, {sample.name}", "every name once")
        self._names.add(sample.name)
        if self.bands and not self.bands[0]:
            self.bands = checked.bands, sample.image
        if self.bands and checked.bands != self.bands[0]:
            expected = f"{self.bands[0]}, the number in {self.bands[1]} (data.bands)"
            return Problem(sample.image, f"a picture with {checked.bands} bands", expected)
        own = _First(sample.image, str(sample.split), sample.name, sample.group)
        first = self._pictures.setdefault(checked.pixels, own)
        if first.split == sample.split:
            return None
        found = f"the same picture as {first.file} of the {first.split} split"
        return Problem(sample.image, found, f"no picture in both {sample.split} and {first.split}")

    def _group_of_twin(self, checked: Checked) -> str:
        """Return the group that keeps a picture with an identical earlier one; nothing for the first."""
        first = self._pictures[checked.pixels]
        return "" if first.name == checked.sample.name else first.group or first.name

    def _leaves_out(self, checked: Checked) -> bool:
        """Return whether a good sample is left out as a near duplicate; remember every one."""
        sample = checked.sample
        if not (near := self._lookalikes.twin(sample.image, str(sample.split), checked.hash)):
            return False
        self.near.append(near)
        return self.on_near == "skip"

    def judge(self, kept: Collection[str]) -> None:
        """Raise UserError where the samples cannot be used; `kept` names the splits that hold some."""
        if self.problems and not self.skip_bad:
            raise UserError(self._list())
        if self.near and self.on_near == "error":
            raise UserError(report(self.near))
        for split in sorted(self._splits.difference(kept)):
            if not self.problems:
                raise UserError(f"the {split} split holds no sample")
            raise UserError(f"no good sample is left in the {split} split. {self._list()}")

    def to_json(self) -> dict[str, list[Any]]:
        """Return the results of the checks for `summary.json`."""
        left_out = [{"file": problem.file, "problem": str(problem)} for problem in self.problems]
        if self.on_near == "skip":
            left_out += [near.left_out() for near in self.near]
        return {"left_out": left_out, "near_duplicates": [*map(str, self.near)], "notes": self._notes}

    def _list(self) -> str:
        mend = "mend them, or set data.on_bad to skip to leave them out"
        head = f"{len(self.problems)} bad samples; {mend}:"
        return listed(head, self.problems, _SHOWN) + self._unknown()

    def _unknown(self) -> str:
        """List the values or labels that the table lacks, each with the line that makes it a class."""
        pixels: Counter[str | int] = Counter()
        masks: Counter[str | int] = Counter()
        for problem in self.problems:
            pixels.update(problem.unknown)
            masks.update(problem.unknown.keys())
        if not pixels:
            return ""
        most = pixels.most_common(_SHOWN)
        rows = proposed_rows((value for value, _ in most), self.table)
        lines = [
            f"  {value}: {100 * count / max(self._area, 1):.3g} % of all pixels, in {masks[value]} "
            f"masks; to make it a class, add to data.classes: - {row}"
            for (value, count), row in zip(most, rows, strict=False)
        ]
        head = (
            f"{len(pixels)} values or labels that the class table lacks (or list values in data.ignore):"
        )
        return "\n".join(["", head, *lines, *([_PHOTOGRAPH] if len(pixels) > _SHOWN else [])])
