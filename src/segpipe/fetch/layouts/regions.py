"""Shared by the layouts of annotation tools in a browser: CVAT and Label Studio.

Their coordinates count from the left upper corner of the picture, so that pixel 0 lies between 0 and 1.
Outlines are filled as pycocotools does it, with which both tools make masks of them: a pixel is covered
where its middle lies inside. Both draw on the upright view of a picture.
"""

import itertools
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from pycocotools import mask

from segpipe.common.classes import ClassTable
from segpipe.fetch.layouts import matching, polygons, texts
from segpipe.fetch.sample import BadSampleError, Mask, Note, Problem, Samples

_LONGEST = 2_000_000  # pixels along an outline; filling takes about 100 bytes for each
_OF_REGION = re.compile(r"task-\d+-annotation-\d+-by-.*")  # a mask that Label Studio exported
_UPLOADED = re.compile("^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class Region(Protocol):
    """A labelled part of a picture."""

    @property
    def label(self) -> str:
        """The label, as the file has it."""

    def draw(self, drawing: np.ndarray, number: int) -> None:
        """Set the pixels that it covers to `number`. Raises ValueError and KeyError where it cannot."""


@dataclass(frozen=True)
class Annotated:
    """Content whose mask is drawn where it is read: each region over the regions before it."""

    image: Path
    height: int | None  # of the picture, as annotated
    width: int | None
    regions: Sequence[Region]
    table: ClassTable
    file: str

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask.

        Raises BadSampleError where a label is no class, or a region cannot be drawn.
        """
        image = self.image.read_bytes()
        size = polygons.canvas_size(image, self.height, self.width, self.file, upright=True)
        if size is None:
            return image, b""
        drawing = np.zeros(size, np.int32)
        for number, region in enumerate(self.regions, 1):
            try:
                region.draw(drawing, number)
            except (ValueError, KeyError) as error:
                what = f"region {number}, {region.label!r}, cannot be drawn"
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise BadSampleError(self.file, f"{what} ({reason})", "a whole shape") from None
        labels = [region.label for region in self.regions]
        return image, polygons.indices(drawing, labels, self.table, self.file)


def fill(drawing: np.ndarray, points: object, number: int) -> None:
    """Set the pixels inside a polygon to `number`; one or two points cover nothing.

    `points` are pairs of x and y. Raises ValueError where they are no finite numbers, or the outline is
    absurdly long.
    """
    corners = polygons.outline(points, (drawing.shape[0], drawing.shape[1]))
    if len(corners) < 3:
        return
    length = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
    if length > _LONGEST:
        raise ValueError(f"an outline of {length:.3g} pixels")
    whole = np.array(drawing.shape[::-1])
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    if (low < 0).any() or (high > whole).any():
        low, high = np.zeros_like(whole), whole
    width, height = np.maximum(high - low, 1).tolist()
    runs = mask.frPyObjects([(corners - low).ravel().tolist()], height, width)
    window = drawing[low[1] : low[1] + height, low[0] : low[0] + width]
    window[mask.decode(runs)[: window.shape[0], : window.shape[1], 0] == 1] = number


def ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
    """Return the outline of an ellipse with its middle and its two radii: float64 [360, 2]."""
    angles = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return the four corners of a rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def turned(points: np.ndarray, degrees: float, x: float, y: float) -> np.ndarray:
    """Turn points clockwise, as seen in the picture, around the point `x`, `y`."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - (x, y)) @ turn + (x, y)


Content = tuple[str, str, Annotated | Problem]  # the word for a split, the sample's name, its content


class Pictures:
    """The pictures in a folder, found by the paths that an annotation tool wrote."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name = defaultdict[str, list[Path]](list)
        self._used: set[Path] = set()
        for path in pictures_in(root):
            stem = {texts.local(path.stem).name} if not matching.is_image(Path(path.stem)) else set()
            for name in {texts.local(path.name).name, _plain(path.name), *stem}:
                for key in (name, f"{path.parent.name}/{name}"):
                    self._by_name[key].append(path)

    def find(self, path: PurePosixPath, near: Path, folders: int = 0) -> list[Path]:
        """Return the pictures whose path ends most like `path`: one, unless that is ambiguous.

        At least the name is equal, after Label Studio's changes to it, and so are `folders` of the
        folders before it. A name may lack its suffix, as CVAT calls the frames of a video. Pictures
        below the folder `near` go first.
        """
        uploaded = _plain(path.name)
        names = (path.name, uploaded, _UPLOADED.sub("", uploaded, count=1))
        keys = [key for name in names for key in (f"{path.parent.name}/{name}", name)]
        candidates = next((self._by_name[key] for key in keys if key in self._by_name), [])
        there = (near / path, near / "images" / path)  # a.jpg is not sub/a.jpg
        scores = [
            (
                self._equal_folders(candidate, path),
                candidate.is_relative_to(near),
                candidate in there or candidate.with_suffix("") in there,
            )
            for candidate in candidates
        ]
        best = max(scores, default=(0, False, False))
        if best[0] < folders:
            return []
        equal = [candidate for candidate, score in zip(candidates, scores, strict=True) if score == best]
        self._used |= {*equal}
        return equal

    def one(self, path: PurePosixPath, near: Path, called: str, folders: int = 0) -> Path | Problem:
        """Return the picture that `find` finds, or the problem of the annotation called `called`."""
        matches = self.find(path, near, folders)
        if len(matches) == 1:
            return matches[0]
        several = " and ".join(matching.relative(self.root, picture) for picture in matches[:3])
        expected = f"one picture {path.name or 'with a name'} in {self.root}"
        return Problem(called, several or f"no picture {path}", expected)

    def unused(self, annotations: str) -> list[Note]:
        """Return a note on the pictures that were never found, if there are any."""
        rest = sorted({path for paths in self._by_name.values() for path in paths} - self._used)
        if not rest:
            return []
        first = matching.relative(self.root, rest[0])
        return [Note(f"{len(rest)} pictures are in no {annotations} and left out, as {first}")]

    def _equal_folders(self, picture: Path, path: PurePosixPath) -> int:
        ours = texts.local(matching.relative(self.root, picture)).parent.parts[::-1]
        pairs = zip(ours, path.parent.parts[::-1], strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _plain(name: str) -> str:
    """Return a file's name as Label Studio stores uploads (Django's `get_valid_filename`)."""
    spaced = unicodedata.normalize("NFC", name).strip().replace(" ", "_")
    return re.sub(r"[^-\w.]", "", spaced)


def pictures_in(root: Path) -> Iterator[Path]:
    """Yield the pictures in a folder and below, without masks of regions."""
    images = filter(matching.is_image, texts.visible(root))
    return (path for path in images if not _OF_REGION.match(path.name))


def samples(root: Path, contents: Iterable[Content]) -> Samples:
    """Yield the samples of contents, each with its word for a split and its name.

    Words part the pictures where there are several; one alone parts nothing.
    """
    listed = list(contents)
    words = {word for word, _, _ in listed if word}
    splits = matching.splits_of(words) if len(words) > 1 else {}
    apart = sum(not word and isinstance(item, Annotated) for word, _, item in listed) if splits else 0
    if apart:
        yield Note(f"{apart} pictures are in none of {', '.join(sorted(words))}: split by their names")
    split_items = ((splits.get(word), name, item) for word, name, item in listed)
    yield from polygons.drawn(root, split_items, upright=True)
