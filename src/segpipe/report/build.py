"""Build the report: pages in a folder, and a small picture of samples for Git."""

import functools
import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing
from PIL import Image

from segpipe.common.bands import caption, shown
from segpipe.common.classes import ClassTable
from segpipe.common.files import first_by_hash, replaces
from segpipe.common.records import Manifest
from segpipe.common.shrink import LONGEST
from segpipe.common.words import score
from segpipe.report import grids, zoom
from segpipe.report.analysis import worst_samples
from segpipe.report.pages import Block, Figure, Table, write_page
from segpipe.report.params import ReportParams
from segpipe.report.read import Pictures, Results, read_pictures
from segpipe.report.sections import sections
from segpipe.report.words import shortened

IN_GIT = 4  # fixed samples in the picture for Git
_WHERE_IT_FAILS = (
    f" A picture of more than {LONGEST} px is shrunk: image and mistakes are means, and of a mask the "
    "rarest class that runs through a pixel is shown, so that thin things stay. Below it is the window "
    "with the most mistakes, which is not shrunk; a frame shows where it lies."
)
_SMALLER = 3  # the factor between pictures of tiles in the report and those in Git

Shown = Pictures | Mapping[str, zoom.Zoomed]
"""Test images by name; those that were predicted in tiles have a window where they fail."""


def build(
    results: Results, manifest: Manifest, predictions: Path, params: ReportParams, folder: Path
) -> None:
    """Write `report/` and `samples.jpg` to `folder`; `predictions` holds the predicted masks."""
    fixed = first_by_hash(results.per_image["name"], max(params.samples, IN_GIT))
    worst = worst_samples(results.per_image, params.worst)
    bands = shown(manifest.bands, params.bands)
    read = zoom.read_zoomed if manifest.tiles else read_pictures
    pictures = read(manifest, predictions, {*fixed, *worst}, bands)
    note = caption(manifest.bands, bands)
    write_report(results, manifest, pictures, fixed[: params.samples], worst, folder / "report", note)
    write_samples(pictures, fixed[:IN_GIT], manifest.classes, folder / "samples.jpg")


def write_report(
    results: Results, manifest: Manifest, pictures: Shown,
    fixed: list[str], worst: list[str], folder: Path, bands: str = "",
) -> None:  # fmt: skip
    """Write `index.html`, `report.md` and `figures/` to `folder`, replacing it as a whole.

    Every report shows the samples named by `fixed`; `worst` names those with the lowest mean IoU.
    `bands` is the `caption` of the pictures.
    """
    show = functools.partial(_samples, results, manifest, pictures, bands)
    same = show("samples", "The same test images in every report.", fixed)
    lowest = show("worst", "The test images with the lowest mean IoU.", worst)
    write_page("Segmentation report", sections(results, manifest, same, lowest), folder, "report.md")


def write_samples(pictures: Shown, names: list[str], table: ClassTable, path: Path) -> None:
    """Write a small JPEG of some samples, to be compared in a pull request."""
    drawing = _drawn(pictures, [(name, shortened(name)) for name in names], table, mistakes=False)
    with replaces(path) as partial, mpl.rc_context(grids.STYLE):
        if isinstance(pictures[names[0]], zoom.Zoomed):
            _reduced(drawing).save(partial, "JPEG", quality=80)
        else:
            drawing.savefig(partial, format="jpeg", dpi=90, pil_kwargs={"quality": 80})


def _reduced(drawing: Drawing) -> Image.Image:
    """Return a drawing, each of whose pixels is the mean of several."""
    content = io.BytesIO()
    drawing.savefig(content, format="png")
    return Image.open(content).convert("RGB").reduce(_SMALLER)


def _drawn(
    pictures: Shown, labels: list[tuple[str, str]], table: ClassTable, mistakes: bool = True
) -> Drawing:
    """Draw samples, given by name and label; `mistakes` adds a column of their errors."""
    rows, zoomed = [], []
    for name, label in labels:
        picture = pictures[name]
        if isinstance(picture, zoom.Zoomed):
            zoomed.append((label, picture))
            continue
        row = {"label": label, **picture}
        if mistakes:
            row["errors"] = grids.errors(picture["truth"], picture["prediction"])
        rows.append(row)
    if zoomed:
        return zoom.drawn(zoomed, ["image", "truth", "prediction", *["errors"] * mistakes], table)
    return grids.sample_grid(rows, table)


def _samples(
    results: Results, manifest: Manifest, pictures: Shown, bands: str,
    name: str, which: str, names: list[str],
) -> list[Block]:  # fmt: skip
    if not names:
        return ["None are shown: the params ask for none."]
    scores = dict(zip(results.per_image["name"], results.per_image["mean_iou"], strict=True))
    values = {n: score(scores[n], "no score") for n in names}
    separator = ", " if manifest.tiles else "\n"
    labels = [(n, f"{shortened(n)}{separator}mean IoU {values[n]}") for n in names]
    return [
        Figure(
            name, f"Image, true mask, predicted mask and mistakes of {', '.join(names)}.",
            f"{which} Image, true mask, predicted mask, and wrong pixels in crimson, at network size."
            f"{_WHERE_IT_FAILS if manifest.tiles else ''}{bands}",
            _drawn(pictures, labels, manifest.classes), wide=True,
        ),
        Table("Mean IoU of these images, at original size", ["image", "mean IoU"], [*values.items()]),
    ]  # fmt: skip
