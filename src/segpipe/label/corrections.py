"""Corrected labels replace the masks of the same names in the user's own folder.

Only the pixels whose class changed get another value; all others keep theirs, and so does a mask in
which nothing changed.
"""

import io
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.classes import IGNORE, REST, ClassTable, SegmentationClass, is_colour
from segpipe.common.codec import decode_png
from segpipe.common.duplicates import NEAR, hash_distance
from segpipe.common.errors import UserError
from segpipe.common.files import replace_together
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.words import listed, width_by_height
from segpipe.fetch import layouts, views
from segpipe.fetch.integrity import InColoursError, decode_pair, mask_pixels
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.ledger import Checked
from segpipe.fetch.raw import check, pixels_by_class
from segpipe.fetch.sample import BadSampleError, Files, Note, Problem, Sample
from segpipe.fetch.stored import PNG_SIGNATURE
from segpipe.fetch.tally import Tally, changes
from segpipe.survey.candidates import layouts_in

MASKS_ALONE = "masks alone"
"""The layout of a folder of masks whose pictures are those of the folder to correct."""

SCRATCH = ".corrections.partial"
"""Where the new masks are written, in the folder to correct; gone at the end."""

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
    is_corrected: bool = False
    gained: dict[str, int] = field(default_factory=dict)  # pixels that became of a class, by class
    lost: dict[str, int] = field(default_factory=dict)  # pixels that were of it
    content: bytes | None = None  # the new content of the mask's file; None: as it is
    refused: Problem | None = None  # why its correction cannot be used

    @property
    def is_emptied(self) -> bool:
        """Whether the mask had several classes and now has one at most."""
        before, after = (sum(map(bool, state.pixels.values())) for state in (self.before, self.after))
        return before > 1 >= after


@dataclass(frozen=True)
class Corrected:
    """What corrections changed."""

    before: Tally
    after: Tally
    corrected: int  # masks that have a correction
    gained: Counter[str]  # pixels that became of a class, by class
    lost: Counter[str]  # pixels that were of it
    unmatched: list[str]  # corrections without a mask of their name
    damaged: list[Problem]  # samples of the folder that cannot be used, corrected or not
    emptied: list[str]  # masks of several classes that have one left, as where nothing is drawn yet
    notes: list[str]  # of the reader of the corrections, such as on shapes that it does not draw

    @property
    def changed(self) -> int:
        """The number of pixels whose class changed."""
        return self.gained.total()

    def __str__(self) -> str:
        """Return one line for people."""
        return changes(self.before, self.after) or f"{len(self.before.digests)} masks, none changed"


def correct(
    folder: Path, layout: str, new: Path, new_layout: str, table: ClassTable, bands: Bands
) -> Corrected:
    """Replace the masks in `folder` by those of the same names in `new`; all, or none if it is stopped.

    Raises:
        UserError: `folder` holds no masks in files; labels cannot be read, name one picture twice, are
            of another picture or size, or have no value in the masks; or none has a mask of its name.
            In all these cases nothing is changed.
    """
    entries = layouts.read(layout, folder, table)
    old = [sample for sample in entries if isinstance(sample, Sample)]
    if not all(isinstance(sample.content, Files) for sample in old):
        raise UserError(
            f"{folder}: in the layout {layout} the labels are the tool's own files: replace these by "
            "the tool's export, and run `segpipe init-data` on the folder"
        )
    names = [_key(sample.name) for sample in old]
    if new_layout == MASKS_ALONE:
        found = _masks_alone(new, dict(zip(names, old, strict=True)))
    else:
        found = layouts.read(new_layout, new, table)
    corrections, notes = _by_name(found, {*names})
    pairs = [(sample, corrections.pop(name, None)) for sample, name in zip(old, names, strict=True)]
    if not any(correction for _, correction in pairs):
        if not corrections:
            heading = (
                f"{new}: holds no labels of a picture, so nothing was changed; export some from the tool"
            )
            raise UserError(listed(heading, notes))
        raise UserError(
            f"{new}: none of its {len(corrections)} pictures is in {folder}, such as {min(corrections)}"
        )
    compared, damaged = _compare_all(pairs, table, bands)
    contents = {folder / mask.sample.mask: mask.content for mask in compared if mask.content}
    replace_together(contents, folder / SCRATCH)  # not written in place: DVC may link to its cache
    return Corrected(
        _tally((mask.sample, mask.before) for mask in compared),
        _tally((mask.sample, mask.after) for mask in compared),
        corrected=sum(mask.is_corrected for mask in compared),
        gained=_sum(mask.gained for mask in compared),
        lost=_sum(mask.lost for mask in compared),
        unmatched=sorted(corrections),
        damaged=[*(entry for entry in entries if isinstance(entry, Problem)), *damaged],
        emptied=[mask.sample.mask for mask in compared if mask.is_emptied],
        notes=notes,
    )


def _compare_all(
    pairs: list[Pair], table: ClassTable, bands: Bands
) -> tuple[list[Compared], list[Problem]]:
    """Compare all masks with their corrections; return also the masks that cannot be read.

    Raises UserError where a correction cannot be used.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:  # Pillow releases the GIL
        stream = in_order(lambda pair: pool.submit(_compared, pair, table, bands), pairs, 64)
        results = [*track(stream, "Comparing masks", total=len(pairs))]
    compared = [result for result in results if isinstance(result, Compared)]
    if refused := [mask.refused for mask in compared if mask.refused]:
        raise UserError(listed(_refusal(refused), refused))
    return compared, [result for result in results if isinstance(result, Problem)]


def _refusal(problems: list[Problem]) -> str:
    return f"nothing was changed, because {len(problems)} corrections cannot be used:"


def _tally(states: Iterable[tuple[Sample, State]]) -> Tally:
    tally = Tally()
    for sample, state in states:
        tally.add(sample.name, *state)
    return tally


def _sum(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return total


def layouts_of(new: Path, asked: str | None) -> dict[str, str]:
    """Return the layouts of corrected labels, as `layouts_in`, or `MASKS_ALONE` where none fits."""
    files = [*texts.visible(new)] if asked is None and new.is_dir() else []
    masks = [file for file in matching.all_parsed(new, files) if matching.is_image(file.path)]
    has_others = any(file.suffix.lower() in (".json", ".xml") for file in files)
    has_pictures = any(file.word in matching.IMAGE_WORDS for file in masks)
    if masks and not has_others and not has_pictures and not layouts.layouts_of(new):
        return {MASKS_ALONE: f"{len(masks)} files, for the pictures of these names in your folder"}
    return layouts_in(new, asked)


def _masks_alone(new: Path, old: dict[str, Sample]) -> list[Sample | Problem | Note]:
    """Return the masks in a folder as samples, with the pictures of the samples `old`, by name."""
    entries = list[Sample]()
    for file in matching.all_parsed(
        new, [path for path in texts.visible(new) if matching.is_image(path)]
    ):
        mask = matching.relative(new, file.path)
        sample = old.get(_known(file.name, old))
        if sample and isinstance(sample.content, Files):
            content = Files(sample.content.image, file.path)
            entries.append(replace(sample, mask=mask, content=content, upright=None))
        else:
            entries.append(Sample(file.name, None, mask, mask, Files(file.path, file.path)))
    samples, notes = views.decided(entries)
    return [*samples, *notes]


def _by_name(
    entries: list[Sample | Problem | Note], known: Collection[str]
) -> tuple[dict[str, Sample], list[str]]:
    """Return the corrections by the names of the masks, and notes; raise UserError for a bad one."""
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    named: dict[str, list[Sample]] = {}
    for sample in entries:
        if isinstance(sample, Sample):
            named.setdefault(_known(_key(sample.name), known), []).append(sample)
    for name, samples in named.items():
        if len(samples) > 1:
            files = " and ".join(sorted({sample.mask for sample in samples}))
            found = f"{len(samples)} labels of one picture ({files})"
            problems.append(Problem(name, found, "one of them"))
    if problems:
        raise UserError(listed(_refusal(problems), problems))
    notes = [entry.text for entry in entries if isinstance(entry, Note)]
    return {name: samples[0] for name, samples in named.items()}, notes


def _key(name: str) -> str:
    """Return a sample's name without folders that only tell a role, such as `images/`."""
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
        return Compared(sample, State.of(before), State.of(before), True, refused=after)
    try:
        return _replaced(before, after, table, bands)
    except BadSampleError as error:
        return Compared(sample, State.of(before), State.of(before), True, refused=error.problem)


def _replaced(before: Checked, after: Checked, table: ClassTable, bands: Bands) -> Compared:
    """Return a mask before and after its correction. Raises BadSampleError where that cannot be used."""
    sample, file = before.sample, after.sample.mask
    old, new = decode_png(before.mask), decode_png(after.mask)
    if old.shape != new.shape:
        found = f"labels of {width_by_height(new.shape)}"
        raise BadSampleError(file, found, f"{width_by_height(old.shape)}, as {sample.mask}")
    if before.hash and after.hash and hash_distance(before.hash, after.hash) > NEAR:
        found = f"another picture ({after.sample.image})"
        raise BadSampleError(file, found, f"that of the same name, {sample.image}")
    different = old != new
    content = _with_values(sample, different, new, table, bands) if different.any() else None
    lost, gained = (pixels_by_class(mask[different], table) for mask in (old, new))
    return Compared(sample, State.of(before), State.of(after), True, gained, lost, content)


def _with_values(
    sample: Sample, different: np.ndarray, new: np.ndarray, table: ClassTable, bands: Bands
) -> bytes:
    """Return the PNG of a mask whose `different` pixels have the classes of `new`."""
    image, mask = sample.content.read()
    if not (isinstance(mask, bytes) and mask.startswith(PNG_SIGNATURE)):
        raise BadSampleError(sample.mask, "a mask that is no PNG", "PNG masks, which keep all values")
    of_colours = table.by_colour
    try:
        stored, turn = mask_pixels(mask, sample.mask, of_colours)
    except InColoursError:  # a table of both numbers and colours, as in `fetch.raw.check`
        of_colours = True
        stored, turn = mask_pixels(mask, sample.mask, of_colours)
    if turn != 1:
        raise BadSampleError(sample.mask, f"a mask that EXIF turns ({turn})", "a mask without EXIF")
    numbers = np.arange(stored.shape[0] * stored.shape[1], dtype=np.int32).reshape(stored.shape[:2])
    _, places = decode_pair(
        image, numbers, sample.image, sample.mask, upright=sample.upright, bands=bands
    )
    values = _values(table, of_colours)
    if len(values) == len(table) and (new[different] == IGNORE).any():
        raise BadSampleError(sample.mask, "pixels to ignore", "a value for them in data.ignore")
    for index in np.unique(new[different]).tolist():
        if index != IGNORE and not _has_value(table.classes[index], of_colours):
            found = f"pixels of {table.names[index]}, which has no value in masks"
            raise BadSampleError(sample.mask, found, "one for it in data.classes")
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


def _has_value(c: SegmentationClass, of_colours: bool) -> bool:
    """Return whether `fetch` would read the value that `_values` gives a class: not for labels alone."""
    own = is_colour if of_colours else lambda value: isinstance(value, int)
    return REST in c.values or any(map(own, c.values))


def _values(table: ClassTable, of_colours: bool) -> np.ndarray:
    """Return the value or the colour of each class in masks, uint8 [classes], or [classes, 3].

    The last one is that of ignored pixels, if they have one.
    """
    if of_colours:
        own = [next(filter(is_colour, c.values), c.colour) for c in table.classes]
        colours = [*own, *filter(is_colour, table.ignore)]
        return np.array([[*bytes.fromhex(str(colour)[1:])] for colour in colours], np.uint8)
    ignored = [value for value in table.ignore if isinstance(value, int)]
    return np.array([*table.file_values, *ignored], np.uint8)
