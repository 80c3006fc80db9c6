"""Build the report: pages in a folder, and a small picture of samples for Git."""

import functools
from pathlib import Path

import matplotlib as mpl

from segpipe.common.bands import caption, shown
from segpipe.common.classes import ClassTable
from segpipe.common.files import first_by_hash, replaces
from segpipe.common.records import Manifest
from segpipe.report import grids
from segpipe.report.analysis import worst_samples
from segpipe.report.pages import Block, Figure, Table, write_page
from segpipe.report.params import ReportParams
from segpipe.report.read import Pictures, Results, read_pictures
from segpipe.report.sections import sections
from segpipe.report.words import score, shortened

IN_GIT = 4  # fixed samples in the picture for Git


def build(
    results: Results, manifest: Manifest, predictions: Path, params: ReportParams, folder: Path
) -> None:
    """Write `report/` and `samples.jpg` to `folder`; `predictions` holds the predicted masks."""
    fixed = first_by_hash(results.per_image["name"], max(params.samples, IN_GIT))
    worst = worst_samples(results.per_image, params.worst)
    bands = shown(manifest.bands, params.bands)
    pictures = read_pictures(manifest, predictions, {*fixed, *worst}, bands)
    said = caption(manifest.bands, bands)
    write_report(results, manifest, pictures, fixed[: params.samples], worst, folder / "report", said)
    write_samples(pictures, fixed[:IN_GIT], manifest.classes, folder / "samples.jpg")


def write_report(
    results: Results, manifest: Manifest, pictures: Pictures,
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


def write_samples(pictures: Pictures, names: list[str], table: ClassTable, path: Path) -> None:
    """Write a small JPEG of some samples, to be compared in a pull request."""
    drawing = grids.sample_grid([{"label": shortened(n), **pictures[n]} for n in names], table)
    with replaces(path) as partial, mpl.rc_context(grids.STYLE):
        drawing.savefig(partial, format="jpeg", dpi=90, pil_kwargs={"quality": 80})


def _samples(
    results: Results, manifest: Manifest, pictures: Pictures, bands: str,
    name: str, which: str, names: list[str],
) -> list[Block]:  # fmt: skip
    if not names:
        return ["None are shown: the params ask for none."]
    scores = dict(zip(results.per_image["name"], results.per_image["mean_iou"], strict=True))
    said = {n: score(scores[n], "no score") for n in names}
    rows = [
        {
            "label": f"{shortened(n)}\nmean IoU {said[n]}", **pictures[n],
            "errors": grids.errors(pictures[n]["truth"], pictures[n]["prediction"]),
        }
        for n in names
    ]  # fmt: skip
    return [
        Figure(
            name, f"Image, true mask, predicted mask and mistakes of {', '.join(names)}.",
            f"{which} Image, true mask, predicted mask, and wrong pixels in crimson, at network size."
            f"{bands}",
            grids.sample_grid(rows, manifest.classes), wide=True,
        ),
        Table("Mean IoU of these images, at original size", ["image", "mean IoU"], [*said.items()]),
    ]  # fmt: skip
