"""Surveying a folder of images and masks, and the `data` section of `params.yaml` that fits it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, name_hash
from segpipe.common.parallel import ordered_map
from segpipe.fetch import layouts
from segpipe.fetch.layouts import unmatched
from segpipe.fetch.sample import Note, Problem, Sample, Samples
from segpipe.survey.names import Names, find_names
from segpipe.survey.proposal import Proposal, label_table, propose, propose_drawn
from segpipe.survey.stats import SampleStats, sample_stats

Good = TypeVar("Good", Sample, SampleStats)

MOST_DECODED = 500  # a survey decodes no more samples, chosen by hash of the name


@dataclass(frozen=True)
class Survey:
    """The samples of a folder, and the params that fit them."""

    layouts: dict[str, str]  # the layouts that the folder may have, the likeliest first, with evidence
    samples: list[Sample]
    stats: list[SampleStats]
    problems: list[Problem]
    notes: list[str]  # of the layout, on the folder as a whole
    names: Names
    proposal: Proposal
    test_share: float
    validation_share: float

    @property
    def layout(self) -> str:
        """The likeliest layout."""
        return next(iter(self.layouts))

    def splits(self) -> dict[str, int]:
        """Return how many samples the proposal gives to train, val and test."""
        counts = {"train": 0, "val": 0, "test": 0}
        for sample in self.samples:
            held_out = _hash(sample, "val") < self.validation_share
            counts["test" if sample.split == "test" else "val" if held_out else "train"] += 1
        return counts

    def data(self, path: str) -> dict:
        """Return the proposed keys of the section `data`, which calls the folder `path`."""
        return {
            "source": "folder",
            "folder": {"path": path, "layout": self.layout, "test_share": self.test_share},
            **self.proposal.table.to_json(),
            "validation_share": self.validation_share,
        }


def survey(
    root: Path, test_share: float, validation_share: float, processes: int | None = None
) -> Survey:
    """Find the layout, samples and classes of a folder, decoding with `processes` (None: one a core).

    `test_share` of the names are held out where the layout names no test split, and `validation_share`
    of the training names. Both are 0..1. A share that would hold out no name, or all, is adjusted.
    Raises UserError where there is no such folder, no layout fits it, or no class table fits its masks.
    """
    candidates = _layouts(root)
    layout = next(iter(candidates))
    names = find_names(root)
    labels = getattr(layouts.open_layout(layout), "labels", None)  # shapes have them, masks do not
    table = label_table(labels(root), names) if labels else ClassTable(())
    samples, problems, notes = _read(layouts.samples(layout, root, test_share, table))
    if all(s.split == layouts.split_by_hash(s, test_share) for s in samples):
        test_share = holding_out((_hash(s, "test") for s in samples), test_share)
        samples, problems, notes = _read(layouts.samples(layout, root, test_share, table))
    training = (_hash(sample, "val") for sample in samples if sample.split == "train")
    validation_share = holding_out(training, validation_share)
    chosen = first_by_hash(samples, MOST_DECODED, "survey", lambda sample: sample.name)
    decoded = ordered_map(sample_stats, chosen, processes)
    stats, bad = _parted(track(decoded, "Looking at samples", total=len(chosen)))
    problems += bad
    if not stats:
        reason = problems[0] if problems else "there is none"
        raise UserError(f"{root}: no sample can be read, as {reason}")
    all_seen = len(samples) <= MOST_DECODED
    proposal = propose_drawn(stats, table) if labels else propose(stats, names, all_seen)
    return Survey(
        candidates, samples, stats, problems, notes, names, proposal, test_share, validation_share
    )


def _read(found: Samples) -> tuple[list[Sample], list[Problem], list[str]]:
    listed = list(found)
    samples, problems = _parted(one for one in listed if not isinstance(one, Note))
    return samples, problems, [one.text for one in listed if isinstance(one, Note)]


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


def _layouts(root: Path) -> dict[str, str]:
    if fault := layouts.not_a_folder(root):
        raise UserError(f"{fault}; give the folder that holds your data")
    if found := layouts.layouts_of(root):
        return found
    raise UserError(unmatched.reason(root))


def _parted(results: Iterable[Good | Problem]) -> tuple[list[Good], list[Problem]]:
    """Part good results from problems."""
    parted = list(results)
    problems = [result for result in parted if isinstance(result, Problem)]
    return [result for result in parted if not isinstance(result, Problem)], problems


def _hash(sample: Sample, purpose: str) -> float:
    return name_hash(sample.group or sample.name, purpose)
