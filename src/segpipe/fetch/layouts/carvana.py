"""`NAME.jpg` and `NAME_mask.gif`, in one folder, or in `train/` and `train_masks/` as Kaggle has them.

The pictures of the Carvana challenge, https://www.kaggle.com/c/carvana-image-masking-challenge, show
each car from 16 sides, `ID_01` to `ID_16`. All views of a car stay in one split: otherwise the model
would be scored on cars that it was trained on. Any other `NAME` is a group of its own.
"""

import re
from dataclasses import replace
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts import lists, pairs
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Sample, Samples

_VIEW = re.compile(r"(?P<car>[0-9a-f]{12})_(0[1-9]|1[0-6])")


def seen(root: Path) -> str | None:
    """Look for pairs of `NAME` and `NAME_mask`."""
    word, parts = _found(root)
    masks, pairs_there = parts[word].masks, parts[word].names
    names = [name for name in pairs_there if masks[name][0].stem.lower().endswith("_mask")]
    if not names:
        return None
    if lists.holds_pairs(lists.lists_in(root), lists.Paths(root)):
        return None  # `pairs` reads these
    cars = {car for name in names if (car := _car(name))}
    views = f", views of {len(cars)} cars, each car in one split" if cars else ""
    return f"{pairs.evidence(root, {word: parts[word]})}{views}"


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples, grouped by cars."""
    for sample in pairs.of_parts(root, _found(root)[1], lists.lists_in(root)):
        yield replace(sample, group=_car(sample.name)) if isinstance(sample, Sample) else sample


def _car(name: str) -> str:
    """Return the car of which a picture is one of 16 views; nothing for any other picture."""
    view = _VIEW.fullmatch(name.rpartition("/")[2])
    return view["car"] if view else ""


def _found(root: Path) -> tuple[str, dict[str, Matched]]:
    """Return the part that holds the pairs, and all parts; names do not begin with `train/`."""
    parts = {"": Matched(), **pairs.parts(root)}
    word = "train" if "train" in parts and (root / "train_masks").is_dir() else ""
    part = parts[word]
    images, masks = (
        {name.removeprefix("train/"): files for name, files in side.items()}
        for side in (part.images, part.masks)
    )
    return word, {**parts, word: replace(part, images=images, masks=masks)}
