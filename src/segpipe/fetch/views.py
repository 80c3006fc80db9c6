"""Which view of a picture its mask was drawn on: as EXIF turns it (upright), or as stored.

Tools differ, and a mask seldom says it. Where EXIF swaps width and height, the mask's size tells; one
decision then holds for the whole folder, because for a picture that is upside down nothing tells.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from segpipe.fetch.pillow import SWAPPING, open_file, orientation_of, unturned_size
from segpipe.fetch.sample import Files, Note, Sample


def decided(samples: Sequence[Sample]) -> tuple[list[Sample], list[Note]]:
    """Return samples, with `upright` set where EXIF turns the picture, and notes."""
    turned, votes = set[str](), Counter[bool]()
    for sample in samples:
        if sample.upright is None and (fits := _turned(sample)) is not None:
            turned.add(sample.name)
            votes.update(fits)
    if not turned:
        return list(samples), []
    upright = votes[True] > votes[False]
    chosen = [dataclasses.replace(s, upright=upright) if s.name in turned else s for s in samples]
    view, other = ("upright", "stored") if upright else ("stored", "upright")
    sentence = f"EXIF turns {len(turned)} pictures; their masks are taken as drawn on the {view} view"
    if not votes:
        unsure = "though no size tells it: look at one, and turn the files if it is wrong"
        return chosen, [Note(f"{sentence}, {unsure}")]
    against = f"; {votes[not upright]} fit only the {other} view" if votes[not upright] else ""
    return chosen, [Note(f"{sentence}, as {votes[upright]} sizes tell{against}")]


def _turned(sample: Sample) -> list[bool] | None:
    """Return whether the mask of a picture that EXIF turns fits the upright view alone.

    Nothing in the list: it fits both views. None: EXIF does not turn the picture.
    """
    try:
        with open_file(sample.content.image) as picture:  # type: ignore[attr-defined]
            turn = orientation_of(picture)
            if turn == 1:
                return None
            size, stored = _mask_size(sample.content), unturned_size(picture)
            upright = stored[::-1]
            is_told = turn in SWAPPING and stored != upright and size in (stored, upright)
            return [size == upright] if is_told else []
    except Exception:  # damaged bytes raise nearly anything; decoding reports that
        return None


def _mask_size(content: Any) -> tuple[int, int] | None:
    """Return the height and width that a mask was drawn at, as its file or its annotation says."""
    if not isinstance(content, Files):
        return content.mask_size()
    with open_file(content.mask) as mask:
        return unturned_size(mask)
