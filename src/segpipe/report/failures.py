"""The part of the report that shows where the model fails."""

from collections.abc import Callable

import pandas as pd

from segpipe.common.classes import ClassTable
from segpipe.common.records import Manifest
from segpipe.common.words import percent, score
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report import analysis, plots
from segpipe.report.analysis import Group
from segpipe.report.pages import Block, Figure, Section, Table
from segpipe.report.read import Results
from segpipe.report.words import some_of


def failures(results: Results, manifest: Manifest, size: str) -> list[Block]:
    """Return sections by class, image size, share of the subject, kind, boundaries and confidence.

    The subject is the first class; `size` is the network's, in words.
    """
    table, images = manifest.classes, results.per_image
    subject = table.names[0]
    sizes = _quarters(
        "sizes", "image size (px)", analysis.by_size(images, table.names), table,
        lambda area: f"{area:,.0f}",
    )  # fmt: skip
    shares = _quarters(
        "subject", f"share of {subject} (%)", analysis.by_subject(images, table.names), table,
        lambda share: f"{100 * share:.1f}",
    )  # fmt: skip
    kinds = analysis.by_kind(images, table.names)
    outlines = _outlines(results, manifest)
    return [
        Section("classes", "By class", _by_class(results, table, size)),
        Section("sizes", "By image size", sizes),
        Section("subject", f"By the share of {subject} in the picture", shares),
        *([Section("kinds", "By kind, as the names tell it", [_kinds(kinds, table)])] if kinds else []),
        Section("boundaries", "Near the boundaries", outlines + _by_distance(results.by_distance)),
        Section("calibration", "Is it as sure as it is right?", _calibration(results)),
    ]


def _by_class(results: Results, table: ClassTable, size: str) -> list[Block]:
    sizes = [results.scores[at] for at in ("original", "network")]
    iou = sizes[0]["iou"]
    shown = analysis.lowest(iou, plots.MOST_CLASSES)
    which = some_of(len(shown), len(table), "lowest", "results/evaluate/metrics.json")
    values = ", ".join(f"{name} {score(iou[name])}" for name in shown)
    mistakes = analysis.mix_ups(results.confusion, 6)
    unnamed = " The many classes are counted from 0." if len(table) > plots.MOST_CLASSES else ""
    return [
        Figure(
            "iou", f"Bars of the IoU of each class{which}: {values}.",
            f"IoU on the test split, at original size{which}.", plots.class_scores(iou, table),
        ),
        Table(
            f"IoU and Dice of each class at original size and at {size}{which}",
            ["class", "IoU", "Dice", f"IoU at {size}", f"Dice at {size}"],
            [[c, *(score(at[kind][c]) for at in sizes for kind in ("iou", "dice"))] for c in shown],
            table.colours,
        ),
        Figure(
            "confusion",
            "Confusion matrix in per cent of each true class; the table of mistakes has its largest.",
            f"Pixels of the test split, at original size.{unnamed}",
            plots.confusion(results.confusion), wide=len(table) > plots.MOST_LINES,
        ),
        Table(
            "The most frequent mistakes, as a share of all counted pixels",
            ["true class", "predicted as", "share"],
            [[truth, prediction, percent(share)] for truth, prediction, share in mistakes],
            table.colours,
        ),
    ]  # fmt: skip


def _quarters(
    name: str, measure: str, groups: list[Group], table: ClassTable, in_words: Callable[[float], str]
) -> list[Block]:
    subject = table.names[0]
    ranges = [(in_words(group.low), in_words(group.high)) for group in groups]
    rows = [
        [f"{low} to {high}", str(group.images), score(group.scores["mean_iou"]),
         score(group.scores["iou"][subject]), score(group.scores["pixel_accuracy"])]
        for (low, high), group in zip(ranges, groups, strict=True)
    ]  # fmt: skip
    alt = ", ".join(f"{mean} at {values}" for values, _, mean, *_ in rows)
    return [
        Figure(
            name, f"IoU by {measure}; the mean IoU is {alt}.",
            "Quarters of the test images, each scored as a whole at original size.",
            plots.groups(groups, [f"{low}\nto {high}" for low, high in ranges], table, measure),
        ),
        Table(
            "Quarters of the test images; images of equal value stay together",
            [measure, "images", "mean IoU", f"IoU of {subject}", "pixel accuracy"], rows,
        ),
    ]  # fmt: skip


def _kinds(kinds: list[Group], table: ClassTable) -> Table:
    shown = table.names if len(table) <= plots.MOST_LINES else table.names[:1]
    rows = [
        [kind.name, str(kind.images), score(kind.scores["pixel_accuracy"]),
         score(kind.scores["mean_iou"]), *(score(kind.scores["iou"][name]) for name in shown)]
        for kind in kinds
    ]  # fmt: skip
    return Table(
        "Test images by what their names say before the number, the lowest mean IoU first; kinds of "
        f"fewer than {analysis.FEWEST_IMAGES} images are left out",
        ["kind", "images", "pixel accuracy", "mean IoU", *(f"IoU of {name}" for name in shown)],
        rows,
    )


def _outlines(results: Results, manifest: Manifest) -> list[Block]:
    means = results.scores["original"]["boundary_f1"]
    values = " and ".join(f"{score(means[f'{t}px'])} where near means {t} px" for t in TOLERANCES)
    ignored = (
        " Boundaries with ignored pixels do not count: if such pixels lie between the classes, as a "
        "band around each object, little is left to score, and the boundary F1 says little."
    )
    columns = {
        f"boundary_{name}_{t}px": f"{label}, {t}\N{NO-BREAK SPACE}px"
        for t in TOLERANCES
        for name, label in (("precision", "right"), ("recall", "found"), ("f1", "F1"))
    }
    by_class = results.by_class[[*columns]]
    shown = analysis.lowest(by_class[f"boundary_f1_{TOLERANCES[0]}px"].to_dict(), plots.MOST_CLASSES)
    which = some_of(len(shown), len(manifest.classes), "lowest", "results/evaluate/per_class.csv")
    return [
        "The boundary F1 says how well outlines fit, from 0 to 1. A point on a predicted outline is "
        "right if a true outline of that class is near; a point on a true outline is found if a "
        "predicted one is near. The F1 is 1 if all are right (precision) and all are found (recall). "
        f"Its mean over the classes is {values}, at original size."
        + (ignored if manifest.splits["test"]["ignored_share"] else ""),
        Table(
            f"Outlines of each class: right and found within a tolerance, at original size{which}",
            ["class", *columns.values()],
            [[name, *(score(value, "–") for value in by_class.loc[name])] for name in shown],
            manifest.classes.colours,
        ),
    ]


def _by_distance(table: pd.DataFrame) -> list[Block]:
    rows = [[r.distance, percent(r.share), score(r.accuracy, "–")] for r in table.itertuples()]
    values = ", ".join(f"{accuracy} at {distance} px" for distance, _, accuracy in rows)
    return [
        Figure(
            "boundaries", f"Bars of the accuracy by distance to the nearest boundary: {values}.",
            "Pixel accuracy at network size. A pixel at distance 1 touches another class of the true "
            "mask, if only at a corner.", plots.by_distance(table),
        ),
        Table(
            "Pixels by distance to the nearest boundary, in pixels of the network's size",
            ["distance", "share of pixels", "accuracy"], rows,
        ),
    ]  # fmt: skip


def _calibration(results: Results) -> list[Block]:
    table = results.calibration[results.calibration["pixels"] > 0]
    error = score(results.scores["calibration_error"])
    rows = [
        [f"{row.low:.2f}–{row.high:.2f}", f"{row.pixels:,}", score(row.confidence), score(row.accuracy)]
        for row in table.itertuples()
    ]
    return [
        "Confidence is the probability that the model gives the class it predicts. It is off by "
        f"{error} on average over the pixels (expected calibration error, "
        f"{len(results.calibration)} bins). Below the diagonal the model is surer than it is right.",
        Figure(
            "calibration",
            "Accuracy over confidence, beside the diagonal on which they are equal; the table of "
            "confidence has the numbers.",
            "Pixels at network size by confidence, and how many there are.",
            plots.calibration(results.calibration),
        ),
        Table("Pixels by confidence", ["confidence", "pixels", "mean confidence", "accuracy"], rows),
    ]
