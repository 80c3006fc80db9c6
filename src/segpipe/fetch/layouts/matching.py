"""What the names of folders and files tell: which files are data, what holds masks, what is a split."""

import functools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segpipe.common.errors import UserError
from segpipe.fetch.layouts import texts
from segpipe.fetch.sample import Split

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".jp2", ".j2k", ".dcm", ".gif", ".bmp",
    ".webp", ".nii",
}  # fmt: skip
"""Names of pictures; NIfTI is among them so that it is refused by name, not left out."""

ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"}

IMAGE_WORDS = (
    "images", "image", "imgs", "img", "img_dir", "jpegimages", "leftimg8bit", "rgb", "photos",
    "pictures", "frames", "inputs", "input", "image_2",
)  # fmt: skip
MASK_WORDS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "ann_dir",
    "segmentationclass", "segmentationclassaug", "segmentations", "segmentation", "seg", "gtfine",
    "gtcoarse", "gt", "ground_truth", "groundtruth", "targets", "target", "semantic", "masks_machine",
    "masks_human",
)  # fmt: skip
"""Usual names of the folders of images and of masks, in order of preference."""

SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
"""Usual names of splits."""

ByName = dict[str, list[Path]]  # files by name; a good name has one


def _folder_pattern() -> re.Pattern[str]:
    some = (SPLIT_WORDS, (*IMAGE_WORDS, *MASK_WORDS))
    splits, words = ("|".join(sorted(each, key=len, reverse=True)) for each in some)
    after = f"[_-](?:(?P<after>{splits})|trainval(?:test)?)"  # as Cityscapes' archives are called
    return re.compile(
        f"(?:.*?[ _-])??(?P<split>{splits})?[_-]?(?P<word>{words})(?:{after}|_(?:png|jpe?g|tiff?))?"
    )


_FOLDER = _folder_pattern()


class File(NamedTuple):
    """A picture or a mask, and what its path tells."""

    path: Path
    word: str  # the folder that tells the role, in small letters
    part: str  # the folder that tells the split, likewise
    place: str  # all other folders as `a/b/`, that of the split among them
    stem: str

    @property
    def name(self) -> str:
        """The name as a sample's."""
        return self.place + self.stem


def is_image(path: Path) -> bool:
    """Return whether a file is named as an image; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def relative(root: Path, path: Path) -> str:
    """Return a file's name in messages."""
    return path.relative_to(root).as_posix()


def without_suffix(root: Path, path: Path) -> str:
    """Return a file's name as a sample: sub-folders are part of it, letters are composed."""
    return normal(path.relative_to(root).with_suffix("").as_posix())


def normal(text: str) -> str:
    """Return a name in the Unicode form in which names are compared; macOS writes another."""
    return unicodedata.normalize("NFC", text)


def parsed(root: Path, path: Path) -> File:
    """Return what a path below `root` tells."""
    return File(path, *_told(normal(relative(root, path.parent))), normal(path.stem))


@functools.lru_cache(maxsize=1 << 12)
def _told(folders: str) -> tuple[str, str, str]:
    """Return the word, the part and the place that folders tell."""
    word = part = place = ""
    for folder in reversed(PurePosixPath(folders).parts):  # the innermost word tells the role
        kept = folder
        if found := _FOLDER.fullmatch(folder.lower()):
            word = word or found["word"]
            kept = found["split"] or found["after"] or ""
        part = kept.lower() if kept.lower() in SPLIT_WORDS else part
        place = f"{kept}/{place}" if kept else place
    return word, part, place


def by_name(base: Path) -> ByName:
    """Return a folder's images by relative path without suffix. Raises UserError where it has none."""
    if not base.is_dir():
        mend = "`segpipe init-data` with your folder says which layout fits"
        raise UserError(f"{base}: no such folder; data.folder.layout needs it; {mend}")
    found: ByName = {}
    for path in filter(is_image, texts.visible(base)):
        found.setdefault(without_suffix(base, path), []).append(path)
    if not found:
        raise UserError(f"{base}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def split_word(*places: str) -> str:
    """Return the first word for a split in names of files, folders and subsets; none: an empty text."""
    words = re.findall("[a-z]+", " ".join(places).lower())
    return next((word for word in words if word in SPLIT_WORDS), "")


def splits_of(words: Iterable[str]) -> dict[str, Split]:
    """Return the split of each part of a folder, by its name (see `SPLIT_WORDS`).

    A validation part is the test split where there is no test part: that one is never missing.
    """
    known = {word: SPLIT_WORDS[word] for word in words}
    if "test" not in known.values():
        known = {word: "test" if split == "val" else split for word, split in known.items()}
    return known
