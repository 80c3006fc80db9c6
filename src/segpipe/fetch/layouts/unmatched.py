"""Why no picture of a folder has a mask, for people."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from segpipe.fetch.layouts import LAYOUTS, looks, matching, open_layout, partners, streams, texts
from segpipe.fetch.layouts.matching import MASK_WORDS, SUFFIXES, File, is_image

_VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
_LABELS = {".json", ".xml", ".csv"}  # that annotation tools write


def reason(root: Path) -> str:
    """Return one line: what was seen, and what to do."""
    files = matching.all_parsed(root, [*texts.visible(root)])
    images = [file for file in files if is_image(file.path)]
    if rivals := _rivals(images):
        return several(root, rivals)
    cause = next(_causes(root, files, images), "")
    known = f"docs/own-data.md for the layouts {', '.join(LAYOUTS)}"
    if not images:
        others = cause or _suffixes(files) or "no file"
        suffixes = ", ".join(sorted(SUFFIXES))
        return f"{root}: holds no image; expected some ({suffixes}), found {others}; see {known}"
    folders = sorted({_folder(root, file) for file in images})
    more = f" and {len(folders) - 5} more folders" if len(folders) > 5 else ""
    seen = f"{len(images)} images (in {', '.join(folders[:5])}{more}), and no masks that go with them"
    mend = f"put masks of equal stems into masks/ and images into images/, or see {known}"
    return f"{root}: {seen}{cause and ': '}{cause}; {mend}"


def several(root: Path, rivals: list[str]) -> str:
    """Return one line: masks among which nobody can choose, and what to do."""
    mend = "keep one kind, or one folder a class, or merge them; see docs/layouts.md"
    return f"{root}: holds pictures, but each has several masks ({', '.join(rivals)}): {mend}"


def _rivals(images: list[File]) -> list[str]:
    parts: dict[str, list[File]] = {}
    for file in images:
        parts.setdefault(file.part, []).append(file)
    matches = (partners.match(members) for members in parts.values())
    return next((matched.rivals for matched in matches if matched.rivals), [])


def _causes(root: Path, files: list[File], images: list[File]) -> Iterator[str]:
    """Yield possible reasons, the most telling first."""
    for name in (file.path.name for file in files):
        if name.lower().endswith(_VOLUMES):
            yield f"{name} is a volume, and segpipe takes single pictures: save its slices"
        elif Path(name).suffix.lower() in matching.ARCHIVES:
            yield f"{name} is an archive: unpack it"
    for file in (file for file in files if file.path.suffix.lower() in _LABELS):
        lost = streams.lost if _called_as_coco(file.path.name.lower()) else texts.lost
        if reason := lost(file.path):
            yield f"{matching.relative(root, file.path)} is {reason}"
    for word in MASK_WORDS:
        inside = [file for file in files if file.word == word]
        if inside and not any(is_image(file.path) for file in inside):
            yield f"{_folder(root, inside[0])}/ holds {_suffixes(inside)}"
    folders: dict[str, dict[str, File]] = {}
    for file in images:
        folders.setdefault(_folder(root, file), {})[file.stem.casefold()] = file
    for (folder, own), (beside, others) in (
        (a, b) for a in folders.items() for b in folders.items() if a < b
    ):
        if shared := sorted(own.keys() & others.keys()):
            both = (own[shared[0]], others[shared[0]])
            yield from _of_one_name(f"{folder}/", f"{beside}/", both, len(shared))
    masks = {file.stem: file for file in images if file.word in MASK_WORDS}
    others = {file.stem: file for file in images if file.word not in MASK_WORDS}
    if masks and others:
        pair = (
            f"{_folder(root, side[min(side)])}/{side[min(side)].path.name}" for side in (others, masks)
        )
        yield f"no name of a mask is that of a picture ({', '.join(pair)})"
    first = {file.path.parent: file.path for file in reversed(files) if file.path.suffix == ".json"}
    below = [path for path in first.values() if open_layout("coco").is_coco(path)]
    if len(below) == 1:
        yield f"{matching.relative(root, below[0])} is COCO's: give its folder, {below[0].parent}"
    if labels := [file for file in files if file.path.suffix.lower() in _LABELS]:
        where = _folder(root, labels[0]).removeprefix(".") or "the folder"
        yield f"{where} holds {_suffixes(labels)} of a kind that is not read"


def _called_as_coco(name: str) -> bool:
    return name.endswith(".json") and (name.startswith("instances") or "coco" in name)


def _of_one_name(folder: str, beside: str, pair: tuple[File, File], count: int) -> Iterator[str]:
    """Yield why two folders that share names are no pairs; photographs in both may be batches."""
    first, second = (file.path.name for file in pair)
    roles = sorted(file.word in MASK_WORDS for file in pair if file.word)
    if Path(first).stem != Path(second).stem:
        yield f"names differ in letter case ({first} in {folder}, {second} in {beside})"
    if roles == [False, True]:
        mend = "give pictures and masks the same sub-folders"
        yield f"{folder} and {beside} share {count} names, but lie in different sub-folders: {mend}"
    elif not all(looks.like_mask(file.path) is False for file in pair):
        yield f"{folder} and {beside} share {count} names: call them images/ and masks/"


def _suffixes(files: list[File]) -> str:
    counts = Counter(file.path.suffix.lower() or "files without suffix" for file in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(3))


def _folder(root: Path, file: File) -> str:
    return matching.relative(root, file.path.parent)
