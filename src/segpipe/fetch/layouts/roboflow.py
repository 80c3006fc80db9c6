"""Roboflow's "PNG Mask Semantic": `NAME.jpg`, `NAME_mask.png` and `_classes.csv` in the folder of a split.

`train/`, `valid/` and `test/`, or one folder. `_classes.csv` names the values of the masks. Versions of one
photograph, `PHOTO_jpg.rf.HASH`, which Roboflow's augmentation makes, stay in one split.
"""

import csv
import re
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.sample import Files, Note, Problem, Samples, Sample

VERSION = re.compile(r"\.rf\.\w+$")  # the end of a version's name
_CLASSES, _ENDING = "_classes.csv", "_mask"


def seen(root: Path) -> str | None:
    """Look for the names of the classes, and a mask beside them."""
    for folder in _folders(root):
        mask = next((path for path in folder.iterdir() if _is_mask(path)), None)
        if mask:
            return f"Roboflow's {_CLASSES} and masks, as {matching.relative(root, mask)}"
    return None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no folder has the names of classes."""
    folders = {_word(root, folder): folder for folder in _folders(root)}
    if not folders:
        raise UserError(f"{root}: no {_CLASSES} here, or in train/, valid/ or test/; this layout needs it")
    names(root)  # the folders must agree
    splits = matching.splits_of(filter(None, folders))
    for word, folder in folders.items():
        split = splits.get(word) if len(splits) > 1 else None
        pictures = [path for path in sorted(folder.iterdir()) if matching.is_image(path)]
        images = {path.stem: path for path in pictures if not _is_mask(path)}
        masks = {path.stem.removesuffix(_ENDING): path for path in pictures if _is_mask(path)}
        for stem in sorted(images.keys() | masks.keys()):
            image, mask = images.get(stem), masks.get(stem)
            if not image or not mask:
                file = matching.relative(root, image or mask or folder)
                missing = f"{stem}{_ENDING}.png" if image else f"{stem}.jpg"
                yield Problem(file, "no partner", f"{missing} beside it")
                continue
            name = f"{word}/{stem}" if word else stem
            group = VERSION.sub("", name) if VERSION.search(name) else ""
            files = [matching.relative(root, path) for path in (image, mask)]
            yield Sample(name, split, *files, Files(image.resolve(), mask.resolve()), group)


def names(root: Path) -> dict[int, str]:
    """Return the names of the mask values. Raises UserError where two folders name one differently."""
    found: dict[int, str] = {}
    for folder in _folders(root):
        file = folder / _CLASSES
        for value, name in _rows(file):
            if found.setdefault(value, name) != name:
                both = f"{value} is {name!r} here and {found[value]!r} in another folder"
                raise UserError(f"{file}: {both}; the masks of all folders must mean the same")
    return found
