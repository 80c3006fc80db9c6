"""Remarks on a folder, for people who are about to train on it."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from segpipe.common.words import extent
from segpipe.plan import shape
from segpipe.survey import MOST_DECODED, Survey
from segpipe.survey.masks import WHITE_AS_0
from segpipe.survey.objects import thickness

_RARE = 1e-4
_EDGE = 128  # the shorter edge of the input that is suggested, pixels


def remarks(found: Survey, batch_size: int, now: shape.Input | None = None) -> Iterator[str]:
    """Yield one line a finding; `batch_size` is that of training, `now` the network's input."""
    yield from found.notes
    yield from _on_samples(found, batch_size)
    yield from _on_masks(found)
    yield from _on_images(found)
    if now:
        yield from on_objects(thickness(found), [one.size for one in found.stats], now)


def on_objects(
    thick: Mapping[str, float], sizes: Sequence[shape.Size], now: shape.Input
) -> Iterator[str]:
    """Yield a line where the network would see too little of the thinnest class, or parts of objects."""
    picture = shape.typical_size(sizes)
    more = "(`segpipe plan` says more)"
    if thin := shape.too_thin(thick, picture, now):
        name, here = thin
        better = shape.propose(thick, picture, now).input
        then = thick[name] * better.factor(picture)
        if then <= here:
            mend = (
                "no input that `segpipe plan` knows shows more of it: draw it thicker, or take larger "
                "pictures"
            )
        elif then < shape.LEAST:
            mend = f"{_params(better, now)} would leave it {then:.2g} px {more}"
        else:
            mend = f"{_params(better, now)} would show it {more}"
        where = f"where data.resize: {now.resize} makes pictures {extent(now.size)}"
        if now.resize == "tiles":
            where = f"at data.tiles.scale: {now.scale:g}"
        yield f"{name} is {thick[name]:.2g} px thick, and {here:.2g} px {where}; {mend}"
    elif found := shape.coarser(thick, picture, now):
        wide, better = found
        then = wide * better.scale / now.scale
        yield (
            f"typical objects are {wide:.3g} px thick at data.tiles.scale: {now.scale:g}, more than a "
            f"quarter of a tile of {extent(now.size)}; at {_params(better, now)} they would be "
            f"{then:.3g} px {more}"
        )


def _params(better: shape.Input, now: shape.Input) -> str:
    """Return the params of an input that differ from those of now."""
    size = better.size[0] if better.size[0] == better.size[1] else [*better.size]
    changed = [f"data.resize: {better.resize}"] * (better.resize != now.resize)
    if better.resize == "tiles":
        changed.append(f"data.tiles.scale: {better.scale:g}")
    if better.resize != "tiles" or (now.resize == "tiles" and min(better.size) > min(now.size)):
        changed.append(f"data.image_size: {size}")
    return ", ".join(changed)


def _on_samples(found: Survey, batch_size: int) -> Iterator[str]:
    if len(found.samples) > MOST_DECODED:
        some = f"{MOST_DECODED} of {len(found.samples)} samples were looked at"
        yield f"{some}, chosen by hash of the name; `dvc repro fetch` checks all"
    training = found.splits["train"]
    if training < batch_size:
        fits = 1 << (max(training // 4, 1).bit_length() - 1)
        said = f"train.batch_size = {batch_size} is more than the {training} training samples"
        yield f"{said}: set it to {fits}"
    if found.grouping:
        count = len({sample.group or sample.name for sample in found.samples})
        groups = f"{count} groups, which no split parts (data.folder.group)"
        yield f"{found.grouping.reason}: {groups}"


def _on_masks(found: Survey) -> Iterator[str]:
    table = found.proposal.table
    alone = {row.value for row in table.classes if not isinstance(row.value, tuple)}
    for value, seen in found.proposal.found.items():
        if seen.share < _RARE and value in alone:
            share = f"{100 * seen.share:.2g} % of the pixels, in {seen.masks} masks"
            yield f"{value} is {share}: too few to learn, perhaps a slip of the pen"
    if lossy := sum(one.mask.lossy for one in found.stats):
        yield f"{lossy} masks are compressed with loss, which changes values; save masks as PNG"
    kinds = Counter(one.mask.kind for one in found.stats)
    if not table.by_colour and {*found.proposal.found} - {0, 255}:
        yield from _on_depths(kinds)
    if len(kinds) > 1 and not table.by_colour:
        yield "masks of several kinds: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        white = sum(n for kind, n in kinds.items() if kind.endswith(WHITE_AS_0))
        if 0 < white < len(found.stats):
            yield (
                f"{white} of {len(found.stats)} masks have white as 0, and the others black: numbers "
                "count as stored; if white means the same in all, save all in one of the two ways"
            )


def _on_depths(kinds: Mapping[str, int]) -> Iterator[str]:
    """Yield a line where numbers are stretched as they are read."""
    for kind, n in kinds.items():
        if depth := re.search(r"of ([24]) bits$", kind):
            most = 2 ** int(depth[1]) - 1
            yield (
                f"{n} masks are {kind}, whose 0 to {most} count as 0 to 255, 1 as {255 // most}; save "
                "them with 8 bits if the numbers are the classes"
            )


def _on_images(found: Survey) -> Iterator[str]:
    for remark, count in Counter(one.remark for one in found.stats if one.remark).items():
        yield f"images ({count}) with {remark}"
    if found.bands != "rgb":
        counts = sorted({one.bands for one in found.stats})
        held = " or ".join(map(str, counts))
        yield f"images of {held} bands that are no RGB: data.bands lists those that the network sees"
    aspects = sorted(one.size[1] / one.size[0] for one in found.stats)
    middle = statistics.median(aspects)
    if aspects[-1] > 1.25 * aspects[0]:
        span = f"{aspects[0]:.2f} to {aspects[-1]:.2f}"
        yield f"shapes differ (width by height {span}): data.resize: pad keeps them, stretch does not"
    elif not 0.8 < middle < 1.25:
        edges = (_EDGE / min(middle, 1), _EDGE * max(middle, 1))
        height, width = (max(32, round(edge / 32) * 32) for edge in edges)
        yield f"images are not square: data.image_size: [{height}, {width}] keeps their shape"
