"""`images/NAME.*` and `masks/NAME.*`, split by `train.txt` and `test.txt` or by name hash.

The two folders may have other usual names, and masks a usual ending (see `matching`).
"""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.sample import Samples


def seen(root: Path) -> str | None:
    """Look for an image and a mask of equal stem."""
    images, masks = _folders(root)
    if not matching.has_images(images) or not matching.has_images(masks):
        return None
    found = matching.by_name(images)
    shared = found.keys() & matching.without_endings(matching.by_name(masks), found)
    return f"{images.name}/ and {masks.name}/ with equal stems" if shared else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where one of the two lists is missing."""
    images, masks = map(matching.by_name, _folders(root))
    masks = matching.without_endings(masks, images)
    lists = [path for path in (root / "test.txt", root / "train.txt") if path.is_file()]
    if not lists:
        return matching.matched(root, images, masks, {None: sorted({*images, *masks})})
    if len(lists) == 1:
        mend = "give both train.txt and test.txt, or neither"
        raise UserError(f"{root}: holds {lists[0].name} alone; {mend}")
    test, train = ([matching.stem(line) for line in texts.lines(path)] for path in lists)
    return matching.matched(root, images, masks, {"test": test, "train": train})


def _folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of images and of masks: the first usual name that exists, else the first."""

    def first(names: tuple[str, ...]) -> Path:
        return root / next((name for name in names if (root / name).is_dir()), names[0])

    return first(matching.IMAGE_FOLDERS), first(matching.MASK_FOLDERS)
