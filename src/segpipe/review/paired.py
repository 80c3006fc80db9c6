"""Test the scores of two revisions on the test images that both have."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segpipe.common.errors import CannotTell
from segpipe.common.modelfile import MODEL
from segpipe.common.words import score
from segpipe.evaluate import metrics
from segpipe.evaluate.counts import Counts
from segpipe.report.baseline import METRIC_NAMES, seeds_in
from segpipe.report.words import shortened, signed
from segpipe.review.chance import LEVEL, POWER, Spread, Verdict, compared, losses
from segpipe.review.revision import COUNTS, Revision

BASELINE = "baseline.json"
PREFIX = "original."  # the scores of the counts, as `metrics.json` has them
_MOST_CLASSES, _MOST_IMAGES = 3, 5
_NO_RECIPE = (
    "seed", "report.", "export.", "gates", "data.workers", "data.shard_mb", "train.in_memory",
    "train.tensorboard", "train.previews.", "train.steps_per_execution",
)  # fmt: skip
"""Beginnings of the keys of params that are no part of a recipe: the seed, and what changes no score."""


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on several scores."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)  # by metric
    # Classes and images that lost most, in words, by metric that is worse.
    most_affected: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was compared, and what was not counted
    doubts: list[str] = field(default_factory=list)  # why scores could not be tested

    def sentence(self, metric: str) -> str:
        """Return the verdict on a metric in one sentence."""
        verdict = self.verdicts[metric]
        before, after = verdict.difference.before, verdict.difference.after
        if before == after:
            moved = f"{label(metric)} stayed at {score(after)}"
        else:
            verb = "fell" if after < before else "rose"
            moved = f"{label(metric)} {verb} from {score(before)} to {score(after)}"
        if not verdict.margin:
            return f"{moved}: {verdict.word}"
        if verdict.word == "no difference to be seen" and verdict.visible > before:
            return (
                f"{moved}: {verdict.word}; no loss, however large, would be detected with a probability "
                f"of {100 * POWER:.0f} %"
            )
        tested = (
            f"{moved}; {100 * (1 - verdict.level):.4g} % of equally good models lie within "
            f"±{verdict.margin:.4f}: {verdict.word}"
        )
        if verdict.word in ("worse", "better"):
            return tested
        return (
            f"{tested}; a true loss of {verdict.visible:.4f} would be detected with a probability of "
            f"{100 * POWER:.0f} %"
        )


def paired_test(names: Sequence[str], before: Revision, here: Revision) -> Verdicts:
    """Test metrics together, such as `original.mean_iou`, image by image; those that can be tested.

    Raises CannotTell where a revision has no counts, or they are of other classes or share no images.
    """
    known = [_known(revision) for revision in (before, here)]
    digests = [_digests(revision) for revision in (before, here)]
    classes, images, pixels, notes = _shared(known[0], known[1], digests[0], digests[1])
    present = [name for name in names if _present(pixels, classes, name)]
    doubts = [
        f"no test image that both sides share gives a score to {label(name)}"
        for name in names
        if name not in present
    ]
    spreads, seed_notes = _spreads(present, before, here)
    short = [name.removeprefix(PREFIX) for name in present]
    tested = compared(pixels[0], pixels[1], classes, short, spreads)
    verdicts = {PREFIX + name: verdict for name, verdict in tested.items()}
    doubts += [
        f"{label(name)} differs by the same amount in all shared test images, which shows nothing of "
        "chance; add test images, or measure the spread of seeds (`segpipe noise`)"
        for name in present
        if name not in verdicts
    ]
    if len(verdicts) > 1:
        notes.append(
            f"{len(verdicts)} scores are tested together: chance calls any of them different in at most "
            f"{100 * LEVEL:.0f} % of the changes that change nothing (Holm's correction)"
        )
    worse = [name for name, verdict in verdicts.items() if verdict.word == "worse"]
    most_affected = {name: _most_affected(pixels, classes, images, name) for name in worse}
    return Verdicts(verdicts, most_affected, [*notes, *seed_notes], doubts)


def label(metric: str) -> str:
    """Return a metric's name for people, such as `mean IoU` or `IoU of cat`."""
    kind, _, of_class = metric.removeprefix(PREFIX).partition(".")
    return f"{'IoU' if kind == 'iou' else 'Dice'} of {of_class}" if of_class else METRIC_NAMES[metric]


def recipe_hash(params: Mapping[str, Any]) -> str:
    """Return a hash of the params, by dotted key, that decide how good a model is, without the seed."""
    recipe = {key: value for key, value in params.items() if not key.startswith(_NO_RECIPE)}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def _known(revision: Revision) -> Counts:
    if (counts := revision.counts()) is None:
        raise CannotTell(
            f"{revision.label} has no {COUNTS}, which `worse: significant` needs; merge the counts "
            "first, the gate afterwards"
        )
    return counts


def _digests(revision: Revision) -> dict[str, str]:
    """Return the digest of each mask by its image's name; of none where no file tells it."""
    try:
        masks = revision.masks()
    except CannotTell:  # `segpipe check` says so
        masks = None
    return masks.digests if masks else {}


def _shared(
    before: Counts, here: Counts, digests_before: Mapping[str, str], digests_here: Mapping[str, str]
) -> tuple[list[str], list[str], np.ndarray, list[str]]:
    """Return classes, images, counts of both sides, int64 [2, images, 3, classes], and notes.

    Masks are compared by their pixels of each class, and by digests where both sides have them: a mask
    that moved inside its picture has the same pixels of each class.
    """
    if {*before.classes} != {*here.classes}:
        raise CannotTell(
            f"the base scores the classes {', '.join(before.classes)}, this one "
            f"{', '.join(here.classes)}: no score is that of the same test"
        )
    rows = [{name: row for row, name in enumerate(side.images)} for side in (before, here)]
    common = [name for name in here.images if name in rows[0]]
    columns = [[side.classes.index(name) for name in here.classes] for side in (before, here)]
    pixels = np.stack(
        [
            side.pixels[[row_of[name] for name in common]][..., order]
            for side, row_of, order in zip((before, here), rows, columns, strict=True)
        ]
    )
    truths = pixels[:, :, 1]
    rounding = (2.0**-before.bits + 2.0**-here.bits) * truths.max(0)
    same = (np.abs(truths[1] - truths[0]) <= rounding).all(-1)
    known = [name in digests_before and name in digests_here for name in common]
    moved = [digests_before.get(name) != digests_here.get(name) for name in common]
    same &= ~(np.array(known, bool) & np.array(moved, bool))
    compared_by = "masks" if all(known) else "pixel counts"
    is_scored = same & truths.any((0, 2))
    images = [name for name, scored in zip(common, is_scored, strict=True) if scored]
    empty = np.count_nonzero(same & ~is_scored)
    shared = (
        f"both sides share {len(images)} test images with equal {compared_by} (the base has "
        f"{len(before.images)}, this has {len(here.images)}; the {compared_by} of "
        f"{np.count_nonzero(~same)} differ{f'; {empty} have no pixel that counts' if empty else ''})"
    )
    if len(images) < 2:
        raise CannotTell(f"too few test images to compare: {shared}")
    is_all = len(before.images) == len(here.images) == len(images)
    notes = [] if is_all else [f"{shared}; only these are compared"]
    return here.classes, images, pixels[:, is_scored], notes


def _present(pixels: np.ndarray, classes: Sequence[str], metric: str) -> bool:
    """Return whether the class of a metric is in some image, on both sides."""
    _, _, of_class = metric.removeprefix(PREFIX).partition(".")
    if not of_class:
        return True
    return of_class in classes and bool(pixels[..., classes.index(of_class)].any((1, 2)).all())


def _spreads(
    names: Sequence[str], before: Revision, here: Revision
) -> tuple[dict[str, Spread], list[str]]:
    """Return the known spreads of seeds, by the names of `metrics.scores`, and notes on them."""
    model = here.locked(MODEL)
    if model and model == before.locked(MODEL):
        return {}, ["both sides have the same model, so that seeds play no part"]
    then, seeds = (
        seeds_in(text, f"{BASELINE} of {side.label}") if (text := side.text(BASELINE)) else None
        for side in (before, here)
    )
    known = [name for name in names if seeds and name in seeds.deviation]
    notes = []
    if unknown := [label(name) for name in names if name not in known]:
        notes.append(
            f"only the images' chance was counted for {', '.join(unknown)}: {BASELINE} holds no spread "
            "of seeds, which `segpipe noise` measures"
        )
    if seeds is None:
        return {}, notes
    notes.append(f"the spread of {seeds.number} seeds is that of {BASELINE}")
    if seeds.recipe not in {recipe_hash(side.params()) for side in (before, here)}:
        notes.append("it is that of another recipe than either side's; `segpipe noise` measures it anew")
    if then != seeds:
        notes.append("this change alters the spread of seeds")
    return {n.removeprefix(PREFIX): Spread(seeds.deviation[n], seeds.number) for n in known}, notes


def _most_affected(
    pixels: np.ndarray, classes: Sequence[str], images: Sequence[str], metric: str
) -> str:
    """Name the classes and images that lowered a score most."""
    before, after = (metrics.scores(side.sum(0))["iou"] for side in pixels)
    fallen = sorted((d, name) for d, name in zip(after - before, classes, strict=True) if d < 0)
    of_classes = [f"{name} (IoU {signed(d)})" for d, name in fallen[:_MOST_CLASSES]]
    lost = losses(pixels[0], pixels[1], classes, metric.removeprefix(PREFIX))
    order = np.argsort(-lost, kind="stable")[:_MOST_IMAGES]
    of_images = [f"{shortened(images[n])} ({signed(-lost[n])})" for n in order if lost[n] > 0]
    return f"most affected classes: {', '.join(of_classes)}; images: {', '.join(of_images)}"
