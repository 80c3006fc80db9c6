"""Which view of a picture its mask was drawn on: as EXIF turns it (upright), or as stored.

Tools differ, and a mask seldom says it. Where EXIF swaps width and height, the mask's size tells; one
decision then holds for the whole folder, because for a picture that is upside down nothing tells.
"""

import dataclasses
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

from PIL import ExifTags, Image

from segpipe.fetch.sample import Files, Note, Sample

SWAPPING = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def decided(samples: Sequence[Sample]) -> tuple[list[Sample], list[Note]]:
    """Return samples whose `upright` is set where EXIF turns the picture, and what there is to say."""
    turned, votes = set[str](), Counter[bool]()
    for sample in samples:
        if sample.upright is None and (found := _turned(sample)):
            turned.add(sample.name)
            votes.update(found.fitting)
    if not turned:
        return list(samples), []
    upright = votes[True] > votes[False]
    chosen = [dataclasses.replace(s, upright=upright) if s.name in turned else s for s in samples]
    view, other = ("upright", "stored") if upright else ("stored", "upright")
    said = f"EXIF turns {len(turned)} pictures; their masks are taken as drawn on the {view} view"
    if votes[not upright]:
        return chosen, [
            Note(
                f"{said}, as {votes[upright]} sizes tell; {votes[not upright]} fit only the {other} view"
            )
        ]
    if votes[upright]:
        return chosen, [Note(f"{said}, as {votes[upright]} sizes tell")]
    return chosen, [
        Note(f"{said}, though no size tells it: look at one, and turn the files if it is wrong")
    ]


@dataclasses.dataclass(frozen=True)
class _Turned:
    fitting: list[bool]  # whether the mask fits the upright view alone; empty where it fits both


def _turned(sample: Sample) -> _Turned | None:
    """Return what a mask's size tells about a picture that EXIF turns; None for any other picture."""
    try:
        with Image.open(sample.content.image) as picture:  # type: ignore[attr-defined]
            turn = orientation(picture)
            if turn not in range(2, 9):
                return None
            size = _mask_size(sample.content)
            stored, upright = (picture.height, picture.width), picture.size
            if turn not in SWAPPING or stored == upright or size not in (stored, upright):
                return _Turned([])
            return _Turned([size == upright])
    except (AttributeError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # not in one file, or unreadable: decoding it reports that


def _mask_size(content: Any) -> tuple[int, int] | None:
    """Return the height and width that a mask was drawn at, as its file or its annotation says."""
    if not isinstance(content, Files):
        return content.mask_size()
    with Image.open(content.mask) as mask:
        return mask.height, mask.width


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, without decoding a pixel; 1 (upright) where it cannot be read."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode a PNG to look behind its pixels
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1
