"""A pair of folders for each split.

`train/` and `trainannot/` (CamVid), `train/images/` and `train/masks/`, or `images/train/` and
`masks/train/`, each with the usual variants of these words, and the same of `val` and `test`. A name
begins with its split, as two splits may hold files of one name. A split without masks (a challenge's
test images) is not used.
"""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching
from segpipe.fetch.sample import Samples


def seen(root: Path) -> str | None:
    """Look for a pair of folders for training."""
    parts = _parts(root)
    if "train" not in [matching.SPLIT_WORDS[word] for word in parts]:
        return None
    named = ([matching.relative(root, folder) for folder in pair] for pair in parts.values())
    return ", ".join(f"{images}/ and {masks}/" for images, masks in named)


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples; a share of the names is the test split where there is neither val nor test."""
    parts = _parts(root)
    splits = matching.splits_of(parts)
    if "train" not in splits.values():
        raise UserError(
            f"{root}: no folders for training; this layout looks for train/ and trainannot/, "
            "train/images/ and train/masks/, or images/train/ and masks/train/"
        )
    images, masks = matching.ByName(), matching.ByName()
    names: matching.Listed = {"test": [], "train": []}
    for word, (image_folder, mask_folder) in parts.items():
        found = matching.by_name(image_folder)
        partners = matching.without_endings(matching.by_name(mask_folder), found)
        images |= {f"{word}/{name}": paths for name, paths in found.items()}
        masks |= {f"{word}/{name}": paths for name, paths in partners.items()}
        names[splits[word]] += [f"{word}/{name}" for name in {*found, *partners}]
    if len(parts) == 1:
        names = {None: sorted(names["train"])}
    return matching.matched(root, images, masks, names)


def _parts(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of masks that hold some, by split word."""
    usual = [(i, m) for i in matching.IMAGE_FOLDERS for m in matching.MASK_FOLDERS]
    found = {}
    for word in matching.SPLIT_WORDS:
        inside = [(f"{word}/{i}", f"{word}/{m}") for i, m in usual]
        across = [(f"{i}/{word}", f"{m}/{word}") for i, m in usual]
        beside = [(word, f"{word}{link}{m}") for m in matching.MASK_FOLDERS for link in ("", "_", "-")]
        for images, masks in (*inside, *across, *beside):
            if matching.has_images(root / images) and matching.has_images(root / masks):
                found[word] = (root / images, root / masks)
                break
    return found
