"""`images/NAME.jpg`, `annotations/trimaps/NAME.png`, and two lists whose first words are names.

The layout of https://www.robots.ox.ac.uk/~vgg/data/pets/. Files in neither list are not used.
"""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts import pairs, texts
from segpipe.fetch.layouts.matching import by_name
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Samples

_IMAGES, _MASKS = "images", "annotations/trimaps"
_TEST, _TRAIN = "annotations/test.txt", "annotations/trainval.txt"


def seen(root: Path) -> str | None:
    """Look for the folders and the list."""
    there = (root / _MASKS).is_dir() and (root / _TRAIN).is_file()
    return "images/ and annotations/trimaps/ with the lists trainval.txt and test.txt" if there else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples of the lists."""
    found = Matched(by_name(root / _IMAGES), by_name(root / _MASKS))
    lists = (("test", _TEST), ("train", _TRAIN))
    listed = {word: [line.split()[0] for line in texts.lines(root / file)] for word, file in lists}
    return pairs.of_parts(root, {"": found}, listed)
