"""Two revisions beside each other: scores, curves, and the same pictures predicted by both models."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash
from segpipe.common.records import Manifest, read, read_manifest
from segpipe.common.tfrecord import read_shard
from segpipe.params.load import load_params
from segpipe.report import grids
from segpipe.report.blocks import Block, Figure, Points, Section, Table, Text
from segpipe.report.changes import MISSING, Change, changes
from segpipe.report.pages import write_page
from segpipe.report.plots import MOST_CLASSES
from segpipe.report.read import read_predictions
from segpipe.report.words import percent, score, shortened, signed, some_of, yaml_line
from segpipe.review import figures, git
from segpipe.review.revision import HISTORY, METRICS, MINOR, SAMPLES, NotHere, Revision

MARKDOWN = "compare.md"
RECORDS, PREDICTIONS = "data/records", "results/evaluate/predictions"
IOU = "original.iou."
CHANGE = "green better\ncrimson worse"
"""What stands above the pictures of what changed."""


@dataclass(frozen=True)
class Sides:
    """The two revisions, and what is missing of them."""

    before: Revision
    after: Revision
    missing: list[str] = field(default_factory=list)

    def both(self) -> tuple[tuple[str, Revision], ...]:
        """The revisions with their names."""
        return ("before", self.before), ("after", self.after)


@dataclass(frozen=True)
class Predicted:
    """A model's test predictions and the manifest of the records that they are of."""

    manifest: Manifest
    masks: dict[str, np.ndarray]
    """Class indices, uint8 [S, S], by sample."""


def compare(before: str, after: str | None, folder: Path) -> list[str]:
    """Write `index.html`, `compare.md` and `figures/` about two revisions to `folder`, replacing it.

    Args:
        before: the earlier revision or experiment.
        after: the later one; None is the working tree.
        folder: where to.

    Returns:
        What is missing of a side, and so was not compared.

    Raises:
        CannotTell: a revision is unknown here, or its results are damaged.
    """
    git.require_commits()
    _refuse_what_is_no_comparison(folder)
    sides = Sides(Revision(before), Revision(after))
    scores = sides.before.scores(), sides.after.scores()
    for (side, revision), found in zip(sides.both(), scores, strict=True):
        if not found:
            sides.missing.append(f"scores {side}: {revision.label} has no {METRICS[0]}")
    sections = [
        Section("scores", "What do the scores say?", [_scores(*scores)]),
        Section("classes", "Which classes changed?", _classes(*scores)),
        Section("curves", "How did training go?", _curves(sides)),
        Section("samples", "Where did predictions change?", _samples(sides)),
        Section("params", "Which params differ?", _params(sides)),
    ]
    what = Section("what", "What is compared?", _what(sides))  # last, as it lists what is missing
    write_page("Comparison", [what, *sections], folder, MARKDOWN)
    return sides.missing


def _refuse_what_is_no_comparison(folder: Path) -> None:
    if not folder.exists() or (folder / MARKDOWN).is_file():
        return
    if folder.is_file() or any(folder.iterdir()):
        raise UserError(f"{folder} holds other things than a comparison, and would be replaced")


def _what(sides: Sides) -> list[Block]:
    described = [
        f"{side}: {revision.label}" + (f" ({revision.commit[:9]})" if revision.commit else "")
        for side, revision in sides.both()
    ]
    blocks: list[Block] = [Points(described)]
    if sides.missing:
        blocks += [Text("What is missing, and so not compared:"), Points(sides.missing)]
    return blocks


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
        return [Text("Neither side has scores by class.")]
    found = [Change(n, before.get(IOU + n, MISSING), after.get(IOU + n, MISSING)) for n in names]
    found.sort(key=lambda change: -abs(change.difference or 0))
    shown = found[:MOST_CLASSES]
    which = some_of(len(shown), len(found), "most changed", METRICS[0])
    return [
        Figure(
            "classes", "Bars of the IoU of each class, before and after",
            f"IoU by class, at original size{which}.", figures.class_bars(shown),
        ),
        Table(
            f"IoU by class, at original size, the most changed first{which}",
            ["class", "before", "after", "difference"], [_row(change) for change in shown],
        ),
    ]  # fmt: skip


def _curves(sides: Sides) -> list[Block]:
    histories = [revision.history() for _, revision in sides.both()]
    for (side, revision), history in zip(sides.both(), histories, strict=True):
        if history is None:
            sides.missing.append(f"curves {side}: {revision.label} has no curves in {HISTORY}")
    before, after = histories
    if before is None or after is None:
        return [Text("A side has no curves.")]
    return [
        Figure(
            "curves", "Curves of loss, accuracy and mean IoU over the epochs, before and after",
            "At network size; training dotted, validation drawn through.",
            figures.curves(before, after), wide=True,
        )
    ]  # fmt: skip


def _samples(sides: Sides) -> list[Block]:
    count = load_params().report.samples
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (_predicted(sides, *side, Path(scratch)) for side in sides.both())
        if not before or not after:
            return _samples_in_git(sides)
        if before.manifest.classes.names != after.manifest.classes.names:
            return [Text("The class tables differ, so that masks cannot be compared.")]
        names = first_by_hash(after.masks.keys() & before.masks.keys(), count)
        truths = [_true_masks(side.manifest, names) for side in (before, after)]
        same = [name for name in names if truths[0][name] == truths[1][name]]
        if not same:
            return [Text("No test image is in both: the data is another.")]
        return _judged(same, before, after)


def _judged(names: list[str], before: Predicted, after: Predicted) -> list[Block]:
    rows, table = [], []
    for sample in read(after.manifest, "test"):
        if (name := sample["name"]) not in names:
            continue
        truth = sample["mask"]
        masks = {"before": _at_size(before.masks[name], truth), "after": after.masks[name]}
        judged = figures.judged(truth, masks["before"], masks["after"])
        rows.append(
            {
                "label": shortened(name),
                "image": sample["image"],
                "truth": truth,
                **masks,
                CHANGE: judged,
            }
        )
        table.append([name, *(percent(share) for share in figures.shares(judged))])
    return [
        Figure(
            "samples", f"Image, true mask, both predictions and what changed, of {', '.join(names)}",
            "The same test images in every comparison, at network size. Green pixels got better, "
            "crimson ones worse; dark grey ones were wrong before and after.",
            grids.sample_grid(rows, after.manifest.classes), wide=True,
        ),
        Table("Share of these images' pixels that changed", ["image", "better", "worse"], table),
    ]  # fmt: skip


def _at_size(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A mask of a network of another size, at this one's."""
    height, width = like.shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _predicted(sides: Sides, side: str, revision: Revision, scratch: Path) -> Predicted | None:
    """Predictions and, of the records, what a comparison reads; None where they cannot be had."""
    folder = scratch / side
    folder.mkdir()
    try:
        masks = dict(read_predictions(revision.copy(PREDICTIONS, folder)))
        revision.copy(f"{RECORDS}/manifest.json", folder)
        manifest = read_manifest(folder)
        for shard in manifest.shards("test"):
            revision.copy(f"{RECORDS}/{shard.name}", folder)
    except NotHere as reason:
        sides.missing.append(
            f"predictions {side}: neither DVC's cache nor a remote has those of {revision.label} "
            f"({reason}); `dvc repro` there makes them, `dvc push` shares them"
        )
        return None
    return Predicted(manifest, masks)


def _true_masks(manifest: Manifest, names: list[str]) -> dict[str, bytes]:
    """The masks at original size as PNG bytes, by which other pictures of the same name are told."""
    features = (one for shard in manifest.shards("test") for one in read_shard(shard))
    return {
        one["name"].decode(): one["original_mask"] for one in features if one["name"].decode() in names
    }


def _samples_in_git(sides: Sides) -> list[Block]:
    """The small pictures that Git holds, where the predictions are missing."""
    pictures = {
        side: picture
        for side, revision in sides.both()
        if (picture := revision.picture(SAMPLES)) is not None
    }
    if len(pictures) < 2:
        return [Text(f"The predictions of a side are missing, and so is {SAMPLES} in Git.")]
    return [
        Figure(
            "samples", "Samples before and after: image, true mask, prediction",
            f"The predictions of a side are missing; these are the pictures in Git ({SAMPLES}).",
            figures.beside(pictures), wide=True,
        )
    ]  # fmt: skip


def _params(sides: Sides) -> list[Block]:
    found = changes(sides.before.params(), sides.after.params())
    if not found:
        return [Text("None.")]
    rows = [[change.name, yaml_line(change.before), yaml_line(change.after)] for change in found]
    return [Table("Params that differ", ["param", "before", "after"], rows, prose=True)]
