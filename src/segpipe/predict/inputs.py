"""The pictures that a command line names, and their names in the output folder."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from segpipe.common.errors import UserError
from segpipe.common.words import few
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.layouts.matching import SUFFIXES, is_image

# In the output folder:
MASKS, OVERLAYS, PROBABILITIES, LABELS = "masks", "overlays", "probabilities", "labels"
_SHOWN = 5


class Source(NamedTuple):
    """A picture to predict, and its name in the output folders: `sub/folder/stem`."""

    path: Path
    name: str


def find(inputs: Sequence[str], out: Path) -> list[Source]:
    """Return the pictures that files, folders and globs stand for, in the order given.

    Pictures of a folder (by suffix, at any depth) and of a glob keep their sub-folders in their names,
    relative to the folder, or to the part before the first wildcard.

    Raises:
        UserError: an input stands for nothing; the output would be among the inputs, or the other way
            round; or two pictures would have one name.
    """
    paths: dict[str, Path] = {}
    clashes = []
    for path, name in pictures(inputs, out):
        other = paths.setdefault(name, path)
        if other != path and not other.samefile(path):
            clashes.append(f"{other} and {path} would both be written to {name}.png")
    if clashes:
        more = f" (and {len(clashes) - _SHOWN} more)" if len(clashes) > _SHOWN else ""
        raise UserError(
            f"{'; '.join(clashes[:_SHOWN])}{more}; rename one, or predict them into two folders. "
            "Pictures keep their folders where the input is the folder above those"
        )
    return [Source(path, name) for name, path in paths.items()]


def require_own_output(out: Path) -> None:
    """Raise UserError where `out` holds masks or overlays of somebody else, which would be written over.

    `predict` writes both: one without the other, such as true masks, is not its own.
    """
    held = [part for part in (MASKS, OVERLAYS) if any(texts.visible(out / part))]
    if len(held) == 1:
        (other,) = {MASKS, OVERLAYS} - {*held}
        raise UserError(
            f"{out / held[0]} holds files that `segpipe predict` did not write, since there are no "
            f"{other} beside them, and they would be written over; choose another -o, or remove them"
        )


def pictures(inputs: Sequence[str], out: Path) -> Iterator[Source]:
    """Yield pictures as `find` returns them, but several may have one name."""
    for pattern in inputs:
        base, paths = _expand(pattern)
        _check_apart(pattern, base, out)
        for path in paths:
            within = path.relative_to(base)
            is_picture = within.suffix.lower() in SUFFIXES
            yield Source(path, (within.with_suffix("") if is_picture else within).as_posix())


def left_out(inputs: Sequence[str]) -> str:
    """Count and name the files of folders that are no known pictures; empty without any.

    Hidden files do not count.
    """
    folders = [Path(pattern) for pattern in inputs if Path(pattern).is_dir()]
    others = [file for folder in folders for file in texts.visible(folder) if not is_image(file)]
    if not others:
        return ""
    kinds = Counter(path.suffix.lower() or "without suffix" for path in others)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{len(others)} files are no known picture ({counts}): {few(others, _SHOWN)}"


def on_split_folders(names: Iterable[str]) -> str:
    """Return a remark on folders of pictures that `fetch` would take for splits; empty without any."""
    words = matching.split_words({part for name in names for part in PurePosixPath(name).parent.parts})
    if not words:
        return ""
    return (
        f"sub-folders are called as splits are ({', '.join(words)}): `fetch` takes them for such, and "
        "may leave out the pictures beside them; rename them first, or take one folder alone"
    )


def _expand(pattern: str) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the files that an input stands for."""
    path = Path(pattern)
    if path.is_dir():
        files = [file for file in texts.visible(path) if is_image(file)]
        if not files:
            seen = left_out([pattern])
            known = ", ".join(sorted(SUFFIXES))
            raise UserError(f"{pattern}: holds no image ({known}){'; ' if seen else ''}{seen}")
        return path, files
    if path.exists() or not glob.has_magic(pattern):
        if not path.is_file():
            raise UserError(
                f"{pattern}: no such file or folder; give pictures, folders, or globs such as "
                "'photos/**/*.jpg'"
            )
        return path.parent, [path]
    wild = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base, below = Path(*path.parts[:wild]), Path(*path.parts[wild:])
    matches = (match for match in base.glob(str(below)) if match.is_file())
    files = sorted(match for match in matches if not match.name.startswith("._"))  # macOS' own files
    if not files:
        raise UserError(f"{pattern}: matches no file; `**` stands for folders of any depth")
    return base, files


def _check_apart(pattern: str, base: Path, out: Path) -> None:
    """Refuse inputs among the outputs or the other way round: runs would predict on what they wrote."""
    inside, outside = base.resolve(), out.resolve()
    if outside.is_relative_to(inside) and _reaches(pattern, base, outside.relative_to(inside)):
        raise UserError(
            f"the output folder {out} is inside the input {pattern}: the next run would predict on "
            "what this one writes; choose a folder beside it"
        )
    if any(inside.is_relative_to(outside / part) for part in (MASKS, OVERLAYS, PROBABILITIES, LABELS)):
        raise UserError(
            f"the input {pattern} is inside the output folder {out}, where it would be written over; "
            "choose another output folder"
        )


def _reaches(pattern: str, base: Path, out: Path) -> bool:
    """Return whether an input would stand for files in the folder `out` below its base."""
    if Path(pattern).exists():
        return Path(pattern).is_dir()
    parts = Path(pattern).parts[len(base.parts) :]
    if "**" in parts:
        return True
    return len(parts) > len(out.parts) and all(map(fnmatch, out.parts, parts))
