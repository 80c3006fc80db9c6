"""A pair of folders for each split.

`train/` and `trainannot/` (CamVid), `train/images/` and `train/masks/`, `images/train/` and
`masks/train/`, or `leftImg8bit/train/` and `gtFine/train/` (Cityscapes), with the usual variants of
these words, and the same of `val` and `test`; or a folder a split that holds both. A name begins with
its split, as two splits may hold files of one name. A split without masks (a challenge's test images) is
not used. All else is as in `pairs`.
"""

from pathlib import Path

from segpipe.fetch.layouts import matching, pairs
from segpipe.fetch.layouts.pairs import samples

__all__ = ["samples", "seen"]


def seen(root: Path) -> str | None:
    """Look for pairs in the folders of splits."""
    matched = {word: part for word, part in pairs.parts(root).items() if part.names}
    words = [word for word in matched if word]
    trains = "train" in matching.splits_of(words).values() or "" not in matched
    return pairs.evidence(root, {word: matched[word] for word in words}) if trains else None
