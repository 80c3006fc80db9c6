"""The base of all writers of labels: pictures are copied, labels are made, then added."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segpipe.common.classes import IGNORE, ClassTable
from segpipe.fetch.layouts.matching import SUFFIXES
from segpipe.fetch.layouts.polygons import IGNORE_LABEL
from segpipe.fetch.pillow import open_one
from segpipe.fetch.sample import BadSampleError, bad_name
from segpipe.fetch.stored import PNG, format_of

_BY_FORMAT = {
    "DICOM": ".dcm", "JPEG": ".jpg", "JPEG 2000": ".jp2", "MPO": ".jpg", PNG: ".png", "TIFF": ".tif",
}  # fmt: skip


class Entry(NamedTuple):
    """A picture and its labels, in the tool's terms."""

    name: str  # the path of the picture
    size: tuple[int, int]  # height and width, as EXIF turns it
    labels: Any
    remark: str = ""  # on labels that a tool may read in another way
    ignores: bool = False  # whether some of its pixels are ignored


class Tool:
    """Writes the labels of pictures to a folder; this one writes the pictures alone."""

    pictures = "images"  # their folder
    ignores = False  # whether a picture that was entered has ignored pixels

    def __init__(self, folder: Path, table: ClassTable) -> None:
        self.folder, self.table = folder, table
        self._open = contextlib.ExitStack()
        folder.mkdir(parents=True)

    def of(self, picture: Path, name: str, mask: np.ndarray) -> Entry:
        """Copy a picture, and make its labels; callable from any thread.

        `name` is the picture's without suffix, `mask` holds class indices, uint8 [height, width] of the
        upright picture, 255 for ignored pixels. Raises BadSampleError where no tool's file holds the
        name.
        """
        size, labels, remark = (mask.shape[0], mask.shape[1]), self.encoded(mask), self.remark(picture)
        ignores = bool((mask == IGNORE).any())
        return Entry(self.copy(picture, name), size, labels, remark, ignores)

    def copy(self, picture: Path, name: str) -> str:
        """Copy a picture; return its path in the folder of pictures. Raises as `of`."""
        if problem := bad_name(str(picture), name):
            raise BadSampleError(problem.file, problem.found, problem.expected)
        suffix = _suffix(picture)
        copy = self.folder / self.pictures / f"{name}{suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, copy)
        return f"{name}{suffix}"

    def remark(self, picture: Path) -> str:
        """Say which labels a tool may read in another way; empty if there are none."""
        return ""

    def encoded(self, mask: np.ndarray) -> Any:
        """Return the labels of a mask."""

    def add(self, entry: Entry) -> None:
        """Write the labels of a picture; called from one thread, in the order of the pictures."""

    def enter(self, entry: Entry) -> None:
        """Add the labels of a picture; remove its copy if they cannot be: alone it means background."""
        self.ignores |= entry.ignores
        try:
            self.add(entry)
        except OSError:
            (self.folder / self.pictures / entry.name).unlink()
            raise

    def finish(self) -> None:
        """Write what comes after all pictures."""

    def close(self) -> None:
        """Close what is open."""
        self._open.close()

    def open(self, name: str) -> Any:
        """Open a text file to write to, until `close`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._open.enter_context(path.open("w", encoding="utf-8", newline="\n"))

    @staticmethod
    def write(path: Path, text: str) -> None:
        """Write a text file; the folder as a whole becomes visible later."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    @property
    def colours(self) -> dict[str, str]:
        """Colours as `#rrggbb` by label; white for ignored pixels, where there are some."""
        return self.table.colours | ({IGNORE_LABEL: "#ffffff"} if self.ignores else {})

    def label(self, index: int) -> str:
        """Return the label of a class index."""
        return IGNORE_LABEL if index == IGNORE else self.table.names[index]

    def present(self, mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the index and the pixels, bool, of each class but that of pixels without a label."""
        for index in np.unique(mask).tolist():
            if index != self.table.uncovered:
                yield index, mask == index


def _suffix(picture: Path) -> str:
    """Return a picture's suffix; that of its format where tools would not know the suffix."""
    if picture.suffix.lower() in SUFFIXES:
        return picture.suffix
    data = picture.read_bytes()
    kind = format_of(data) or str(open_one(data, str(picture)).format)
    return _BY_FORMAT.get(kind, f".{kind.lower()}")
