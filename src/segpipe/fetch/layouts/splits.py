"""A pair of folders for each split.

`train/` and `trainannot/` (CamVid), `train/images/` and `train/masks/`, or `images/train/` and
`masks/train/`, each with the usual variants of these words, and the same of `val` and `test`. A name
begins with its split, as two splits may hold files of one name. A part without masks (a challenge's test
images) is not used.
"""

from collections.abc import Iterator
from pathlib import Path

from segpipe.common.errors import UserError
from segpipe.fetch.layouts.matching import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLIT_WORDS,
    ByName,
    Listed,
    by_hash,
    by_name,
    has_images,
    matched,
    relative,
    splits_of,
    without_endings,
)
from segpipe.fetch.sample import Problem, Sample

_ONE_OF_THEM = (
    "train/ and trainannot/, train/images/ and train/masks/, or images/train/ and masks/train/"
)


def seen(root: Path) -> str | None:
    """What speaks for this layout."""
    parts = _parts(root)
    if "train" not in [SPLIT_WORDS[word] for word in parts]:
        return None
    return ", ".join(f"{relative(root, i)}/ and {relative(root, m)}/" for i, m in parts.values())


def samples(root: Path, test_share: float) -> Iterator[Sample | Problem]:
    """Yield the samples; a share of the names is the test split where there is neither val nor test.

    Raises:
        UserError: no pair of folders for training is found.
    """
    parts = _parts(root)
    splits = splits_of(parts)
    if "train" not in splits.values():
        raise UserError(f"{root}: no folders for training; this layout looks for {_ONE_OF_THEM}")
    images, masks = ByName(), ByName()
    names: Listed = {"test": [], "train": []}
    for word, (image_folder, mask_folder) in parts.items():
        found = by_name(image_folder)
        partners = without_endings(by_name(mask_folder), found)
        images |= {f"{word}/{name}": paths for name, paths in found.items()}
        masks |= {f"{word}/{name}": paths for name, paths in partners.items()}
        names[splits[word]] += [f"{word}/{name}" for name in {*found, *partners}]
    if len(parts) == 1:
        names = by_hash(names["train"], test_share)
    return matched(root, images, masks, names)


def _parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks that hold some, by split word."""
    pairs = {}
    for word in SPLIT_WORDS:
        beside = [(word, f"{word}{link}{m}") for m in MASK_FOLDERS for link in ("", "_", "-")]
        inside = [(f"{word}/{i}", f"{word}/{m}") for i in IMAGE_FOLDERS for m in MASK_FOLDERS]
        across = [(f"{i}/{word}", f"{m}/{word}") for i in IMAGE_FOLDERS for m in MASK_FOLDERS]
        found = (
            (root / images, root / masks)
            for images, masks in (*inside, *across, *beside)
            if has_images(root / images) and has_images(root / masks)
        )
        if pair := next(found, None):
            pairs[word] = pair
    return pairs
