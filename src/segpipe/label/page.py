"""The page of suspects: picture, mask, prediction, and the doubtful region at full resolution."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from segpipe.common.bands import caption, displayed, shown
from segpipe.common.classes import ClassTable
from segpipe.common.codec import decode_image
from segpipe.common.shrink import factor_for, mean_of, rarest_first, rarest_of, shrunk
from segpipe.common.words import percent, score
from segpipe.label.judges import Judge
from segpipe.label.quality import SMALLEST, SURE, Judgement, Region
from segpipe.label.suspects import Suspect, judged
from segpipe.predict.images import Input
from segpipe.report import grids, zoom
from segpipe.report.pages import Block, Figure, Section, Table, write_page
from segpipe.report.params import ReportParams

MARKDOWN = "suspects.md"
_AROUND = 0.25  # the margin that is shown on each side of a region, as a share of its edge
_LEAST = 64  # pixels: the edge of the part that is shown, at least


def write(
    suspects: Sequence[Suspect],
    notes: list[str],
    judges: Sequence[Judge],
    params: ReportParams,
    folder: Path,
) -> None:
    """Write a page on the first suspects to `folder`, replacing it; `notes` tell how they were found."""
    overview = Table(
        f"The pictures by overlap, the lowest first; all are in {folder.name}.csv",
        ["picture", "split", "overlap", "of class", "quality", "mask", "prediction", "share", "sure"],
        [_row(suspect) for suspect in suspects],
    )
    introduction: list[Block] = [
        *notes,
        "Overlap is the IoU of mask and prediction by that of the median picture, of the class where "
        "this is lowest. Quality is the soft minimum of the probabilities that the model gives to the "
        "labels (Lad and Mueller 2023), from 0 to 1. A region is outlined where the model is at least "
        f"{_unbroken(SURE, 0)} sure of another class, on {SMALLEST} connected pixels or more. The model "
        "may be the one that is wrong: look at the picture.",
        overview,
    ]
    bands = judges[0].predictor.input.bands
    shown_as = caption(bands, shown(bands, params.bands)).strip()
    figures = _figures(suspects, judges, params)
    doubted: list[Block] = [*filter(None, [shown_as])]
    for suspect in suspects:
        doubted += figures[suspect.name]
    sections = [
        Section("list", "Which masks may be wrong?", introduction),
        Section("pictures", "Pictures", doubted),
    ]
    write_page("Suspects", sections, folder, MARKDOWN)


def _figures(
    suspects: Sequence[Suspect], judges: Sequence[Judge], params: ReportParams
) -> dict[str, list[Figure]]:
    """Judge the suspects once more, and draw each; return the figures by name."""
    numbers = {suspect.name: number for number, suspect in enumerate(suspects, 1)}
    figures: dict[str, list[Figure]] = {}
    for judge in judges:
        by_name = {suspect.name: suspect for suspect in suspects if suspect.name in judge.splits}
        for sample, judgement in judged(judge, by_name, "Drawing"):
            name = sample["name"].decode()
            image = _displayed(sample["image"], judge.predictor.input, params)
            called = f"suspect-{numbers[name]}"
            drawing = _drawn(image, judgement, judge.predictor.classes)
            alt = f"Picture, mask and prediction of {name}"
            figures[name] = [Figure(called, alt, _caption(by_name[name]), drawing, wide=True)]
            if regions := judgement.regions():
                part, factor = _outlined(image, regions[0])
                alt = f"The largest region of {name}, outlined on the picture"
                words = _caption_of_region(by_name[name], factor)
                figures[name].append(Figure(f"{called}-region", alt, words, zoom.alone(part)))
    return figures


def _row(suspect: Suspect) -> list[str]:
    sure = "–" if suspect.sureness is None else _unbroken(suspect.sureness)
    classes = suspect.labelled or "–", suspect.predicted or "–"
    share = _unbroken(suspect.share)
    overlap = [score(suspect.overlap), suspect.weakest, score(suspect.quality)]
    return [suspect.name, suspect.split, *overlap, *classes, share, sure]


def _caption(suspect: Suspect) -> str:
    heading = (
        f"{suspect.name} ({suspect.split}): overlap {score(suspect.overlap)} of {suspect.weakest}, "
        f"quality {score(suspect.quality)}."
    )
    if suspect.box is None or suspect.sureness is None:
        return f"{heading} No region of which the model is sure."
    top, left, height, width = suspect.box
    sure, share = _unbroken(suspect.sureness, 0), _unbroken(suspect.share)
    others = f", the largest of {suspect.regions}" if suspect.regions > 1 else ""
    return (
        f"{heading} The mask says {suspect.labelled}, the model {suspect.predicted} with {sure}, on "
        f"{share} of the picture (framed: {width} x {height} px from row {top}, column {left}{others})."
    )


def _caption_of_region(suspect: Suspect, factor: int) -> str:
    size = "pixel by pixel" if factor == 1 else f"1 pixel for {factor} x {factor}"
    return f"The region in {suspect.name}, {_unbroken(suspect.share)} of the picture, {size}."


def _unbroken(share: float, digits: int = 1) -> str:
    """Return a share in per cent that no line ends within."""
    return percent(share, digits).replace(" ", "\N{NO-BREAK SPACE}")


def _displayed(data: bytes, seen: Input, params: ReportParams) -> np.ndarray:
    """Return an encoded picture of data/raw as people see it, RGB uint8 [height, width, 3]."""
    return displayed(seen.levels.in_8_bits(*decode_image(data)), shown(seen.bands, params.bands))


def _drawn(image: np.ndarray, judgement: Judgement, table: ClassTable) -> grids.Figure:
    """Draw a suspect: picture, mask and prediction, shrunk; the largest region is framed."""
    regions = judgement.regions()
    factor = factor_for((image.shape[0], image.shape[1]))
    masks = rarest_of(
        factor, rarest_first(np.bincount(judgement.mask.ravel(), minlength=len(table))[: len(table)])
    )
    picture = shrunk(image, factor, mean_of(factor))
    row = {
        "label": "",
        "picture": _framed(picture, regions[0], factor) if regions else picture,
        "mask": shrunk(judgement.mask, factor, masks),
        "prediction": shrunk(judgement.best, factor, masks),
    }
    return grids.sample_grid([row], table)


def _framed(picture: np.ndarray, region: Region, factor: int) -> np.ndarray:
    """Draw a frame of two pixels round a region."""
    framed = picture.copy()
    top, left, height, width = (edge // factor for edge in region.box)
    bottom, right = top + height + 1, left + width + 1
    outer = slice(max(top - 2, 0), bottom + 2), slice(max(left - 2, 0), right + 2)
    inner = framed[top:bottom, left:right].copy()
    framed[outer] = grids.CRIMSON
    framed[top:bottom, left:right] = inner
    return framed


def _outlined(image: np.ndarray, region: Region) -> tuple[np.ndarray, int]:
    """Cut a region and its surroundings out of a picture and outline it; shrink it where it is large.

    Return also by how much it was shrunk.
    """
    rows, columns = (
        _widened(part, limit) for part, limit in zip(region.place, image.shape[:2], strict=True)
    )
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    top, left = region.place[0].start - rows.start, region.place[1].start - columns.start
    inside[top : top + region.inside.shape[0], left : left + region.inside.shape[1]] = region.inside
    part = image[rows, columns].copy()
    width = factor_for((inside.shape[0], inside.shape[1]))
    outline = ndimage.binary_dilation(inside, iterations=width) & ~inside
    part[outline] = grids.CRIMSON
    return shrunk(part, width, mean_of(width)), width


def _widened(part: slice, limit: int) -> slice:
    """Return a range with its margin, within 0 and `limit`."""
    length = part.stop - part.start
    more = max(round(_AROUND * length), (_LEAST - length) // 2)
    return slice(max(part.start - more, 0), min(part.stop + more, limit))
