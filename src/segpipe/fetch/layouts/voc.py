"""`JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png`, and lists in `ImageSets/Segmentation`.

The layout of Pascal VOC, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/. `val.txt` is the test split,
since the masks of the official one are not public; with a `test.txt`, it joins `train.txt`. Without
lists, a share of the names is the test split.
"""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts import texts
from segpipe.fetch.layouts.matching import Listed, by_name, matched, splits_of
from segpipe.fetch.sample import Samples

_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


def seen(root: Path) -> str | None:
    """Look for the two folders."""
    there = (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()
    return f"{_IMAGES}/ and {_MASKS}/, as Pascal VOC has them" if there else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples of the lists."""
    images, masks = by_name(root / _IMAGES), by_name(root / _MASKS)
    words = [word for word in ("train", "val", "test") if (root / _LISTS / f"{word}.txt").is_file()]
    if len(words) < 2:
        return matched(root, images, masks, {None: sorted(masks)})
    names: Listed = {"test": [], "train": []}
    for word, split in splits_of(words).items():
        names[split] += texts.lines(root / _LISTS / f"{word}.txt")
    return matched(root, images, masks, names)
