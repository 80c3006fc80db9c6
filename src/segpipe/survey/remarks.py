"""Remarks on a folder, for people who want to train on it."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from segpipe.common.words import extent
from segpipe.plan import shape
from segpipe.survey.folder import MOST_DECODED, Survey
from segpipe.survey.masks import WHITE_AS_0
from segpipe.survey.objects import thickness

_RARE = 1e-4
_EDGE = 128  # the shorter edge of the input that is suggested, pixels


def remarks(survey: Survey, batch_size: int, now: shape.Input | None = None) -> Iterator[str]:
    """Yield one line a finding; `batch_size` is that of training, `now` the network's input."""
    yield from survey.notes
    yield from _on_samples(survey, batch_size)
    yield from _on_masks(survey)
    yield from _on_images(survey)
    if now:
        yield from on_objects(thickness(survey), [row.size for row in survey.stats], now)


def on_objects(
    thick: Mapping[str, float], sizes: Sequence[shape.Size], now: shape.Input
) -> Iterator[str]:
    """Yield a line where the network would see too little of the thinnest class, or parts of objects."""
    picture = shape.typical_size(sizes)
    hint = "(`segpipe plan` says more)"
    if thin := shape.too_thin(thick, picture, now):
        name, here = thin
        better = shape.propose(thick, picture, now).input
        there, params = thick[name] * better.factor(picture), _changed_params(better, now)
        if there <= here:
            remedy = (
                "no input that `segpipe plan` knows shows more of it: draw it thicker, or take larger "
                "pictures"
            )
        elif there < shape.LEAST:
            remedy = f"{params} would leave it {there:.2g} px {hint}"
        else:
            remedy = f"{params} would show it {hint}"
        where = f"where data.resize: {now.resize} makes pictures {extent(now.size)}"
        if now.resize == "tiles":
            where = f"at data.tiles.scale: {now.scale:g}"
        yield f"{name} is {thick[name]:.2g} px thick, and {here:.2g} px {where}; {remedy}"
    elif too_fine := shape.coarser(thick, picture, now):
        here, better = too_fine
        there = here * better.scale / now.scale
        yield (
            f"typical objects are {here:.3g} px thick at data.tiles.scale: {now.scale:g}, more than a "
            f"quarter of a tile of {extent(now.size)}; at {_changed_params(better, now)} they would be "
            f"{there:.3g} px {hint}"
        )


def _changed_params(better: shape.Input, now: shape.Input) -> str:
    """Return the params of an input that differ from those of now."""
    size = better.size[0] if better.size[0] == better.size[1] else [*better.size]
    changed = [f"data.resize: {better.resize}"] * (better.resize != now.resize)
    if better.resize == "tiles":
        changed.append(f"data.tiles.scale: {better.scale:g}")
    if better.resize != "tiles" or (now.resize == "tiles" and min(better.size) > min(now.size)):
        changed.append(f"data.image_size: {size}")
    return ", ".join(changed)


def _on_samples(survey: Survey, batch_size: int) -> Iterator[str]:
    if len(survey.samples) > MOST_DECODED:
        read = f"{MOST_DECODED} of {len(survey.samples)} samples were looked at"
        yield f"{read}, chosen by hash of the name; `dvc repro fetch` checks all"
    training = survey.splits["train"]
    if training < batch_size:
        fits = 1 << (max(training // 4, 1).bit_length() - 1)
        yield (
            f"train.batch_size = {batch_size} is more than the {training} training samples: set it to "
            f"{fits}"
        )
    if survey.grouping:
        count = len({sample.group or sample.name for sample in survey.samples})
        groups = f"{count} groups, which no split parts (data.folder.group)"
        yield f"{survey.grouping.reason}: {groups}"


def _on_masks(survey: Survey) -> Iterator[str]:
    table = survey.proposal.table
    alone = {row.value for row in table.classes if not isinstance(row.value, tuple)}
    for value, seen in survey.proposal.occurrences.items():
        if seen.share < _RARE and value in alone:
            share = f"{100 * seen.share:.2g} % of the pixels, in {seen.masks} masks"
            yield f"{value} is {share}: too few to learn, perhaps a slip of the pen"
    if lossy := sum(row.mask.lossy for row in survey.stats):
        yield f"{lossy} masks are compressed with loss, which changes values; save masks as PNG"
    kinds = Counter(row.mask.kind for row in survey.stats)
    if not table.by_colour and {*survey.proposal.occurrences} - {0, 255}:
        yield from _on_depths(kinds)
    if len(kinds) > 1 and not table.by_colour:
        yield "masks of several kinds: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        white = sum(n for kind, n in kinds.items() if kind.endswith(WHITE_AS_0))
        if 0 < white < len(survey.stats):
            yield (
                f"{white} of {len(survey.stats)} masks have white as 0, and the others black: numbers "
                "count as stored; if white means the same in all, save all in one of the two ways"
            )


def _on_depths(kinds: Mapping[str, int]) -> Iterator[str]:
    """Yield a line where reading stretches the numbers of masks."""
    for kind, n in kinds.items():
        if depth := re.search(r"of ([24]) bits$", kind):
            most = 2 ** int(depth[1]) - 1
            yield (
                f"{n} masks are {kind}, whose 0 to {most} count as 0 to 255, 1 as {255 // most}; save "
                "them with 8 bits if the numbers are the classes"
            )


def _on_images(survey: Survey) -> Iterator[str]:
    for remark, count in Counter(row.remark for row in survey.stats if row.remark).items():
        yield f"images ({count}) with {remark}"
    if survey.bands != "rgb":
        counts = sorted({row.bands for row in survey.stats})
        numbers = " or ".join(map(str, counts))
        yield f"images of {numbers} bands that are no RGB: data.bands lists those that the network sees"
    aspects = sorted(row.size[1] / row.size[0] for row in survey.stats)
    middle = statistics.median(aspects)
    if aspects[-1] > 1.25 * aspects[0]:
        span = f"{aspects[0]:.2f} to {aspects[-1]:.2f}"
        yield f"shapes differ (width by height {span}): data.resize: pad keeps them, stretch does not"
    elif not 0.8 < middle < 1.25:
        edges = (_EDGE / min(middle, 1), _EDGE * max(middle, 1))
        height, width = (max(32, round(edge / 32) * 32) for edge in edges)
        yield f"images are not square: data.image_size: [{height}, {width}] keeps their shape"
