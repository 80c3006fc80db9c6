"""What a person should know of a folder before they train on it."""

import statistics
from collections import Counter
from collections.abc import Iterator

from segpipe.survey import LOOKED_AT, Survey

_RARE = 1e-4
_EDGE = 128
"""The shorter edge of the input that a remark on the aspect suggests."""


def remarks(found: Survey, batch_size: int) -> Iterator[str]:
    """Yield one line a finding.

    Args:
        found: what the survey says.
        batch_size: `train.batch_size`.
    """
    yield from _on_samples(found, batch_size)
    yield from _on_masks(found)
    yield from _on_images(found)


def _on_samples(found: Survey, batch_size: int) -> Iterator[str]:
    if len(found.samples) > LOOKED_AT:
        yield (
            f"{LOOKED_AT} of {len(found.samples)} samples were looked at, chosen by hash of the name; "
            "`dvc repro fetch` checks all"
        )
    splits = found.splits()
    if splits["train"] < batch_size:
        fits = 1 << (max(splits["train"] // 4, 1).bit_length() - 1)
        yield (
            f"train.batch_size = {batch_size} is more than the {splits['train']} training samples: "
            f"set it to {fits}"
        )
    words = {sample.name.partition("/")[0] for sample in found.samples if sample.split == "train"}
    if validation := words & {"val", "valid", "validation"}:
        yield (
            f"{validation.pop()}/ joins training, as there is a test split; validation is cut from both "
            "by hash of the name"
        )
    words = {sample.name.partition("/")[0] for sample in found.samples if sample.split == "test"}
    if validation := words & {"val", "valid", "validation"}:
        yield (
            f"{validation.pop()}/ is the test split, as there is no other; validation is cut from "
            "training by hash of the name"
        )


def _on_masks(found: Survey) -> Iterator[str]:
    proposal = found.proposal
    for value, seen in proposal.found.items():
        if seen.share < _RARE and value not in proposal.table.ignore:
            yield (
                f"{value} is {100 * seen.share:.2g} % of the pixels, in {seen.masks} masks: too few to "
                "learn, perhaps a slip of the pen"
            )
    if lossy := sum(look.lossy for look in found.looks):
        yield f"{lossy} masks are JPEG, which changes values; save masks as PNG"
    kinds = Counter(look.kind for look in found.looks)
    if len(kinds) > 1 and not proposal.table.by_colour:
        yield "masks of several kinds: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def _on_images(found: Survey) -> Iterator[str]:
    for remark, count in Counter(look.remark for look in found.looks if look.remark).items():
        yield f"images ({count}) with {remark}"
    aspects = sorted(look.size[1] / look.size[0] for look in found.looks)
    middle = statistics.median(aspects)
    if aspects[-1] > 1.25 * aspects[0]:
        yield (
            f"shapes differ (width by height {aspects[0]:.2f} to {aspects[-1]:.2f}): data.resize: pad "
            "keeps them, stretch does not"
        )
    elif not 0.8 < middle < 1.25:
        height, width = (max(32, round(edge / 32) * 32) for edge in _input(middle))
        yield f"images are not square: data.image_size: [{height}, {width}] keeps their shape"


def _input(aspect: float) -> tuple[float, float]:
    """Height and width of that aspect, the shorter as long as the default input."""
    return (_EDGE, _EDGE * aspect) if aspect > 1 else (_EDGE / aspect, _EDGE)
