"""Surveying a folder of images and masks, and the `data` section of `params.yaml` that fits it."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.classes import ClassTable
from segpipe.common.duplicates import Near
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, name_hash
from segpipe.common.parallel import in_order, ordered_map, usable_cores
from segpipe.fetch import layouts
from segpipe.fetch.groups import Group
from segpipe.fetch.sample import Note, Problem, Sample
from segpipe.survey import checks, keeping, seen
from segpipe.survey.groups import Grouping, in_folders, propose_group
from segpipe.survey.labels import label_table
from segpipe.survey.names import Names, find_names
from segpipe.survey.proposal import Proposal, propose, propose_drawn
from segpipe.survey.stats import SampleStats, sample_stats

MOST_DECODED = 1000  # a survey looks at no more samples, chosen by hash of the name
_FEW = 64  # samples that are drawn before another process has started


@dataclass(frozen=True)
class Survey:
    """The samples of a folder, and the params that fit them."""

    layouts: dict[str, str]  # the layouts that the folder may have, the chosen one first, with evidence
    samples: list[Sample]
    stats: list[SampleStats]
    problems: list[Problem]  # that fetch refuses
    notes: list[str]  # on the folder as a whole
    near: list[Near]  # pictures of different splits that are alike
    splits: dict[str, int]  # how many samples train, val and test get
    names: Names
    proposal: Proposal
    bands: Bands
    grouping: Grouping | None
    test_share: float
    validation_share: float

    @property
    def layout(self) -> str:
        """The chosen layout."""
        return next(iter(self.layouts))

    def data(self, path: str) -> dict:
        """Return the proposed keys of the section `data`, which calls the folder `path`."""
        group = {"group": self.grouping.pattern} if self.grouping else {}
        return {
            "source": "folder",
            "folder": {"path": path, "layout": self.layout, **group, "test_share": self.test_share},
            "bands": self.bands if self.bands == "rgb" else [*self.bands],
            **self.proposal.table.to_json(),
            "validation_share": self.validation_share,
        }


def survey(
    root: Path,
    test_share: float,
    validation_share: float,
    processes: int | None = None,
    layout: str | None = None,
    likely: str | None = None,
    group: Group = "none",
    before: ClassTable | None = None,
) -> Survey:
    """Find the layout, samples and classes of a folder, decoding with `processes` (None: one a core).

    `test_share` of the names are held out where the layout names no test split, and `validation_share`
    of the training names. Both are 0..1. A share that would hold out no name, or all, is adjusted.
    `layout` is the one to take, `likely` the one where several fit. `group` and the classes of `before`
    are kept, since a person has given them for this folder.
    Raises UserError where there is no such folder, no layout fits it, or no class table fits its masks.
    """
    candidates = seen.layouts_in(root, layout, likely)
    layout = next(iter(candidates))
    module, names = layouts.open_layout(layout), find_names(root)
    if own := getattr(module, "names", None):
        names = dataclasses.replace(names, by_value=own(root) or names.by_value)
    labels = getattr(module, "labels", None)  # shapes have them, masks do not
    table = label_table(_labels(root, layout), names) if labels else ClassTable(())
    if labels and before:
        table = keeping.keep_labels(table, before)
    folder = _Folder(root, layouts.read(layout, root, table))
    samples, problems, _ = folder.parted(test_share, group)
    looked = _chosen(samples)
    stats, bad = _look(looked, bool(labels), processes)
    if not stats:
        reason = next(iter([*bad.values(), *problems]), "there is none")
        raise UserError(f"{root}: no sample can be read, as {reason}")
    grouping = folder.grouping(test_share, stats) if group == "none" else None
    group = grouping.pattern if grouping else group
    test_share = folder.test_share(test_share, group)
    samples, problems, notes = folder.parted(test_share, group)
    training = (_hash(sample, "val") for sample in samples if sample.split == "train")
    validation_share = holding_out(training, validation_share)
    proposal = _proposal(stats, names, len(looked) == len(samples), table if labels else None, before)
    bad |= _in_colours(stats, proposal.table)
    bands = _bands(stats)
    refused, near, splits = checks.across(samples, stats, {*bad}, validation_share, bands)
    problems += [*bad.values(), *refused]
    notes += [*folder.notes, *names.notes, *proposal.notes]
    return Survey(candidates, samples, stats, problems, notes, near, splits, names, proposal, bands,
                  grouping, test_share, validation_share)  # fmt: skip


def _labels(root: Path, layout: str) -> dict[str, int]:
    """Return a layout's labels. Raises UserError with the first problem where it keeps all back."""
    labels = layouts.open_layout(layout).labels(root)
    if not labels:
        found = layouts.read(layout, root, ClassTable(()))
        problems = [one for one in found if isinstance(one, Problem)]
        if problems and len(problems) == sum(not isinstance(one, Note) for one in found):
            raise UserError(f"{root}: no picture goes with its labels, such as {problems[0]}")
    return labels


@dataclass
class _Folder:
    """What a layout finds in a folder."""

    root: Path
    found: Sequence[Sample | Problem | Note]
    notes: list[str] = field(default_factory=list)  # on its groups

    def parted(self, test_share: float, group: Group) -> tuple[list[Sample], list[Problem], list[str]]:
        """Return samples with their splits, problems and notes."""
        listed = [*layouts.parted(self.found, self.root, test_share, group)]
        notes = [one.text for one in listed if isinstance(one, Note)]
        problems = [one for one in listed if isinstance(one, Problem)]
        return [one for one in listed if isinstance(one, Sample)], problems, notes

    def test_share(self, share: float, group: Group) -> float:
        """Return the share, or one that holds out some groups where the folder says no split."""
        if any(one.split for one in self.found if isinstance(one, Sample)):
            return share
        return holding_out((_hash(one, "test") for one in self.parted(share, group)[0]), share)

    def grouping(self, test_share: float, stats: Iterable[SampleStats]) -> Grouping | None:
        """Propose groups, unless the layout has some, or its own splits part them."""
        samples = [one for one in self.found if isinstance(one, Sample)]
        if any(one.group for one in samples):
            return None
        grouping = propose_group({one.sample.name: one.hash for one in stats})
        if not grouping:
            by_hash = [one.name for one in samples if not one.split]
            self.notes += filter(None, [in_folders(by_hash)])
            return None
        before, after = (len(self.parted(test_share, g)[1]) for g in ("none", grouping.pattern))
        if after > before:
            self.notes.append(
                f"{grouping.reason}: {after - before} pictures are in another split of this folder than "
                f"others of their group ({grouping.pattern}), so that scores will flatter"
            )
            return None
        return grouping


def _look(
    looked: Sequence[Sample], drawn: bool, workers: int | None
) -> tuple[list[SampleStats], dict[str, Problem]]:
    """Return the statistics of samples, and the problems of the others by name.

    Pillow releases the GIL, so that threads suffice; masks that are `drawn` need processes.
    """
    with ThreadPoolExecutor(workers or usable_cores()) as threads:
        if drawn and len(looked) > _FEW:
            results = ordered_map(sample_stats, looked, workers)
        else:
            results = in_order(lambda one: threads.submit(sample_stats, one), looked, 64)
        found = [*zip(looked, track(results, "Looking at samples", len(looked)), strict=True)]
    stats = [one for _, one in found if isinstance(one, SampleStats)]
    bad = {sample.name: one for sample, one in found if isinstance(one, Problem)}
    return stats, bad


def _in_colours(stats: Sequence[SampleStats], table: ClassTable) -> dict[str, Problem]:
    """Return the masks that a table of numbers cannot read, by the name of their samples."""
    bad = [] if table.has_colours else [one.sample for one in stats if one.mask.numbers is None]
    expected = "one channel of class values, as most masks have"
    return {one.name: Problem(one.mask, "a colour picture", expected) for one in bad}


def _chosen(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples to look at; of too many, pairs of neighbours, which tell whether to group."""
    if len(samples) <= MOST_DECODED:
        return samples
    ordered = sorted(samples, key=lambda sample: sample.name)
    pairs = [ordered[n : n + 2] for n in range(0, len(ordered), 2)]
    chosen = first_by_hash(pairs, MOST_DECODED // 2, "survey", lambda pair: pair[0].name)
    return [sample for pair in chosen for sample in pair]


def _bands(stats: Sequence[SampleStats]) -> Bands:
    """Propose all bands that most pictures have, unless people see all pictures as grey or RGB."""
    if all(one.as_rgb for one in stats):
        return "rgb"
    ((most, _),) = Counter(one.bands for one in stats).most_common(1)
    return (*range(1, most + 1),)


def _proposal(
    stats: Sequence[SampleStats],
    names: Names,
    all_seen: bool,
    drawn: ClassTable | None,
    before: ClassTable | None,
) -> Proposal:
    """Propose classes: those that masks were `drawn` with, or those that the masks hold."""
    masks = [one.mask for one in stats]
    if drawn:
        return propose_drawn(masks, drawn)
    proposal = propose(masks, names, all_seen, [one.sample.mask for one in stats])
    table = keeping.keep_values(proposal.table, before, all_seen) if before else proposal.table
    return dataclasses.replace(proposal, table=table)


def holding_out(hashes: Iterable[float], share: float) -> float:
    """Return the share, or one close to it that holds out some of the hashes and not all."""
    ordered = sorted({*hashes})
    held = sum(value < share for value in ordered)
    if len(ordered) < 2 or 0 < held < len(ordered):
        return share
    wanted = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    low, high = ordered[wanted - 1], ordered[wanted]
    middles = (round((low + high) / 2, digits) for digits in range(2, 16))
    return next(middle for middle in middles if low < middle <= high)


def _hash(sample: Sample, purpose: str) -> float:
    return name_hash(sample.group or sample.name, purpose)
