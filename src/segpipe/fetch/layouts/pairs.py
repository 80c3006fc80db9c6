"""`images/NAME.*` and `masks/NAME.*`, split by `train.txt` and `test.txt` or by name hash.

The two folders may have other usual names, and masks a usual ending (see `matching`).
"""

from collections.abc import Iterator
from pathlib import Path

from segpipe.common.errors import UserError
from segpipe.fetch.layouts.matching import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    Listed,
    by_hash,
    by_name,
    first_folder,
    has_images,
    lines,
    matched,
    stem,
    without_endings,
)
from segpipe.fetch.sample import Problem, Sample


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    images, masks = first_folder(root, IMAGE_FOLDERS), first_folder(root, MASK_FOLDERS)
    if not has_images(images) or not has_images(masks):
        return None
    found = by_name(images)
    shared = found.keys() & without_endings(by_name(masks), found)
    return f"{images.name}/ and {masks.name}/ with equal stems" if shared else None


def samples(root: Path, test_share: float) -> Iterator[Sample | Problem]:
    """Yield the samples.

    Raises:
        UserError: one of the lists is there and the other is not.
    """
    images = by_name(first_folder(root, IMAGE_FOLDERS))
    masks = without_endings(by_name(first_folder(root, MASK_FOLDERS)), images)
    return matched(root, images, masks, _names(root, {*images, *masks}, test_share))


def _names(root: Path, found: set[str], test_share: float) -> Listed:
    lists = [root / "train.txt", root / "test.txt"]
    present = [path.name for path in lists if path.is_file()]
    if len(present) == 1:
        raise UserError(
            f"{root}: holds {present[0]} alone; give both train.txt and test.txt, or neither"
        )
    if not present:
        return by_hash(found, test_share)
    test, train = ([stem(line) for line in lines(path)] for path in reversed(lists))
    return {"test": test, "train": train}
