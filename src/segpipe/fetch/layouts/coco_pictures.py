"""Find the pictures that COCO's JSON files name, where an export or another machine put them."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from segpipe.fetch.layouts import matching
from segpipe.fetch.sample import Note

Named = defaultdict[Path, set[str]]
"""By folder, the pictures there that a JSON file names."""

Located = tuple[str, list[Path]]
"""The end of a path that there is below a folder, and the files that have it."""


def located(names: Sequence[PurePosixPath], folders: Sequence[Path]) -> list[Located]:
    """Return the end of each path that there is below `folders`, and the files that have it.

    The first folder counts that has the whole path. Another machine's path is found by its longest end,
    unless that is the whole path of another picture.
    """
    whole = [_whole(name, folders) for name in names]
    taken = {path for path in whole if path}
    return [
        (name.as_posix(), [path]) if path else _by_end(name, folders, taken)
        for name, path in zip(names, whole, strict=True)
    ]


def _whole(name: PurePosixPath, folders: Sequence[Path]) -> Path | None:
    if name.is_absolute():  # a sample must not be called by it, or splits would differ by machine
        return None
    return next((path for folder in folders if (path := _existing(folder, str(name)))), None)


def _by_end(name: PurePosixPath, folders: Sequence[Path], taken: set[Path]) -> Located:
    for n in range(1, len(name.parts)):
        end = "/".join(name.parts[n:])
        paths = [path for folder in folders if (path := _existing(folder, end))]
        if found := {path.resolve(): path for path in paths if path not in taken}:
            return end, [*found.values()]
    outside = _existing(Path(), name.as_posix()) if name.is_absolute() else None
    return name.as_posix(), [outside] if outside else []


def _existing(folder: Path, name: str) -> Path | None:
    """Return a file whose name the disk may hold in another Unicode form, as macOS writes it."""
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    return next((path for form in forms if os.path.isfile(path := folder / form)), None)  # noqa: PTH113


def unnamed(root: Path, named: Named) -> Iterator[Note]:
    """Count pictures that no JSON file names; folders without a named one may be no part of the set."""
    root, folders = root.resolve(), Named(set)
    for folder, names in named.items():  # of which two may be one, by a link
        folders[folder.resolve()].update(map(matching.normal, names))
    rest = [
        folder / name
        for folder, names in folders.items()
        for name in os.listdir(folder)  # noqa: PTH208 (100,000 pictures need no paths)
        if matching.normal(name) not in names and matching.is_image(Path(name))
    ]
    if rest:
        first = min(rest)
        shown = matching.relative(root, first) if first.is_relative_to(root) else first
        yield Note(f"{len(rest)} pictures are in no JSON file that is read and left out, as {shown}")
