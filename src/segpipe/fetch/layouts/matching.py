"""Roles, splits and names that the paths of files tell."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
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

_SHORT = {"tr": "train", "te": "test", "ts": "test"}  # only beside more letters, as in DUTS-TR
_WITHIN = re.compile(
    rf"(?<![a-z])(?:{'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))}"
    rf"|(?:{'|'.join(_SHORT)})(?![a-z]))"
)

ByName = dict[str, list[Path]]  # files by name; a good name has one
Called = tuple[tuple[str, str], ...]  # names with their split words, as `split_words` returns them


def _folder_pattern() -> re.Pattern[str]:
    both = (SPLIT_WORDS, (*IMAGE_WORDS, *MASK_WORDS))
    splits, words = ("|".join(sorted(each, key=len, reverse=True)) for each in both)
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


def parsed(root: Path, path: Path, called: Called = ()) -> File:
    """Parse a path below `root`; `called` are names of folders with their split words."""
    return File(path, *_parse_folders(normal(relative(root, path.parent)), called), normal(path.stem))


def tells_role(folder: str) -> bool:
    """Return whether a folder is called as one of images or of masks."""
    return bool(_FOLDER.fullmatch(folder.lower()))


def all_parsed(root: Path, paths: Sequence[Path]) -> list[File]:
    """Parse paths; together they tell which folders are splits."""
    folders = {relative(root, path.parent) for path in paths}
    names = {name for folder in folders for name in PurePosixPath(folder).parts}
    called = tuple(split_words(map(normal, names)).items())
    return [parsed(root, path, called) for path in paths]


@functools.lru_cache(maxsize=1 << 12)
def _parse_folders(folders: str, called: Called) -> tuple[str, str, str]:
    """Return the word, the part and the place that folders tell."""
    word = part = place = ""
    words = {name: name for name in SPLIT_WORDS} | dict(called)
    for folder in reversed(PurePosixPath(folders).parts):  # the innermost word tells the role
        kept = folder
        if match := _FOLDER.fullmatch(folder.lower()):
            word = word or match["word"]
            kept = match["split"] or match["after"] or words.get(folder.lower(), "")
        part = words.get(kept.lower(), part)
        place = f"{kept}/{place}" if kept else place
    return word, part, place


def by_name(base: Path) -> ByName:
    """Return a folder's images by relative path without suffix. Raises UserError where it has none."""
    if not base.is_dir():
        mend = "`segpipe init-data` with your folder says which layout fits"
        raise UserError(f"{base}: no such folder; data.folder.layout needs it; {mend}")
    named: ByName = {}
    for path in filter(is_image, texts.visible(base)):
        named.setdefault(without_suffix(base, path), []).append(path)
    if not named:
        raise UserError(f"{base}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return named


def split_words(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are a split's, in small letters, each with its word in `SPLIT_WORDS`.

    A word alone is one. A name with a word inside is one where another name differs in that word only,
    apart from numbers and separators, and one of them is for training: `uavid_train` and `uavid_val`.
    """
    alike: dict[str, dict[str, str]] = {}
    for name in sorted({name.lower() for name in names}):
        for match in _WITHIN.finditer(name):
            around = re.sub(r"[\W\d_]", "", name[: match.start()] + " " + name[match.end() :])
            if match[0] in SPLIT_WORDS or around:
                alike.setdefault(around, {})[name] = _SHORT.get(match[0], match[0])
    words = {name: name for members in alike.values() for name in members if name in SPLIT_WORDS}
    for members in alike.values():
        splits = {SPLIT_WORDS[word] for word in members.values()}
        words |= members if "train" in splits and len(splits) > 1 else {}
    return words


def split_word(*places: str) -> str:
    """Return the first word for a split in names of files, folders and subsets; none: an empty text."""
    words = re.findall("[a-z]+", " ".join(places).lower())
    return next((word for word in words if word in SPLIT_WORDS), "")


def holds_out(name: str) -> bool:
    """Return whether a word in the name of a file or of folders is for test or validation."""
    return SPLIT_WORDS.get(split_word(name), "train") != "train"


def splits_of(words: Iterable[str]) -> dict[str, Split]:
    """Return the split of each part of a folder, by its name (see `SPLIT_WORDS`).

    A validation part is the test split where there is no test part: that one is never missing.
    """
    known = {word: SPLIT_WORDS[word] for word in words}
    if "test" not in known.values():
        known = {word: "test" if split == "val" else split for word, split in known.items()}
    return known
