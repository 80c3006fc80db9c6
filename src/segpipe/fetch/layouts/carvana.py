"""`NAME.jpg` and `NAME_mask.gif`, in one folder, or in `train/` and `train_masks/` as Kaggle has them.

The pictures of the Carvana challenge, https://www.kaggle.com/c/carvana-image-masking-challenge, show
each car from 16 sides, `ID_01` to `ID_16`. All views of a car stay in one split: otherwise the model
would be scored on cars that it was trained on. Any other `NAME` is a group of its own.
"""

import re
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts.matching import by_name, is_image, matched
from segpipe.fetch.sample import Samples

_VIEW = re.compile(r"(?P<car>[0-9a-f]{12})_(0[1-9]|1[0-6])")
_ENDING = "_mask"


def seen(root: Path) -> str | None:
    """Look for pairs of `NAME` and `NAME_mask`."""
    images, masks = _folders(root)
    marked = [p.stem for p in masks.iterdir() if is_image(p) and p.stem.endswith(_ENDING)]
    stems = {path.stem for path in images.iterdir() if is_image(path)} if marked else set()
    names = {name.removesuffix(_ENDING) for name in marked} & stems
    if not names:
        return None
    cars = {match["car"] for name in names if (match := _VIEW.fullmatch(name))}
    views = f", views of {len(cars)} cars, each car in one split" if cars else ""
    where = "train/ and train_masks/" if masks != images else "one folder"
    return f"NAME and NAME_mask in {where}{views}"


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples; a share of the cars is the test split."""
    image_folder, mask_folder = _folders(root)
    images, marked = by_name(image_folder), by_name(mask_folder)
    if image_folder == mask_folder:
        images = {name: paths for name, paths in images.items() if not name.endswith(_ENDING)}
    masks = {n.removesuffix(_ENDING): paths for n, paths in marked.items() if n.endswith(_ENDING)}
    names = {*images, *masks}
    views = {name: _VIEW.fullmatch(name.rpartition("/")[2]) for name in names}
    cars = {name: view["car"] for name, view in views.items() if view}
    return matched(root, images, masks, {None: sorted(names)}, cars)


def _folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of images and of masks; the same folder twice where it holds both."""
    as_shipped = (root / "train", root / "train_masks")
    return as_shipped if all(folder.is_dir() for folder in as_shipped) else (root, root)
