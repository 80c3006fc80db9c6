"""The user's own images and masks in a folder."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from segpipe.config import FolderParams
from segpipe.data.sample import Files, Problem, Sample, Split
from segpipe.errors import UserError
from segpipe.files import name_hash

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}


def samples(params: FolderParams) -> Iterator[Sample | Problem]:
    """Yield the folder's samples, test split first, each split in name order.

    Raises:
        UserError: the folder, or a part of it that the layout needs, is not there or is empty.
    """
    root = Path(params.path)
    if not root.is_dir():
        raise UserError(f"data.folder.path: there is no folder {root}; set it to your data's folder")
    return _oxford(root) if params.layout == "oxford" else _pairs(root, params.test_share)


def _oxford(root: Path) -> Iterator[Sample | Problem]:
    """`images/NAME.jpg`, `annotations/trimaps/NAME.png`, and two lists whose first words are names.

    The layout of https://www.robots.ox.ac.uk/~vgg/data/pets/. Files in neither list are not used.
    """
    images = _by_name(root, "images")
    masks = _by_name(root, "annotations/trimaps")
    names: dict[Split, list[str]] = {
        "test": [line.split()[0] for line in _lines(root / "annotations/test.txt")],
        "train": [line.split()[0] for line in _lines(root / "annotations/trainval.txt")],
    }
    return _matched(root, images, masks, names)


def _pairs(root: Path, test_share: float) -> Iterator[Sample | Problem]:
    """`images/NAME.*` and `masks/NAME.*`, split by `train.txt` and `test.txt` or by name hash."""
    images = _by_name(root, "images")
    masks = _by_name(root, "masks")
    lists = [root / "train.txt", root / "test.txt"]
    present = [path.name for path in lists if path.is_file()]
    names: dict[Split, list[str]]
    if len(present) == 1:
        raise UserError(
            f"{root}: holds {present[0]} alone; give both train.txt and test.txt, or neither"
        )
    if present:
        names = {
            "test": [_stem(line) for line in _lines(root / "test.txt")],
            "train": [_stem(line) for line in _lines(root / "train.txt")],
        }
    else:
        names = {"test": [], "train": []}
        for name in sorted({*images, *masks}):
            names["test" if name_hash(name, "test") < test_share else "train"].append(name)
    return _matched(root, images, masks, names)


def _matched(
    root: Path,
    images: dict[str, list[Path]],
    masks: dict[str, list[Path]],
    names: dict[Split, list[str]],
) -> Iterator[Sample | Problem]:
    """Pair each listed name's image with its mask."""
    repeated = {*names["train"]} & {*names["test"]}
    for name in sorted(repeated):
        yield Problem(name, "a name in both lists, train and test", "it in one of them")
    for split, listed in names.items():
        for name, count in sorted(Counter(listed).items()):
            if count > 1:
                yield Problem(name, f"a duplicate name, {count} times in the {split} list", "it once")
            if split == "train" and name in repeated:
                continue
            yield from _pair(root, name, split, images.get(name, []), masks.get(name, []))


def _pair(
    root: Path, name: str, split: Split, images: list[Path], masks: list[Path]
) -> Iterable[Sample | Problem]:
    for what, other, found in (("image", masks, images), ("mask", images, masks)):
        if len(found) > 1:
            files = " and ".join(sorted(_relative(root, path) for path in found))
            return [Problem(files, f"a duplicate name, {len(found)} files for {name}", f"one {what}")]
        if not found:
            file = _relative(root, other[0]) if other else name
            where = "its partner" if other else "a name in the list"
            return [Problem(file, f"no {what} for {where}", f"a file of the same stem, {name}")]
    image, mask = images[0], masks[0]
    content = Files(image.resolve(), mask.resolve())
    return [Sample(name, split, _relative(root, image), _relative(root, mask), content)]


def _by_name(root: Path, folder: str) -> dict[str, list[Path]]:
    """Files under `folder` by their path without suffix; sub-folders are part of the name."""
    base = root / folder
    if not base.is_dir():
        raise UserError(f"{base}: no such folder; data.folder.layout says what is looked for")
    found: dict[str, list[Path]] = {}
    for path in sorted(base.rglob("*")):
        # ._NAME files are what macOS leaves in archives (the pets' own holds some).
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("._"):
            found.setdefault(path.relative_to(base).with_suffix("").as_posix(), []).append(path)
    if not found:
        raise UserError(f"{base}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def _lines(path: Path) -> list[str]:
    """The lines of a list that are neither empty nor a comment."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the layout needs this list of names")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save the list in that encoding") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _stem(line: str) -> str:
    """A listed name, whether it was written with its suffix or without."""
    path = PurePosixPath(line)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else line


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
