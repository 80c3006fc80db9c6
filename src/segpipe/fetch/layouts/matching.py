"""What the layouts share: which files belong together, and which split they are in."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.fetch.sample import Files, Problem, Sample, Split

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annot", "segmentations", "gt")
"""What folders of images and of masks are called; of several, the first is taken."""

MASK_ENDINGS = (
    "_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_annot", "_gt", "_L",
)  # fmt: skip
"""What the name of a mask may hold more than that of its image."""

SPLIT_WORDS: dict[str, Split | None] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": None, "valid": None, "validation": None,
}  # fmt: skip
"""What splits are called; which one a validation part goes to, `splits_of` says."""

ByName = dict[str, list[Path]]
"""Files by name; a good name has one."""

Listed = dict[Split, list[str]]
"""Names by split, test first."""


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; `._NAME` files are what macOS leaves in archives."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def has_images(folder: Path) -> bool:
    """Whether there is an image in the folder or below."""
    return folder.is_dir() and any(is_image(path) for path in folder.rglob("*"))


def by_name(base: Path) -> ByName:
    """Images under `base` by their path without suffix; sub-folders are part of the name.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not base.is_dir():
        raise UserError(
            f"{base}: no such folder; data.folder.layout says what is looked for, "
            "and `segpipe init-data` with your folder which layout fits"
        )
    found: ByName = {}
    for path in sorted(base.rglob("*")):
        if is_image(path):
            found.setdefault(path.relative_to(base).with_suffix("").as_posix(), []).append(path)
    if not found:
        raise UserError(f"{base}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def first_folder(root: Path, names: Iterable[str]) -> Path:
    """The first of the folders that there is; where there is none, the first that was looked for."""
    folders = [root / name for name in names]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def without_endings(masks: ByName, images: Iterable[str]) -> ByName:
    """The masks by the names of their images: `NAME_mask` is that of `NAME`, where there is one."""
    known, renamed = {*images}, ByName()
    for name, paths in masks.items():
        bases = [name.removesuffix(e) for e in MASK_ENDINGS if name.endswith(e)]
        own = [name] if name in known else [base for base in bases if base in known]
        renamed.setdefault((own or [name])[0], []).extend(paths)
    return renamed


def splits_of(words: Iterable[str]) -> dict[str, Split]:
    """Which split each part of a folder is, by what it is called (see `SPLIT_WORDS`).

    A validation part is the test split where there is no test part. Otherwise it joins training, from
    which `preprocess` cuts validation by hash of the name.
    """
    known = {word: SPLIT_WORDS[word] for word in words}
    validation: Split = "train" if "test" in known.values() else "test"
    return {word: split or validation for word, split in known.items()}


def by_hash(names: Iterable[str], test_share: float, group: dict[str, str] | None = None) -> Listed:
    """Names by split; equal groups (a name's own, by default) go to the same split."""
    listed: Listed = {"test": [], "train": []}
    for name in sorted(names):
        listed[split_by_hash((group or {}).get(name, name), test_share)].append(name)
    return listed


def split_by_hash(name: str, test_share: float) -> Split:
    """The split of a name that no list and no folder puts into one."""
    return "test" if name_hash(name, "test") < test_share else "train"


def matched(
    root: Path, images: ByName, masks: ByName, names: Listed, group: dict[str, str] | None = None
) -> Iterator[Sample | Problem]:
    """Pair each listed name's image with its mask.

    Args:
        root: what messages name files relative to.
        images: by name.
        masks: by the names of their images.
        names: those to use, by split.
        group: by name, what it must not be parted from (see `Sample`).
    """
    repeated = {*names["train"]} & {*names["test"]}
    for name in sorted(repeated):
        yield Problem(name, "a name in both lists, train and test", "it in one of them")
    for split, listed in names.items():
        for name, count in sorted(Counter(listed).items()):
            if count > 1:
                yield Problem(name, f"a duplicate name, {count} times in the {split} list", "it once")
            if split == "train" and name in repeated:
                continue
            yield _pair(root, name, split, images, masks, (group or {}).get(name, ""))


def _pair(
    root: Path, name: str, split: Split, images: ByName, masks: ByName, group: str
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


def lines(path: Path) -> list[str]:
    """The lines of a list that are neither empty nor a comment.

    Raises:
        UserError: there is no such file, or it is no UTF-8 text.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; the layout needs this list of names")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save the list in that encoding") from None
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def stem(line: str) -> str:
    """A listed name, whether it was written with its suffix or without."""
    path = PurePosixPath(line)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else line


def relative(root: Path, path: Path) -> str:
    """How messages call a file."""
    return path.relative_to(root).as_posix()
