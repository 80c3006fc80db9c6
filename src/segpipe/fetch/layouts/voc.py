"""`JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png`, and lists in `ImageSets/Segmentation`.

The layout of Pascal VOC, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, which has many pictures
without masks. Lists are read as in `pairs`; `val.txt` is the test split, since the masks of the official
one are not public. Without lists, all pictures with a mask are used.
"""

from collections import Counter
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts import lists, pairs
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Samples

_IMAGES, _MASKS = "JPEGImages", "SegmentationClass"


def seen(root: Path) -> str | None:
    """Look for the two folders."""
    there = (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()
    return f"{_IMAGES}/ and {_MASKS}/, as Pascal VOC has them" if there else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples of the lists."""
    matched, listed = pairs.parts(root), lists.lists_in(root)
    return pairs.of_parts(
        root, matched if listed else {w: _masked(p) for w, p in matched.items()}, listed
    )


def _masked(part: Matched) -> Matched:
    """Return the pictures that have a mask."""
    lone = part.images.keys() - part.masks.keys()
    images = {name: files for name, files in part.images.items() if name not in lone}
    return Matched(images, part.masks, part.unused + Counter({"pictures without a mask": len(lone)}))
