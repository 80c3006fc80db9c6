"""`NAME.jpg` and `NAME_mask.gif`, in one folder, or in `train/` and `train_masks/` as Kaggle has them.

The pictures of the Carvana challenge, https://www.kaggle.com/c/carvana-image-masking-challenge, show
each car from 16 sides, `ID_01` to `ID_16`. The views of one car stay together in one split, or the
scores would be those of cars that the model has seen. Any other `NAME` stands for itself.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from segpipe.fetch.layouts.matching import ByName, by_hash, by_name, is_image, matched
from segpipe.fetch.sample import Problem, Sample

_VIEW = re.compile(r"(?P<car>[0-9a-f]{12})_(0[1-9]|1[0-6])")


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    images, masks = _folders(root)
    if not images.is_dir() or not masks.is_dir():
        return None
    marked = [path for path in masks.iterdir() if is_image(path) and path.stem.endswith("_mask")]
    stems = {path.stem for path in images.iterdir() if is_image(path)} if marked else set()
    partners = [path for path in marked if path.stem.removesuffix("_mask") in stems]
    if not partners:
        return None
    cars = {match["car"] for path in partners if (match := _VIEW.match(path.name))}
    views = f", views of {len(cars)} cars, each car in one split" if cars else ""
    where = "train/ and train_masks/" if masks != images else "one folder"
    return f"NAME and NAME_mask in {where}{views}"


def samples(root: Path, test_share: float) -> Iterator[Sample | Problem]:
    """Yield the samples; a share of the cars is the test split."""
    image_folder, mask_folder = _folders(root)
    images, masks = by_name(image_folder), ByName()
    for name, paths in by_name(mask_folder).items():
        if name.endswith("_mask"):
            masks[name.removesuffix("_mask")] = paths
    if image_folder == mask_folder:
        images = {name: paths for name, paths in images.items() if not name.endswith("_mask")}
    cars = {
        name: match["car"]
        for name in {*images, *masks}
        if (match := _VIEW.fullmatch(name.rpartition("/")[2]))
    }
    return matched(root, images, masks, by_hash({*images, *masks}, test_share, cars), cars)


def _folders(root: Path) -> tuple[Path, Path]:
    """Where images and masks lie; one folder where it holds both."""
    as_shipped = (root / "train", root / "train_masks")
    return as_shipped if all(folder.is_dir() for folder in as_shipped) else (root, root)
