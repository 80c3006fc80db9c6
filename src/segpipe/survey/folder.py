"""The survey of a folder: its layout, samples, classes and groups, from as few pictures as suffice."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.duplicates import Near
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, name_hash
from segpipe.common.parallel import in_order, ordered_map, usable_cores
from segpipe.fetch import layouts
from segpipe.fetch.groups import Group
from segpipe.fetch.layouts.polygons import UNCOVERED
from segpipe.fetch.naming import GREY
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample, unreadable
from segpipe.survey import checks, keeping
from segpipe.survey.candidates import layouts_in
from segpipe.survey.groups import Grouping, in_folders, propose_group
from segpipe.survey.labels import label_table
from segpipe.survey.names import Names, find_names
from segpipe.survey.proposal import Proposal, propose, propose_drawn
from segpipe.survey.stats import SampleStats, sample_stats

MOST_DECODED = 1000  # a survey looks at no more samples, chosen by hash of the name
_FEW = 64  # samples that are drawn before another process has started
_GROUND = ClassTable((SegmentationClass("background", UNCOVERED, GREY),))  # of pictures without a label


@dataclass(frozen=True)
class Request:
    """People's wishes for a survey, and their earlier choices for the folder. Shares are 0..1.

    A share that would hold out no name, or all of them, is adjusted.
    """

    test_share: float  # of the names, where the layout names no test split
    validation_share: float  # of the training names
    layout: str | None = None  # the one to take
    likely: str | None = None  # the one to take where several fit
    group: Group = "none"
    before: ClassTable | None = None  # an earlier class table, whose rows are kept


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


def survey(root: Path, request: Request, processes: int | None = None) -> Survey:
    """Find the layout, samples and classes of a folder, decoding with `processes` (None: one a core).

    Raises UserError where there is no such folder, no layout fits it, or no class table fits its masks.
    """
    candidates = layouts_in(root, request.layout, request.likely)
    layout = next(iter(candidates))
    names = find_names(root)
    if own := getattr(layouts.open_layout(layout), "names", None):
        names = dataclasses.replace(names, by_value=own(root) or names.by_value)
    drawn = _table_of_labels(root, layout, names, request.before)
    folder = _Folder(root, layouts.read(layout, root, drawn or ClassTable(())))
    samples, problems, _ = folder.parted(request.test_share, request.group)
    chosen = _chosen(samples)
    stats, bad = _look(chosen, drawn is not None, processes)
    if not stats:
        reason = next(iter([*bad.values(), *problems]), "there is none")
        raise UserError(f"{root}: no sample can be read, as {reason}")
    grouping, group, test_share = _settled(folder, request, stats)
    samples, problems, notes = folder.parted(test_share, group)
    training = (_hash(sample, "val") for sample in samples if sample.split == "train")
    validation_share = holding_out(training, request.validation_share)
    proposal = _proposal(stats, names, len(chosen) == len(samples), drawn, request.before)
    bad |= _in_colours(stats, proposal.table)
    bands = _bands(stats)
    refused, near, splits = checks.across(samples, stats, {*bad}, validation_share, bands)
    problems += [*bad.values(), *refused]
    notes += [*folder.notes, *names.notes, *proposal.notes]
    return Survey(candidates, samples, stats, problems, notes, near, splits, names, proposal, bands,
                  grouping, test_share, validation_share)  # fmt: skip


def _settled(
    folder: "_Folder", request: Request, stats: Sequence[SampleStats]
) -> tuple[Grouping | None, Group, float]:
    """Return the proposed groups, `data.folder.group` and the share of the test split."""
    grouping = folder.grouping(request.test_share, stats) if request.group == "none" else None
    group = grouping.pattern if grouping else request.group
    return grouping, group, folder.test_share(request.test_share, group)


def _table_of_labels(
    root: Path, layout: str, names: Names, before: ClassTable | None
) -> ClassTable | None:
    """Return the class table with which shapes are drawn; None for a layout of masks."""
    if not hasattr(layouts.open_layout(layout), "labels"):
        return None
    table = label_table(_labels(root, layout), names)
    return keeping.keep_labels(table, before) if before else table


def _labels(root: Path, layout: str) -> dict[str, int]:
    """Return a layout's labels. Raises UserError with the first problem if none can be read."""
    labels = layouts.open_layout(layout).labels(root)
    if not labels:
        entries = layouts.read(layout, root, _GROUND)
        problems = [entry for entry in entries if isinstance(entry, Problem)]
        samples = [entry for entry in entries if isinstance(entry, Sample)]
        if problems and not samples:
            raise UserError(f"{root}: no picture goes with its labels, such as {problems[0]}")
        for sample in samples[:_FEW]:
            try:
                sample.content.read()
            except BadSampleError as error:
                if not error.problem.unknown:  # a label of spaces is not damaged
                    raise UserError(f"{root}: no label can be read, as {error}") from None
            except OSError as error:
                raise unreadable(sample.image, error) from None
    return labels


@dataclass
class _Folder:
    """The entries that a layout finds in a folder."""

    root: Path
    entries: Sequence[Sample | Problem | Note]
    notes: list[str] = field(default_factory=list)  # on its groups

    def parted(self, test_share: float, group: Group) -> tuple[list[Sample], list[Problem], list[str]]:
        """Return samples with their splits, problems and notes."""
        entries = [*layouts.parted(self.entries, self.root, test_share, group)]
        notes = [entry.text for entry in entries if isinstance(entry, Note)]
        problems = [entry for entry in entries if isinstance(entry, Problem)]
        return [entry for entry in entries if isinstance(entry, Sample)], problems, notes

    def test_share(self, share: float, group: Group) -> float:
        """Return the share, adjusted to hold out some groups where the folder names no split."""
        if any(entry.split for entry in self.entries if isinstance(entry, Sample)):
            return share
        samples, *_ = self.parted(share, group)
        return holding_out((_hash(sample, "test") for sample in samples), share)

    def grouping(self, test_share: float, stats: Iterable[SampleStats]) -> Grouping | None:
        """Propose groups, unless the layout has some, or its own splits would cut them apart."""
        samples = [entry for entry in self.entries if isinstance(entry, Sample)]
        if any(sample.group for sample in samples):
            return None
        grouping = propose_group({row.sample.name: row.hash for row in stats})
        if not grouping:
            split_by_hash = [sample.name for sample in samples if not sample.split]
            self.notes += filter(None, [in_folders(split_by_hash)])
            return None
        # A picture in another split than the rest of its group is a problem.
        before, after = (len(self.parted(test_share, g)[1]) for g in ("none", grouping.pattern))
        if after > before:
            self.notes.append(
                f"{grouping.reason}: {after - before} pictures are in another split of this folder than "
                f"others of their group ({grouping.pattern}), so that scores will flatter"
            )
            return None
        return grouping


def _look(
    samples: Sequence[Sample], drawn: bool, workers: int | None
) -> tuple[list[SampleStats], dict[str, Problem]]:
    """Return the statistics of samples, and the problems of the others by name.

    Pillow releases the GIL, so that threads suffice; masks that are `drawn` need processes.
    """
    with ThreadPoolExecutor(workers or usable_cores()) as threads:
        if drawn and len(samples) > _FEW:
            results = ordered_map(sample_stats, samples, workers)
        else:
            results = in_order(lambda sample: threads.submit(sample_stats, sample), samples, 64)
        seen = [*track(results, "Looking at samples", len(samples))]
    stats = [result for result in seen if isinstance(result, SampleStats)]
    pairs = zip(samples, seen, strict=True)
    return stats, {sample.name: result for sample, result in pairs if isinstance(result, Problem)}


def _in_colours(stats: Sequence[SampleStats], table: ClassTable) -> dict[str, Problem]:
    """Return the masks that a table of numbers cannot read, by the name of their samples."""
    bad = [] if table.has_colours else [row.sample for row in stats if row.mask.numbers is None]
    expected = "one channel of class values, as most masks have"
    return {sample.name: Problem(sample.mask, "a colour picture", expected) for sample in bad}


def _chosen(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples to read: all, or pairs of neighbours, which show whether names have groups."""
    if len(samples) <= MOST_DECODED:
        return samples
    ordered = sorted(samples, key=lambda sample: sample.name)
    pairs = [ordered[n : n + 2] for n in range(0, len(ordered), 2)]
    chosen = first_by_hash(pairs, MOST_DECODED // 2, "survey", lambda pair: pair[0].name)
    return [sample for pair in chosen for sample in pair]


def _bands(stats: Sequence[SampleStats]) -> Bands:
    """Propose all bands that most pictures have, unless people see all pictures as grey or RGB."""
    if all(row.as_rgb for row in stats):
        return "rgb"
    ((most, _),) = Counter(row.bands for row in stats).most_common(1)
    return (*range(1, most + 1),)


def _proposal(
    stats: Sequence[SampleStats],
    names: Names,
    all_seen: bool,
    drawn: ClassTable | None,
    before: ClassTable | None,
) -> Proposal:
    """Propose classes: those that masks were `drawn` with, or those that the masks hold."""
    masks = [row.mask for row in stats]
    if drawn:
        return propose_drawn(masks, drawn)
    proposal = propose(masks, names, all_seen, [row.sample.mask for row in stats])
    table = keeping.keep_values(proposal.table, before, all_seen) if before else proposal.table
    return dataclasses.replace(proposal, table=table)


def holding_out(hashes: Iterable[float], share: float) -> float:
    """Return the share, or one close to it that holds out some of the hashes but not all."""
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
