"""Which pictures a command line means, and how what is predicted of them is called."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segpipe.common.errors import UserError
from segpipe.fetch.layouts.matching import SUFFIXES, is_image

MASKS, OVERLAYS, PROBABILITIES = "masks", "overlays", "probabilities"
"""The folders of an output folder."""

_SHOWN = 5


class Source(NamedTuple):
    """A picture to predict, and its name in the output folders: `sub/folder/stem`."""

    path: Path
    name: str


def find(inputs: Sequence[str], out: Path) -> list[Source]:
    """The pictures that files, folders and globs stand for, in the order given.

    Files of a folder (those with an image's suffix, at any depth) and of a glob keep their
    sub-folders in their names, counted from the folder, or from what stands before the first wildcard.

    Raises:
        UserError: an input stands for nothing; the output would be among the inputs, or the other way
            round; or two pictures would have one name.
    """
    found: dict[str, Path] = {}
    clashes = []
    for given in inputs:
        base, paths = _expand(given)
        _check_apart(given, base, out)
        for path in paths:
            name = _without_suffix(path.relative_to(base))
            other = found.setdefault(name, path)
            if other != path and not other.samefile(path):
                clashes.append(f"{other} and {path} would both be written to {name}.png")
    if clashes:
        more = f" (and {len(clashes) - _SHOWN} more)" if len(clashes) > _SHOWN else ""
        raise UserError(
            f"{'; '.join(clashes[:_SHOWN])}{more}; rename one, or predict them into two folders. "
            "Pictures keep their folders where the input is the folder above those"
        )
    return [Source(path, name) for name, path in found.items()]


def _expand(given: str) -> tuple[Path, list[Path]]:
    """The files that an input stands for, and the folder that their names are counted from."""
    path = Path(given)
    if path.is_dir():
        files = sorted(_images(path))
        if not files:
            raise UserError(f"{given}: holds no image ({', '.join(sorted(SUFFIXES))})")
        return path, files
    if path.exists() or not glob.has_magic(given):
        if not path.is_file():
            raise UserError(
                f"{given}: no such file or folder; give pictures, folders, or globs such as "
                "'photos/**/*.jpg'"
            )
        return path.parent, [path]
    wild = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    base, pattern = Path(*path.parts[:wild]), Path(*path.parts[wild:])
    files = sorted(match for match in base.glob(str(pattern)) if match.is_file() and not _shadow(match))
    if not files:
        raise UserError(f"{given}: matches no file; `**` stands for folders of any depth")
    return base, files


def _images(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            if is_image(path):
                yield path


def _shadow(path: Path) -> bool:
    """Whether a file is one of those that macOS leaves beside others in archives."""
    return path.name.startswith("._")


def _check_apart(given: str, base: Path, out: Path) -> None:
    """A second run must not predict what the first one wrote, nor any run write over its inputs."""
    inside, outside = base.resolve(), out.resolve()
    is_file = Path(given).is_file()
    if not is_file and outside.is_relative_to(inside):
        raise UserError(
            f"the output folder {out} is inside the input {given}: the next run would predict on "
            "what this one writes; choose a folder beside it"
        )
    if any(inside.is_relative_to(outside / part) for part in (MASKS, OVERLAYS, PROBABILITIES)):
        raise UserError(
            f"the input {given} is inside the output folder {out}, where it would be written over; "
            "choose another output folder"
        )


def _without_suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()
