"""Shared by the layouts: which files belong together, and in which split they are."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from segpipe.common.errors import UserError
from segpipe.fetch.layouts import texts
from segpipe.fetch.sample import Files, Problem, Sample, Samples, Split

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".jp2", ".j2k", ".dcm", ".gif", ".bmp",
    ".webp", ".nii",
}  # fmt: skip
"""Names of pictures; NIfTI is among them so that it is refused by name, not left out."""

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annot", "segmentations", "gt")
"""Usual names of the folders of images and of masks, in order of preference."""

MASK_ENDINGS = (
    "_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_annot", "_gt", "_L",
)  # fmt: skip
"""Usual endings of a mask's name after the name of its image."""

SPLIT_WORDS: dict[str, Split | None] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": None, "valid": None, "validation": None,
}  # fmt: skip
"""Usual names of splits; `splits_of` decides which split a validation part joins."""

ByName = dict[str, list[Path]]  # files by name; a good name has one
Listed = dict[Split | None, list[str]]  # names by split; None: the folder does not say


def is_image(path: Path) -> bool:
    """Return whether a file is named as an image; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def has_images(folder: Path) -> bool:
    """Return whether there is an image in the folder or below."""
    return folder.is_dir() and any(map(is_image, texts.visible(folder)))


def by_name(base: Path) -> ByName:
    """Return a folder's images by relative path without suffix. Raises UserError where it has none."""
    if not base.is_dir():
        mend = "`segpipe init-data` with your folder says which layout fits"
        raise UserError(f"{base}: no such folder; data.folder.layout needs it; {mend}")
    found: ByName = {}
    for path in texts.visible(base):
        if is_image(path):
            found.setdefault(without_suffix(base, path), []).append(path)
    if not found:
        raise UserError(f"{base}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def without_endings(masks: ByName, images: Iterable[str]) -> ByName:
    """Return the masks by the names of their images: `NAME_mask` belongs to `NAME` if that exists."""
    known, renamed = {*images}, ByName()
    for name, paths in masks.items():
        bases = [name.removesuffix(e) for e in MASK_ENDINGS if name.endswith(e)]
        partners = [base for base in (name, *bases) if base in known]
        renamed.setdefault((partners or [name])[0], []).extend(paths)
    return renamed


def splits_of(words: Iterable[str]) -> dict[str, Split]:
    """Return the split of each part of a folder, by its name (see `SPLIT_WORDS`).

    A validation part is the test split where there is no test part. Otherwise it joins training, from
    which `preprocess` cuts validation by hash of the name.
    """
    known = {word: SPLIT_WORDS[word] for word in words}
    validation: Split = "train" if "test" in known.values() else "test"
    return {word: split or validation for word, split in known.items()}


def matched(
    root: Path, images: ByName, masks: ByName, names: Listed, group: dict[str, str] | None = None
) -> Samples:
    """Pair each listed name's image with its mask.

    Masks are by the names of their images. `group` has the names' groups (see `Sample`). Messages name
    files relative to `root`.
    """
    repeated = {*names.get("train", [])} & {*names.get("test", [])}
    for name in sorted(repeated):
        yield Problem(name, "a name in both lists, train and test", "it in one of them")
    for split, listed in names.items():
        for name, count in sorted(Counter(listed).items()):
            if count > 1:
                yield Problem(name, f"a duplicate name, {count} times in the {split} list", "it once")
            if split != "train" or name not in repeated:
                yield _pair(root, name, split, images, masks, (group or {}).get(name, ""))


def _pair(
    root: Path, name: str, split: Split | None, images: ByName, masks: ByName, group: str
) -> Sample | Problem:
    image, mask = images.get(name, []), masks.get(name, [])
    for what, other, found in (("image", mask, image), ("mask", image, mask)):
        if len(found) > 1:
            files = " and ".join(sorted(relative(root, path) for path in found))
            return Problem(files, f"a duplicate name, {len(found)} files for {name}", f"one {what}")
        if not found:
            file = relative(root, other[0]) if other else name
            where = "its partner" if other else "a name in the list"
            return Problem(file, f"no {what} for {where}", f"a file of the same stem, {name}")
    content = Files(image[0].resolve(), mask[0].resolve())
    return Sample(name, split, relative(root, image[0]), relative(root, mask[0]), content, group)


def stem(line: str) -> str:
    """Return a listed name without the suffix that it may have."""
    path = PurePosixPath(line)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else line


def relative(root: Path, path: Path) -> str:
    """Return a file's name in messages."""
    return path.relative_to(root).as_posix()


def without_suffix(root: Path, path: Path) -> str:
    """Return a file's name as a sample: sub-folders are part of it."""
    return path.relative_to(root).with_suffix("").as_posix()
