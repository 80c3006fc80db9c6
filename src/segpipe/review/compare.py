"""Compare two revisions on a page: scores, curves, and the same pictures predicted by both models."""

import hashlib
import io
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segpipe.common.bands import caption, shown
from segpipe.common.classes import ClassTable
from segpipe.common.files import first_by_hash
from segpipe.common.fonts import class_labels, dejavu, unnamed
from segpipe.common.records import Manifest, read, read_manifest
from segpipe.common.shrink import LONGEST
from segpipe.common.words import percent, score
from segpipe.params.load import load_params
from segpipe.preprocess.resize import content_box
from segpipe.report import grids
from segpipe.report.changes import MISSING, Change, changes
from segpipe.report.pages import Block, Figure, Section, Table, require_own, write_page
from segpipe.report.params import ReportParams
from segpipe.report.plots import MOST_CLASSES
from segpipe.report.read import Pictures, read_names, read_pictures
from segpipe.report.words import shortened, signed, some_of, yaml_line
from segpipe.report.zoom import read_wholes
from segpipe.review import figures, git
from segpipe.review.revision import HISTORY, METRICS, MINOR, SAMPLES, NotHere, Revision

MARKDOWN = "compare.md"
RECORDS, PREDICTIONS = "data/records", "results/evaluate/predictions"
IOU = "original.iou."

Sides = dict[str, Revision]  # the revisions, `before` and `after`


class Original(NamedTuple):
    """The true mask of a test image, at original size."""

    size: tuple[int, int]  # height and width
    digest: str


def compare(before: str, after: str | None, folder: Path) -> list[str]:
    """Write `index.html`, `compare.md` and `figures/` about two revisions to `folder`, replacing it.

    A revision may be an experiment; `after` None is the working tree. Returns a line for each part that
    was not compared because a side lacks it. Raises CannotTell where a revision is unknown here or its
    results are damaged, and UserError where the folder holds something other than a comparison.
    """
    git.require_commits()
    require_own(folder, MARKDOWN, "a comparison")
    sides = {"before": Revision(before), "after": Revision(after)}
    scores, described, missing = [], [], list[str]()
    for side, revision in sides.items():
        commit = f" ({revision.commit[:9]})" if revision.commit else ""
        described.append(f"{side}: {revision.label}{commit}")
        scores.append(revision.scores())
        if not scores[-1]:
            missing.append(f"scores {side}: {revision.label} has no {METRICS[0]}")
    compared: list[Block] = [described]
    sections = [
        Section("what", "What is compared?", compared),
        Section("scores", "What do the scores say?", [_scores(*scores)]),
        Section("classes", "Which classes changed?", _classes(*scores)),
        Section("curves", "How did training go?", _curves(sides, missing)),
        Section("samples", "Where did predictions change?", _samples(sides, missing)),
        Section("params", "Which params differ?", [_params(sides)]),
    ]
    if missing:
        compared += ["Missing, and so not compared:", missing]
    write_page("Comparison", sections, folder, MARKDOWN)
    return missing


def _scores(before: dict, after: dict) -> Table:
    names = [name for name in {**after, **before} if ".iou." not in name and ".dice." not in name]
    names.sort(key=lambda name: bool(MINOR.search(name)))
    return Table(
        "Scores on the test split, and how training went (val: on the validation split)",
        ["score", "before", "after", "difference"],
        [_row(Change(n, before.get(n, MISSING), after.get(n, MISSING))) for n in names],
    )


def _row(change: Change) -> list[str]:
    return [change.name, score(change.before), score(change.after), signed(change.difference)]


def _classes(before: dict, after: dict) -> list[Block]:
    names = [name.removeprefix(IOU) for name in {**after, **before} if name.startswith(IOU)]
    if not names:
        return ["Neither side has scores by class."]
    rows = [Change(n, before.get(IOU + n, MISSING), after.get(IOU + n, MISSING)) for n in names]
    rows.sort(key=lambda change: -abs(change.difference or 0))
    shown, labels = rows[:MOST_CLASSES], class_labels(names, dejavu())
    which = some_of(len(shown), len(rows), "most changed", METRICS[0])
    return [
        Figure(
            "classes", "Bars of the IoU of each class, before and after",
            f"IoU by class, at original size{which}.", figures.class_bars(shown, labels),
        ),
        *filter(None, [unnamed(names, dejavu())]),
        Table(
            f"IoU by class, at original size, the most changed first{which}",
            ["class", "before", "after", "difference"], [_row(change) for change in shown],
        ),
    ]  # fmt: skip


def _curves(sides: Sides, missing: list[str]) -> list[Block]:
    before, after = histories = [revision.history() for revision in sides.values()]
    for (side, revision), history in zip(sides.items(), histories, strict=True):
        if history is None:
            missing.append(f"curves {side}: {revision.label} has no curves in {HISTORY}")
    if before is None or after is None:
        return ["A side has no curves."]
    return [
        Figure(
            "curves", "Curves of loss, accuracy and mean IoU over the epochs, before and after",
            "At network size; training dotted, validation solid.",
            figures.curves(before, after), wide=True,
        )
    ]  # fmt: skip


def _samples(sides: Sides, missing: list[str]) -> list[Block]:
    params = load_params().report
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (_predicted(*side, Path(scratch), missing) for side in sides.items())
        if not before or not after:
            return [_samples_in_git(sides)]
        if before[0].classes.names != after[0].classes.names:
            return ["The class tables differ, so masks cannot be compared."]
        common = read_names(before[1]) & read_names(after[1])
        names = {*first_by_hash(common, params.samples)}
        was, now = (_originals(manifest, names) for manifest, _ in (before, after))
        # Not another of the same name.
        same = {name: now[name].size for name in names if was[name] == now[name]}
        if not same:
            return ["No test image is in both: the data differs."]
        earlier, later = (_read(*side, same, params) for side in (before, after))
    bands = after[0].bands
    note = f" Those of more than {LONGEST} px are shrunk." if after[0].tiles else ""
    note += caption(bands, shown(bands, params.bands))
    return _judged(earlier, later, after[0].classes, note)


def _read(
    manifest: Manifest, predictions: Path, sizes: dict[str, tuple[int, int]], params: ReportParams
) -> Pictures:
    """Read test images, given with their original sizes, without padding, which a side may lack."""
    bands = shown(manifest.bands, params.bands)
    if manifest.tiles:
        return read_wholes(manifest, predictions, sizes.keys(), bands)
    pictures = read_pictures(manifest, predictions, {*sizes}, bands)
    for name, views in pictures.items():
        box = content_box(sizes[name], manifest.size, manifest.resize)
        pictures[name] = {view: pixels[box.within] for view, pixels in views.items()}
    return pictures


def _originals(manifest: Manifest, names: set[str]) -> dict[str, Original]:
    digests = {name: hashlib.sha256() for name in names}
    sizes = dict[str, tuple[int, int]]()
    for sample in read(manifest, "test"):
        if (name := sample["name"]) in names:
            mask = sample["original_mask"]  # for tiles, some rows of it
            sizes[name] = sample.get("original", mask.shape)
            digests[name].update(mask.tobytes())
    return {name: Original(sizes[name], digest.hexdigest()) for name, digest in digests.items()}


def _judged(earlier: Pictures, later: Pictures, table: ClassTable, note: str) -> list[Block]:
    """Show pictures with the predictions of both; where the sizes differ, at the later one."""
    rows, shares = [], []
    for name, picture in later.items():
        height, width = (truth := picture["truth"]).shape
        before = Image.fromarray(earlier[name]["prediction"])
        masks = {
            "before": np.asarray(before.resize((width, height), Image.Resampling.NEAREST)),
            "after": picture["prediction"],
        }
        judged = figures.judged(truth, **masks)
        pictures = {"image": picture["image"], "truth": truth, **masks}
        rows.append({"label": shortened(name), **pictures, "green better\ncrimson worse": judged})
        shares.append([name, *map(percent, figures.shares(judged))])
    return [
        Figure(
            "samples", f"Image, true mask, both predictions and what changed, of {', '.join(later)}",
            "The same test images in every comparison, at network size. Green pixels got better, "
            f"crimson ones worse; dark grey ones were wrong before and after.{note}",
            grids.sample_grid(rows, table), wide=True,
        ),
        Table("Share of these images' pixels that changed", ["image", "better", "worse"], shares),
    ]  # fmt: skip


def _predicted(
    side: str, revision: Revision, scratch: Path, missing: list[str]
) -> tuple[Manifest, Path] | None:
    """Copy a side's test records and predictions to `scratch`; None if they are not available."""
    folder = scratch / side
    folder.mkdir()
    try:
        predictions = revision.copy(PREDICTIONS, folder)
        revision.copy(f"{RECORDS}/manifest.json", folder)
        manifest = read_manifest(folder)
        for shard in manifest.shards("test"):
            revision.copy(f"{RECORDS}/{shard.name}", folder)
    except NotHere as reason:
        missing.append(
            f"predictions {side}: neither DVC's cache nor a remote has those of {revision.label} "
            f"({reason}); `dvc repro` there makes them, `dvc push` shares them"
        )
        return None
    return manifest, predictions


def _samples_in_git(sides: Sides) -> Block:
    """Show the small pictures in Git, as predictions are missing."""
    contents = {side: content for side, rev in sides.items() if (content := rev.read(SAMPLES))}
    if len(contents) < 2:
        return f"The predictions of a side are missing, and so is {SAMPLES} in Git."
    pictures = {side: np.asarray(Image.open(io.BytesIO(content))) for side, content in contents.items()}
    return Figure(
        "samples", "Samples before and after: image, true mask, prediction",
        f"The predictions of a side are missing; these are the pictures in Git ({SAMPLES}).",
        figures.beside(pictures), wide=True,
    )  # fmt: skip


def _params(sides: Sides) -> Block:
    changed = changes(sides["before"].params(), sides["after"].params())
    rows = [[change.name, yaml_line(change.before), yaml_line(change.after)] for change in changed]
    head = ["param", "before", "after"]
    return Table("Params that differ", head, rows, prose=True) if rows else "None."
