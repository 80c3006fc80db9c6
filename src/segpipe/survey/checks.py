"""The checks of `fetch` and `preprocess` across samples, on those that a survey has read."""

from collections import Counter
from collections.abc import Iterable, Sequence

from segpipe.common.bands import Bands
from segpipe.common.classes import ClassTable
from segpipe.common.duplicates import Near
from segpipe.fetch.ledger import Checked, Ledger
from segpipe.fetch.sample import Problem, Sample
from segpipe.preprocess.splitting import SplitRule
from segpipe.survey.stats import SampleStats


def across(
    samples: Iterable[Sample],
    stats: Sequence[SampleStats],
    bad: set[str],
    validation_share: float,
    bands: Bands,
) -> tuple[list[Problem], list[Near], dict[str, int]]:
    """Return what `fetch` would refuse, near duplicates, and the number of samples of each split.

    `bad` names the samples that could not be read. `validation_share` of the training split is held out,
    unless the folder names a validation split.
    """
    stats_of = {row.sample.name: row for row in stats}
    ledger = Ledger(
        ClassTable(()), True, "warn", None if bands == "rgb" else (len(bands), "most of them")
    )
    good = (_checked(s, stats_of.get(s.name), len(bands)) for s in samples if s.name not in bad)
    for _ in ledger.good(good):
        pass
    assignment = SplitRule(validation_share).assign(ledger.index)
    sizes = Counter(assignment.splits.values())
    counts = {split: sizes[split] for split in ("train", "val", "test")}
    return ledger.problems, [*ledger.near, *assignment.near], counts


def _checked(sample: Sample, stats: SampleStats | None, bands: int) -> Checked:
    """Return a sample as `fetch` would check it; without statistics, its name alone counts."""
    if stats is None:
        return Checked(sample, b"", b"", sample.image, "", 0, bands, "")
    return Checked(sample, b"", b"", stats.digest, stats.hash, 0, stats.bands, "")
