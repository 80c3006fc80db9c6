"""Corrected labels replace the masks of the same names in the user's own folder.

Only the pixels whose class changed get another value; all others keep theirs, and so does a mask in
which nothing changed.
"""

import io
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.classes import IGNORE, ClassTable, is_colour
from segpipe.common.codec import decode_png
from segpipe.common.duplicates import NEAR
from segpipe.common.errors import UserError
from segpipe.common.files import replaces
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.words import listed, width_by_height
from segpipe.fetch import layouts
from segpipe.fetch.integrity import decode_pair, mask_pixels
from segpipe.fetch.layouts import matching
from segpipe.fetch.ledger import Checked
from segpipe.fetch.raw import check
from segpipe.fetch.sample import BadSampleError, Files, Note, Problem, Sample
from segpipe.fetch.stored import PNG_SIGNATURE
from segpipe.fetch.tally import Tally, changes

Pair = tuple[Sample, Sample | None]  # a sample of the folder, and its correction


class State(NamedTuple):
    """A mask as `fetch` keeps it."""

    digest: str  # SHA-256 of its PNG
    pixels: dict[str, int]  # by class

    @classmethod
    def of(cls, checked: Checked) -> "State":
        """Return the state of a sample's mask."""
        return cls(sha256(checked.mask).hexdigest(), checked.classes)


@dataclass(frozen=True)
class Compared:
    """A mask before and after."""

    sample: Sample
    before: State
    after: State
    changed: int = 0  # pixels
    content: bytes | None = None  # what the mask's file is to hold; None: what it holds

    @property
    def is_emptied(self) -> bool:
        """Whether the mask had several classes, and has one."""
        before, after = (sum(map(bool, one.pixels.values())) for one in (self.before, self.after))
        return before > 1 >= after


@dataclass(frozen=True)
class Corrected:
    """What corrections changed."""

    before: Tally
    after: Tally
    corrected: int  # masks that have a correction
    changed: int  # pixels
    unmatched: list[str]  # corrections without a mask of their name
    damaged: list[Problem]  # masks without a correction that cannot be read
    emptied: list[str]  # masks of several classes of which one is left, as where nothing is drawn yet
    notes: list[str]  # what the reader of the corrections says, such as what it does not draw

    def __str__(self) -> str:
        """Return one line for people."""
        return changes(self.before, self.after) or f"{len(self.before.digests)} masks, none changed"


def correct(
    folder: Path, layout: str, new: Path, new_layout: str, table: ClassTable, bands: Bands
) -> Corrected:
    """Replace the masks in `folder` by those of the same names in `new`; each file whole or not at all.

    Raises:
        UserError: `folder` holds no masks in files; labels cannot be read, name one picture twice, are
            of another picture or size, or have no value in the masks; or none has a mask of its name.
            Nothing is changed then.
    """
    old = [one for one in layouts.read(layout, folder, table) if isinstance(one, Sample)]
    if not all(isinstance(one.content, Files) for one in old):
        raise UserError(
            f"{folder}: in the layout {layout} the labels are the tool's own files: replace these by "
            "the tool's export, and run `segpipe init-data` on the folder"
        )
    names = [_key(one.name) for one in old]
    corrections, notes = _by_name(new, new_layout, table, {*names})
    pairs = [(one, corrections.pop(name, None)) for one, name in zip(old, names, strict=True)]
    if not any(one for _, one in pairs):
        raise UserError(
            f"{new}: none of its {len(corrections)} pictures is in {folder}, such as {min(corrections)}"
        )
    with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow releases the GIL
        results = in_order(lambda pair: pool.submit(_compared, pair, table, bands), pairs, 64)
        found = [*track(results, "Comparing masks", total=len(pairs))]
    wrong = [(one, pair[1]) for one, pair in zip(found, pairs, strict=True) if isinstance(one, Problem)]
    if problems := [problem for problem, correction in wrong if correction]:
        raise UserError(listed(f"{len(problems)} corrections cannot be taken; none is:", problems))
    compared = [one for one in found if isinstance(one, Compared)]
    for one in compared:
        if one.content:
            with replaces(folder / one.sample.mask) as partial:  # DVC may have linked it to its cache
                partial.write_bytes(one.content)
    return Corrected(
        _tally((one.sample, one.before) for one in compared),
        _tally((one.sample, one.after) for one in compared),
        corrected=sum(one is not None for _, one in pairs),
        changed=sum(one.changed for one in compared),
        unmatched=sorted(corrections),
        damaged=[problem for problem, _ in wrong],
        emptied=[one.sample.mask for one in compared if one.is_emptied],
        notes=notes,
    )


def _tally(states: Iterable[tuple[Sample, State]]) -> Tally:
    tally = Tally()
    for sample, state in states:
        tally.add(sample.name, *state)
    return tally


def _by_name(
    new: Path, layout: str, table: ClassTable, known: Collection[str]
) -> tuple[dict[str, Sample], list[str]]:
    """Return the corrections by the names of the masks, and notes; raise UserError for a bad one."""
    found = layouts.read(layout, new, table)
    samples = [one for one in found if isinstance(one, Sample)]
    problems = [one for one in found if isinstance(one, Problem)]
    named: dict[str, list[Sample]] = {}
    for one in samples:
        named.setdefault(_known(_key(one.name), known), []).append(one)
    for name, some in named.items():
        if len(some) > 1:
            files = " and ".join(sorted({one.mask for one in some}))
            problems.append(Problem(name, f"{len(some)} labels of one picture ({files})", "one of them"))
    if problems:
        raise UserError(listed(f"{len(problems)} corrections cannot be taken; none is:", problems))
    notes = [one.text for one in found if isinstance(one, Note)]
    return {name: some[0] for name, some in named.items()}, notes


def _key(name: str) -> str:
    """Return a sample's name without folders that say what is in them, such as `images/`."""
    return matching.parsed(Path(), Path(f"{name}.png")).name


def _known(name: str, known: Collection[str]) -> str:
    """Return the longest end of a name that is known, without the folders before it; else the name."""
    parts = name.split("/")
    ends = ("/".join(parts[n:]) for n in range(len(parts)))
    return next((end for end in ends if end in known), name)


def _compared(pair: Pair, table: ClassTable, bands: Bands) -> Compared | Problem:
    """Compare a mask with its correction."""
    sample, correction = pair
    before = check(sample, table, bands)
    if not isinstance(before, Checked):
        assert isinstance(before, Problem)
        return before
    if correction is None:
        return Compared(sample, State.of(before), State.of(before))
    after = check(correction, table, bands)
    if not isinstance(after, Checked):
        assert isinstance(after, Problem)
        return after
    try:
        return _replaced(before, after, table, bands)
    except BadSampleError as error:
        return error.problem


def _replaced(before: Checked, after: Checked, table: ClassTable, bands: Bands) -> Compared:
    """Return what a correction changes. Raises BadSampleError where it cannot be taken."""
    sample, called = before.sample, after.sample.mask
    old, new = decode_png(before.mask), decode_png(after.mask)
    if old.shape != new.shape:
        found = f"labels of {width_by_height(new.shape)}"
        raise BadSampleError(called, found, f"{width_by_height(old.shape)}, as {sample.mask}")
    if before.hash and after.hash and (int(before.hash, 16) ^ int(after.hash, 16)).bit_count() > NEAR:
        found = f"another picture ({after.sample.image})"
        raise BadSampleError(called, found, f"that of the same name, {sample.image}")
    different = old != new
    content = _with_values(sample, different, new, table, bands) if different.any() else None
    return Compared(sample, State.of(before), State.of(after), int(different.sum()), content)


def _with_values(
    sample: Sample, different: np.ndarray, new: np.ndarray, table: ClassTable, bands: Bands
) -> bytes:
    """Return the PNG of a mask whose `different` pixels have the classes of `new`."""
    image, mask = sample.content.read()
    if not (isinstance(mask, bytes) and mask.startswith(PNG_SIGNATURE)):
        raise BadSampleError(sample.mask, "a mask that is no PNG", "PNG masks, which keep all values")
    stored, turn = mask_pixels(mask, sample.mask, table.by_colour)
    if turn != 1:
        raise BadSampleError(sample.mask, f"a mask that EXIF turns ({turn})", "a mask without EXIF")
    numbers = np.arange(stored.shape[0] * stored.shape[1], dtype=np.int32).reshape(stored.shape[:2])
    _, places = decode_pair(
        image, numbers, sample.image, sample.mask, upright=sample.upright, bands=bands
    )
    values = _values(table)
    if len(values) == len(table) and (new[different] == IGNORE).any():
        raise BadSampleError(sample.mask, "pixels to ignore", "a value for them in data.ignore")
    changed = stored.copy()
    flat = changed.reshape(-1, *changed.shape[2:])
    indices = np.where(new == IGNORE, len(table), new)
    flat[places[different]] = values[indices[different]]
    picture, file = Image.fromarray(changed), io.BytesIO()
    with Image.open(io.BytesIO(mask)) as opened:
        if opened.mode == "P" and changed.ndim == 2:
            palette = opened.getpalette() or []
            # Pillow cuts values that a shorter palette lacks.
            picture.putpalette(palette + [0] * (3 * 256 - len(palette)))
    picture.save(file, "PNG")
    return file.getvalue()


def _values(table: ClassTable) -> np.ndarray:
    """Return the value or the colour of each class in masks, uint8 [classes], or [classes, 3].

    One more is that of ignored pixels, where there is one.
    """
    if table.by_colour:
        found = [*table.file_values, *filter(is_colour, table.ignore)]
        return np.array([[*bytes.fromhex(str(colour)[1:])] for colour in found], np.uint8)
    ignored = [value for value in table.ignore if isinstance(value, int)]
    return np.array([*table.file_values, *ignored], np.uint8)
