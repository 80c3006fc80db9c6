"""Samples, which any process can read, problems and notes: sources yield all three."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segpipe.common.errors import UserError
from segpipe.common.splits import Split

Picture = bytes | tuple[bytes, ...]  # an encoded picture, or one file a band
Mask = bytes | np.ndarray
"""An encoded mask, or one drawn from labels: class indices, uint8 [height, width], 255 is ignored."""


class Content(Protocol):
    """The encoded files of one sample; picklable, so that a worker process can read it."""

    def read(self) -> tuple[Picture, Mask]:
        """Return the encoded image, and its mask. Raises BadSampleError, and OSError."""


@dataclass(frozen=True)
class Sample:
    """A named image with its mask, not yet read."""

    name: str
    split: Split | None  # None where the folder does not say: `layouts.samples` decides
    image: str  # the file's name in messages, relative to the source's folder
    mask: str  # likewise
    content: Content
    group: str = ""  # samples of one group stay in one split; without it, the name is the group
    upright: bool | None = None
    """Whether the mask was drawn on the picture as EXIF turns it, or on the pixels as stored. None where
    the layout does not know: `layouts.samples` decides for the whole folder."""


@dataclass(frozen=True)
class Problem:
    """A sample that cannot be used: in which file, what was found, what was expected.

    `unknown` counts the pixels of each value, colour or label that the class table lacks; `area` is then
    the number of pixels of the mask.
    """

    file: str
    found: str
    expected: str
    unknown: dict[Any, int] = field(default_factory=dict)
    area: int = 0

    def __post_init__(self) -> None:
        """Make every text printable: file names may hold anything."""
        for name in ("file", "found", "expected"):
            object.__setattr__(self, name, _printable(getattr(self, name)))

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.file}: {self.found}; expected {self.expected}"


class BadSampleError(UserError):
    """A sample that cannot be used; carries the `Problem`."""

    def __init__(self, file: str, found: str, expected: str, **unknown: Any) -> None:
        super().__init__(file, found, expected)  # all that unpickling needs
        self.problem = Problem(file, found, expected, **unknown)

    def __str__(self) -> str:
        """Return one line for people."""
        return str(self.problem)


class TooLargeError(BadSampleError):
    """A picture of more pixels or bytes than are read."""


class OtherBandsError(BadSampleError):
    """A picture without the bands that are asked for; `expected` says how to ask for others."""


@dataclass(frozen=True)
class Note:
    """A remark on the source as a whole, such as files that are left out; no sample is bad."""

    text: str

    def __post_init__(self) -> None:
        """Make the text printable: file names may hold anything."""
        object.__setattr__(self, "text", _printable(self.text))


def _printable(text: str) -> str:
    """Return a text with escapes in place of what cannot be printed, or is no UTF-8."""
    decoded = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in decoded)


def badly_named(sample: Sample) -> Problem | None:
    """Return the problem of a sample's name, as `bad_name`."""
    return bad_name(sample.image, sample.image, sample.name)


def bad_name(file: str, *names: str) -> Problem | None:
    """Return the problem of a file of whose names one has a control character, or is no UTF-8.

    Other spaces than ASCII's are well: macOS puts them into names, and Japanese writers do.
    """
    if {*map(unicodedata.category, "".join(names))} & {"Cc", "Cs", "Zl", "Zp"}:
        return Problem(file, "an unprintable letter in its name", "printable UTF-8")
    return None


Samples = Iterator[Sample | Problem | Note]


def unreadable(file: str, error: OSError) -> BadSampleError:
    """Return the error for a file that the operating system does not let us read."""
    return BadSampleError(file, f"unreadable ({error.strerror or error})", "a readable file")


@dataclass(frozen=True)
class Files:
    """Content in two files."""

    image: Path
    mask: Path

    def read(self) -> tuple[bytes, bytes]:
        """Return the bytes of both files."""
        return self.image.read_bytes(), self.mask.read_bytes()


@dataclass(frozen=True)
class Encoded:
    """Content already in memory."""

    image: bytes
    mask: bytes

    def read(self) -> tuple[bytes, bytes]:
        """Return both."""
        return self.image, self.mask


@dataclass(frozen=True)
class Carried:
    """Content that was read already, so that a host without the files can check it."""

    result: tuple[Picture, Mask] | BadSampleError | OSError

    def read(self) -> tuple[Picture, Mask]:
        """Return both, or raise what reading raised."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    @property
    def weight(self) -> int:
        """The bytes of both."""
        if isinstance(self.result, Exception):
            return 0
        image, mask = self.result
        parts = [*(image if isinstance(image, tuple) else (image,)), mask]
        return sum(part.nbytes if isinstance(part, np.ndarray) else len(part) for part in parts)


def carried(item: Sample | Problem | Note) -> Sample | Problem | Note:
    """Return a sample with content that needs no file."""
    if not isinstance(item, Sample) or getattr(item.content, "needs_no_file", False):
        return item
    try:
        result: tuple[Picture, Mask] | BadSampleError | OSError = item.content.read()
    except (BadSampleError, OSError) as error:
        result = error
    return replace(item, content=Carried(result))


def weight(item: Sample | Problem | Note) -> int:
    """Return how many bytes a carried sample holds."""
    return item.content.weight if isinstance(item, Sample) and isinstance(item.content, Carried) else 0
