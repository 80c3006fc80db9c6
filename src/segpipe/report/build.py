"""The report: tables and arrays in, pages for people out. Never imports TensorFlow."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Drawing

from segpipe.common.classes import ClassTable
from segpipe.common.files import replaces
from segpipe.common.records import Manifest
from segpipe.report import grids, plots
from segpipe.report.analysis import Results
from segpipe.report.blocks import Block, Figure, Table, Text
from segpipe.report.pages import write_page
from segpipe.report.story import tell
from segpipe.report.words import score, shortened

Pictures = dict[str, dict[str, np.ndarray]]
"""`image`, `truth` and `prediction` of test images at network size, by name."""


def write_report(
    results: Results, manifest: Manifest, pictures: Pictures,
    fixed: list[str], worst: list[str], folder: Path,
) -> None:  # fmt: skip
    """Write `index.html`, `report.md` and `figures/` to `folder`, replacing it as a whole.

    Args:
        results: tables of training and evaluation.
        manifest: what the records are.
        pictures: of the samples that are shown.
        fixed: names of the samples to show.
        worst: names of the samples to show as the worst.
        folder: where to.
    """
    sections = tell(
        results,
        manifest,
        _samples("samples", "The same test images in every report.", fixed, results, manifest, pictures),
        _samples(
            "worst", "The test images with the lowest mean IoU.", worst, results, manifest, pictures
        ),
    )
    write_page("Segmentation report", sections, folder, "report.md")


def write_samples(pictures: Pictures, names: list[str], table: ClassTable, path: Path) -> None:
    """Write a small JPEG of some samples, to be compared in a pull request."""
    drawing = grids.sample_grid([{"label": shortened(n), **pictures[n]} for n in names], table)
    with replaces(path) as partial, mpl.rc_context(grids.STYLE):
        drawing.savefig(partial, format="jpeg", dpi=90, pil_kwargs={"quality": 80})


def _samples(
    name: str, which: str, names: list[str], results: Results, manifest: Manifest, pictures: Pictures
) -> list[Block]:
    if not names:
        return [Text("None is shown, as the params ask for none.")]
    scores = dict(zip(results.per_image["name"], results.per_image["mean_iou"], strict=True))
    said = {n: "no score" if np.isnan(scores[n]) else score(scores[n]) for n in names}
    return [
        Figure(
            name,
            f"Image, true mask, predicted mask and mistakes of {', '.join(names)}.",
            f"{which} Image, true mask, predicted mask, and wrong pixels in crimson, at network size.",
            _grid(said, manifest.classes, pictures),
            wide=True,
        ),
        Table(
            "Mean IoU of these images, at original size",
            ["image", "mean IoU"],
            [[n, said[n]] for n in names],
        ),
    ]


def _grid(said: dict[str, str], table: ClassTable, pictures: Pictures) -> Drawing:
    rows = []
    for name, its_score in said.items():
        sample = pictures[name]
        mistakes = plots.errors(sample["truth"], sample["prediction"])
        label = f"{shortened(name)}\nmean IoU {its_score}"
        rows.append({"label": label, **sample, "errors": mistakes})
    return grids.sample_grid(rows, table)
