"""Proposes `data.folder.group`: the part of a name that is equal for pictures that belong together.

Names of frames of a video, slices of a patient or tiles of a scene have a common prefix and counters.
Other names do too, such as `Abyssinian_12`. Counters that are called frame, slice or tile are trusted.
For the rest the pictures decide: frames next to each other are alike.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from segpipe.common.duplicates import hash_distance
from segpipe.fetch.layouts.matching import SPLIT_WORDS

_COUNTER_WORDS = "frame|slice|tile|patch|crop|view|row|column|col|[xyzrc]"
_COUNTER = re.compile(rf"(?:(?:^|[-_. /])(?:{_COUNTER_WORDS}))?[-_. ]*$", re.IGNORECASE)

_FEWEST = 3  # groups: one for each split
_MOST_COUNTERS = 3  # counters at the end of a name
_USUAL = 0.9  # share of the names that must have one form
_FEWEST_PAIRS = 10  # pairs of neighbours that a judgement needs
_ALIKE = 0.25  # share of the neighbours that must be closer than all but 5 % of other pairs


@dataclass(frozen=True)
class Grouping:
    """A regular expression for `data.folder.group`, and why it is proposed."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class _Form:
    """Names of one form."""

    pattern: str  # a regular expression
    words: tuple[str, ...]  # before the counters that are no part of a group
    groups: Mapping[str, tuple[str, tuple[int, ...]]]  # group and counters of each name


def propose_group(hashes: Mapping[str, str]) -> Grouping | None:
    """Propose groups for names, from the perceptual hashes of their pictures (empty where unknown)."""
    for form in _forms([*hashes]):
        sizes = Counter(group for group, _ in form.groups.values())
        together = sum(size for size in sizes.values() if size > 1)
        if len(sizes) < _FEWEST or 2 * together < len(hashes):
            continue
        if reason := _named_counters(form) or _alike(form, hashes):
            return Grouping(form.pattern, reason)
    return None


def in_folders(names: Sequence[str]) -> str:
    """Return a note where each folder may be a patient; empty where folders say nothing on groups."""
    sizes = Counter(name.rpartition("/")[0] for name in names)
    together = sum(size for folder, size in sizes.items() if folder and size > 1)
    if len(sizes) < _FEWEST or 2 * together < len(names):
        return ""
    mend = "set data.folder.group: '^(.+)/', so that no split parts one"
    return (
        f"pictures lie in {len(sizes)} folders, such as {max(sizes)}/, and are split one by one: if a "
        f"folder is one patient, video or place, {mend}"
    )


def _forms(names: Sequence[str]) -> Iterator[_Form]:
    """Yield the forms of most names, those with the largest groups first."""
    backwards = zip(*(name[::-1] for name in names), strict=False)
    same = takewhile(lambda letters: len({*letters}) == 1, backwards)
    # The number in `_leftImg8bit` is no counter.
    end = "".join(letters[0] for letters in same)[::-1].lstrip("0123456789")
    for count in range(_MOST_COUNTERS, 0, -1):
        parts = {name: part for name in names if (part := _parted(name.removesuffix(end), count))}
        texts, usual = _commonest([texts for _, texts, _ in parts.values()])
        if usual >= _USUAL * len(names):
            groups = {
                name: (prefix, counters)
                for name, (prefix, own_texts, counters) in parts.items()
                if own_texts == texts
            }
            pattern = r"\d+".join(map(re.escape, texts))
            words = tuple(text.strip("-_. /").lower() for text in texts[:-1])
            yield _Form(f"^(.+){pattern}{re.escape(end)}$", words, groups)
    for digits in range(3, 0, -1):  # one long video: runs of 1000, 100 or 10 frames
        runs = {n: m for n in names if (m := re.fullmatch(rf"(.*\d)(\d{{{digits}}})", n))}
        if len(runs) >= _USUAL * len(names) and len({len(name) for name in runs}) == 1:
            groups = {name: (match[1], (int(match[2]),)) for name, match in runs.items()}
            yield _Form(rf"^(.*\d)\d{{{digits}}}$", (), groups)


def _parted(name: str, count: int) -> tuple[str, tuple[str, ...], tuple[int, ...]] | None:
    """Split a name into a prefix, the texts around its last counters, and these `count` counters."""
    tokens = re.split(r"(\d+)", name)
    if len(tokens) < 2 * count + 1:
        return None
    head, counters, texts = tokens[: -2 * count], tokens[-2 * count :: 2], tokens[1 - 2 * count :: 2]
    *before, text = head
    start = re.search(r"[-_. /]|$", text) if before else _COUNTER.search(text)
    assert start, "both expressions match at the end at least"
    prefix = "".join(before) + text[: start.start()]
    if not prefix or prefix in SPLIT_WORDS:
        return None
    return prefix, (text[start.start() :], *texts), tuple(map(int, counters))


def _commonest(texts: list[tuple[str, ...]]) -> tuple[tuple[str, ...], int]:
    return Counter(texts).most_common(1)[0] if texts else ((), 0)


def _named_counters(form: _Form) -> str:
    """Return the words before the counters, in a sentence, where all of them are known."""
    if form.words and all(re.fullmatch(_COUNTER_WORDS, word) for word in form.words):
        return f"names have counters called {' and '.join(dict.fromkeys(form.words))}"
    return ""


def _alike(form: _Form, hashes: Mapping[str, str]) -> str:
    """Return how many neighbours in a group are alike, where these are more than among other pairs."""
    named = sorted((name for name in form.groups if hashes[name]), key=form.groups.__getitem__)
    shuffled = random.Random(0).sample(named, len(named))
    neighbours = [
        (a, b)
        for a, b in pairwise(named)
        if form.groups[a][0] == form.groups[b][0] and form.groups[a][1][0] != form.groups[b][1][0]
    ]
    others = [(a, b) for a, b in pairwise(shuffled) if form.groups[a][0] != form.groups[b][0]]
    if min(len(neighbours), len(others)) < _FEWEST_PAIRS:
        return ""
    near, far = _distances(neighbours, hashes), _distances(others, hashes)
    share = float((near < np.quantile(far, 0.05)).mean())
    if share < _ALIKE:
        return ""
    return f"{100 * share:.0f} % of the neighbours, such as {' and '.join(neighbours[0])}, are alike"


def _distances(pairs: Sequence[tuple[str, str]], hashes: Mapping[str, str]) -> np.ndarray:
    """Return in how many of 64 bits the hashes of each pair differ."""
    return np.array([hash_distance(hashes[a], hashes[b]) for a, b in pairs])
