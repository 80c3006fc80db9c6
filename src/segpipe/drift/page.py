"""The page on pictures in use: which traits shifted, by how much, and pictures that show it."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Drawing

from segpipe.common.bands import displayed
from segpipe.common.files import replaces
from segpipe.common.fonts import dejavu, drawable
from segpipe.common.network_traits import SHARE
from segpipe.common.profile import Profile, Reference, describe, in_units
from segpipe.common.shrink import factor_for, mean_of, shrunk
from segpipe.common.words import percent
from segpipe.drift.compare import FOREIGN, LEVEL, TOLERANCE, Shift
from segpipe.drift.measured import Measured
from segpipe.predict.images import Input
from segpipe.report import grids, plots
from segpipe.report.pages import Block, Figure, Section, Table
from segpipe.report.words import shortened

MARKDOWN = "drift.md"
TABLE_BEGINS = (b"path,distance,foreign_by,",)
"""How the table of all pictures begins."""
_SHOWN = 6  # shifted traits with pictures, at most
_PICTURES = 4  # of a trait, at most
_MEANINGS = {
    "size": "the edge of a square of as many pixels",
    "aspect": "width over height",
    "brightness": "the mean light, 0 to 255",
    "contrast": "the light's standard deviation, in grey levels",
    "sharpness": "how much of the light's change happens between neighbours: lower where blurred",
    "noise": "its standard deviation in grey levels; JPEG of low quality has none",
    "saturation": "how far the colours are from grey, 0 to 255",
    "warmth": "red less blue, in grey levels",
    "tint": "green less the mean of red and blue, in grey levels",
    "novelty": "how much the encoder sees that training pictures do not have; 1 is theirs",
    "confidence": "the mean probability of the most probable class",
    FOREIGN: "the share of single pictures beyond the model's limit",
}


def sections(
    notes: list[str],
    shifts: Sequence[Shift],
    measured: Sequence[Measured],
    profile: Profile,
    model_input: Input,
) -> list[Section]:
    """Return the page's sections; `notes` are the verdict in words."""
    rows = [_row(shift) for shift in shifts]
    head = ["trait", "", "known pictures", "these pictures", "moved", "chance"]
    table = Table("The traits, the surest shift first: usual values (5 to 95 %) and middle", head, rows)
    how = (
        f"Moved is the share of the pictures that have another value, at least: {percent(TOLERANCE, 0)} "
        "is no shift. Chance is the probability of such a distance among pictures like the known ones. "
        f"All traits together call {percent(LEVEL, 0)} of folders with such pictures shifted."
    )
    shifted = [shift for shift in shifts if shift.is_shifted]
    first = [*shifted[:_SHOWN], *([] if shifted else shifts[:3])]
    verdict: list[Block] = [*notes, table, how, [_meaning(shift.trait) for shift in first]]
    curves = [shift for shift in first if shift.trait != FOREIGN]
    if curves:
        verdict.append(_curves(curves, measured, profile))
    pictures: list[Block] = [_examples(shift, measured, profile, model_input) for shift in first]
    heading = "Pictures that show it" if shifted else "The pictures that lie farthest"
    return [
        Section("verdict", "Are these pictures like those of training?", verdict),
        Section("pictures", heading, pictures),
    ]


def write_table(measured: Sequence[Measured], path: Path) -> None:
    """Write a row a picture with its distance and traits, the farthest first."""
    farthest_first = sorted(measured, key=lambda picture: -picture.mark.score)
    with (
        replaces(path) as partial,
        # Names that are no UTF-8 keep their bytes, which pandas would refuse.
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "distance", "foreign_by", *farthest_first[0].traits])
        for picture in farthest_first:
            mark = picture.mark
            values = (mark.score, *picture.traits.values())
            score, *traits = (round(float(value), 4) for value in values)
            writer.writerow([picture.source.path, score, mark.trait if mark.foreign else "", *traits])


def moved(shift: Shift) -> str:
    """Say by how much a trait shifted."""
    if shift.trait == FOREIGN:
        return f"{shift.trait}: {percent(shift.moved, 0)}, of known ones {percent(shift.known[1])}"
    before, after = (in_units(shift.trait, middle) for _, middle, _ in (shift.known, shift.current))
    return f"{shift.trait}: {before} to {after}, {percent(shift.moved, 0)} of the pictures moved"


def _row(shift: Shift) -> list[str]:
    known, current = (
        percent(usual[1]) if shift.trait == FOREIGN else _range(shift.trait, usual)
        for usual in (shift.known, shift.current)
    )
    verdict = "shifted" if shift.is_shifted else "alike"
    return [shift.trait, verdict, known, current, percent(shift.moved, 0), f"{shift.p:.2g}"]


def _range(trait: str, usual: tuple[float, float, float]) -> str:
    low, middle, high = (in_units(trait, value) for value in usual)
    return f"{middle} ({low} to {high})"


def _meaning(trait: str) -> str:
    if trait.startswith(SHARE):
        return f"{trait}: of the predicted pixels"
    return f"{trait}: {_MEANINGS.get(trait, 'a principal component of what the encoder sees')}"


@mpl.rc_context(grids.STYLE)
def _curves(shifts: Sequence[Shift], measured: Sequence[Measured], profile: Profile) -> Figure:
    """Draw the distribution functions of some traits, of known pictures and of these."""
    columns = min(3, len(shifts))
    rows = -(-len(shifts) // columns)
    drawing = Drawing(figsize=(2.6 * columns, 2.1 * rows + 0.4), layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False).ravel()
    for axes, shift in zip(grid, shifts, strict=False):
        known = profile.references[shift.trait].values
        current = np.sort([picture.traits[shift.trait] for picture in measured])
        for values, colour, label in ((known, plots.BLUE, "known"), (current, plots.VERMILION, "these")):
            axes.step(values, np.arange(1, values.size + 1) / values.size, color=colour, label=label)
        axes.set_title(drawable(shift.trait, dejavu()), fontsize=9)
        axes.set_ylim(0, 1.02)
    for axes in grid[len(shifts) :]:
        axes.set_visible(False)
    drawing.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    named = ", ".join(shift.trait for shift in shifts)
    return Figure(
        "traits", f"Distribution functions of {named}",
        "The share of the pictures up to each value: those that the model knows, and these "
        "(size and aspect as logarithms to base 2)", drawing, wide=columns > 1,
    )  # fmt: skip


def _examples(
    shift: Shift, measured: Sequence[Measured], profile: Profile, model_input: Input
) -> Figure:
    """Draw the pictures that lie farthest by a trait."""
    if shift.trait == FOREIGN:
        chosen = sorted(measured, key=lambda picture: -picture.mark.score)[:_PICTURES]
        values = [describe(picture.mark) for picture in chosen]
    else:
        chosen = _farthest(profile.references[shift.trait], measured)
        values = [in_units(shift.trait, picture.traits[shift.trait]) for picture in chosen]
    named = (f"{p.source.name}: {value}" for p, value in zip(chosen, values, strict=True))
    caption = f"{moved(shift)}. {'; '.join(named)}"
    name = "-".join(shift.trait.split())
    return Figure(
        f"by-{name}", f"Pictures farthest by {shift.trait}", caption, _row_of(chosen, model_input), True
    )


def _farthest(known: Reference, measured: Sequence[Measured]) -> list[Measured]:
    return sorted(measured, key=lambda picture: -known.distance(picture.traits[known.trait]))[:_PICTURES]


@mpl.rc_context(grids.STYLE)
def _row_of(chosen: Sequence[Measured], model_input: Input) -> Any:
    drawing = Drawing(figsize=(2.2 * len(chosen), 2.3), layout="constrained")
    for axes, picture in zip(drawing.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        pixels = displayed(model_input.at_own_size(picture.source.path).pixels)
        factor = factor_for((pixels.shape[0], pixels.shape[1]))
        axes.imshow(shrunk(pixels, factor, mean_of(factor)))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(drawable(shortened(picture.source.name), dejavu()), fontsize=8)
    return drawing
