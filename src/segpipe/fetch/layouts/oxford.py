"""`images/NAME.jpg`, `annotations/trimaps/NAME.png`, and two lists whose first words are names.

The layout of https://www.robots.ox.ac.uk/~vgg/data/pets/. Files in neither list are not used.
"""

from collections.abc import Iterator
from pathlib import Path

from segpipe.fetch.layouts.matching import Listed, by_name, lines, matched
from segpipe.fetch.sample import Problem, Sample

_TRAIN, _TEST = "annotations/trainval.txt", "annotations/test.txt"


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    there = (root / "annotations/trimaps").is_dir() and (root / _TRAIN).is_file()
    return "images/ and annotations/trimaps/ with the lists trainval.txt and test.txt" if there else None


def samples(root: Path) -> Iterator[Sample | Problem]:
    """Yield the samples of the lists."""
    images, masks = by_name(root / "images"), by_name(root / "annotations/trimaps")
    names: Listed = {
        "test": [line.split()[0] for line in lines(root / _TEST)],
        "train": [line.split()[0] for line in lines(root / _TRAIN)],
    }
    return matched(root, images, masks, names)
