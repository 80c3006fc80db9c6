"""Compare two revisions on a page: scores, curves, and the same pictures predicted by both models."""

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from segpipe.common.bands import caption, displayed, shown
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash
from segpipe.common.letters import class_labels, dejavu, unnamed
from segpipe.common.records import Manifest, read, read_manifest
from segpipe.params.load import load_params
from segpipe.report import grids
from segpipe.report.changes import MISSING, Change, changes
from segpipe.report.pages import Block, Figure, Section, Table, write_page
from segpipe.report.plots import MOST_CLASSES
from segpipe.report.read import read_predictions
from segpipe.report.words import percent, score, shortened, signed, some_of, yaml_line
from segpipe.review import figures, git
from segpipe.review.revision import HISTORY, METRICS, MINOR, SAMPLES, NotHere, Revision

MARKDOWN = "compare.md"
RECORDS, PREDICTIONS = "data/records", "results/evaluate/predictions"
IOU = "original.iou."

Sides = dict[str, Revision]  # the revisions, `before` and `after`
Masks = dict[str, np.ndarray]  # predicted class indices, uint8 [S, S], by sample


def compare(before: str, after: str | None, folder: Path) -> list[str]:
    """Write `index.html`, `compare.md` and `figures/` about two revisions to `folder`, replacing it.

    A revision may be an experiment; `after` None is the working tree. Return what was not compared, a
    line for each part that a side lacks. Raises CannotTell where a revision is unknown here or its
    results are damaged, and UserError where the folder holds something other than a comparison.
    """
    git.require_commits()
    if not (folder / MARKDOWN).is_file() and (folder.is_file() or any(folder.glob("*"))):
        raise UserError(
            f"{folder} holds something other than a comparison; give another --out, which is replaced"
        )
    sides = {"before": Revision(before), "after": Revision(after)}
    scores, described, missing = [], [], list[str]()
    for side, revision in sides.items():
        commit = f" ({revision.commit[:9]})" if revision.commit else ""
        described.append(f"{side}: {revision.label}{commit}")
        scores.append(revision.scores())
        if not scores[-1]:
            missing.append(f"scores {side}: {revision.label} has no {METRICS[0]}")
    what: list[Block] = [described]
    sections = [
        Section("what", "What is compared?", what),
        Section("scores", "What do the scores say?", [_scores(*scores)]),
        Section("classes", "Which classes changed?", _classes(*scores)),
        Section("curves", "How did training go?", _curves(sides, missing)),
        Section("samples", "Where did predictions change?", _samples(sides, missing)),
        Section("params", "Which params differ?", [_params(sides)]),
    ]
    if missing:
        what += ["Missing, and so not compared:", missing]
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
    found = [Change(n, before.get(IOU + n, MISSING), after.get(IOU + n, MISSING)) for n in names]
    found.sort(key=lambda change: -abs(change.difference or 0))
    shown, labels = found[:MOST_CLASSES], class_labels(names, dejavu())
    which = some_of(len(shown), len(found), "most changed", METRICS[0])
    return [
        Figure(
            "classes", "Bars of the IoU of each class, before and after",
            f"IoU by class, at original size{which}.", figures.class_bars(shown, labels),
        ),
        *([said] if (said := unnamed(names, dejavu())) else []),
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
        names = first_by_hash(after[1].keys() & before[1].keys(), params.samples)
        once, now = (
            {sample["name"]: sample for sample in read(manifest, "test") if sample["name"] in names}
            for manifest, _ in (before, after)
        )
    same = {  # another picture may have the same name
        name: sample
        for name, sample in now.items()
        if np.array_equal(sample["original_mask"], once[name]["original_mask"])
    }
    if not same:
        return ["No test image is in both: the data differs."]
    bands = after[0].bands
    positions = shown(bands, params.bands)
    for sample in same.values():
        sample["image"] = displayed(sample["image"], positions)
    said = caption(bands, positions)
    return _judged(same, before[1], after[1], after[0].classes, said)


def _judged(
    samples: dict[str, dict], before: Masks, after: Masks, table: ClassTable, bands: str
) -> list[Block]:
    rows, shares = [], []
    for name, sample in samples.items():
        height, width = (truth := sample["mask"]).shape
        earlier = Image.fromarray(before[name])  # the network's size may have been another
        masks = {
            "before": np.asarray(earlier.resize((width, height), Image.Resampling.NEAREST)),
            "after": after[name],
        }
        judged = figures.judged(truth, **masks)
        pictures = {"image": sample["image"], "truth": truth, **masks}
        rows.append({"label": shortened(name), **pictures, "green better\ncrimson worse": judged})
        shares.append([name, *map(percent, figures.shares(judged))])
    return [
        Figure(
            "samples", f"Image, true mask, both predictions and what changed, of {', '.join(samples)}",
            "The same test images in every comparison, at network size. Green pixels got better, "
            f"crimson ones worse; dark grey ones were wrong before and after.{bands}",
            grids.sample_grid(rows, table), wide=True,
        ),
        Table("Share of these images' pixels that changed", ["image", "better", "worse"], shares),
    ]  # fmt: skip


def _predicted(
    side: str, revision: Revision, scratch: Path, missing: list[str]
) -> tuple[Manifest, Masks] | None:
    """Fetch a side's predictions and the test records to `scratch`; None if they cannot be had."""
    folder = scratch / side
    folder.mkdir()
    try:
        masks = dict(read_predictions(revision.copy(PREDICTIONS, folder)))
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
    return manifest, masks


def _samples_in_git(sides: Sides) -> Block:
    """Show the small pictures in Git, as predictions are missing."""
    found = {side: content for side, rev in sides.items() if (content := rev.read(SAMPLES))}
    if len(found) < 2:
        return f"The predictions of a side are missing, and so is {SAMPLES} in Git."
    pictures = {side: np.asarray(Image.open(io.BytesIO(content))) for side, content in found.items()}
    return Figure(
        "samples", "Samples before and after: image, true mask, prediction",
        f"The predictions of a side are missing; these are the pictures in Git ({SAMPLES}).",
        figures.beside(pictures), wide=True,
    )  # fmt: skip


def _params(sides: Sides) -> Block:
    found = changes(sides["before"].params(), sides["after"].params())
    rows = [[change.name, yaml_line(change.before), yaml_line(change.after)] for change in found]
    head = ["param", "before", "after"]
    return Table("Params that differ", head, rows, prose=True) if rows else "None."
