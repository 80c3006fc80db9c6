"""The checks of `fetch` and `preprocess` across samples, on those that a survey has looked at."""

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
    """Return what `fetch` would refuse, pictures that are alike, and how many samples a split has.

    `bad` names the samples that could not be read. `validation_share` of the training split is held out,
    unless the folder names a validation split.
    """
    looked = {one.sample.name: one for one in stats}
    ledger = Ledger(
        ClassTable(()), True, "warn", None if bands == "rgb" else (len(bands), "most of them")
    )
    good = (_checked(s, looked.get(s.name), len(bands)) for s in samples if s.name not in bad)
    for _ in ledger.good(good):
        pass
    assignment = SplitRule(validation_share).assign(ledger.index)
    sizes = Counter(assignment.splits.values())
    counts = {split: sizes[split] for split in ("train", "val", "test")}
    return ledger.problems, [*ledger.near, *assignment.near], counts


def _checked(sample: Sample, one: SampleStats | None, bands: int) -> Checked:
    """Return a sample as `fetch` would check it; of one that was not looked at, the name alone."""
    if one is None:
        return Checked(sample, b"", b"", sample.image, "", 0, bands, "")
    return Checked(sample, b"", b"", one.digest, one.hash, 0, one.bands, "")
