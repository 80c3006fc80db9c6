"""The part of the report that tells where the model fails."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from segpipe.common.classes import ClassTable
from segpipe.common.records import Manifest
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report import analysis, plots
from segpipe.report.analysis import Kind, Quarter, Results
from segpipe.report.blocks import Block, Figure, Section, Table, Text
from segpipe.report.words import percent, score, some_of


def failures(results: Results, manifest: Manifest, size: str) -> list[Block]:
    """Sections by class, image size, share of the subject, kind, distance to a boundary, and confidence.

    Args:
        results: tables of training and evaluation.
        manifest: what the records are; of its classes, the subject is the first.
        size: the network's, in words.
    """
    table = manifest.classes
    subject = table.names[0]
    of_size = analysis.by_size(results.per_image, table.names)
    of_share = analysis.by_subject(results.per_image, table.names)
    kinds = analysis.by_kind(results.per_image, table.names)
    return [
        Section("classes", "By class", _by_class(results, table, size)),
        Section(
            "sizes",
            "By image size",
            _groups("sizes", "image size (px)", of_size, table, lambda area: f"{area:,.0f}"),
        ),
        Section(
            "subject",
            f"By the share of {subject} in the picture",
            _groups(
                "subject", f"share of {subject} (%)", of_share, table, lambda share: f"{100 * share:.1f}"
            ),
        ),
        *([Section("kinds", "By kind, as the names tell it", [_kinds(kinds, table)])] if kinds else []),
        Section(
            "boundaries",
            "Near the boundaries",
            [*_outlines(results, manifest), *_by_distance(results.by_distance)],
        ),
        Section("calibration", "Is it as sure as it is right?", _calibration(results)),
    ]


def _by_class(results: Results, table: ClassTable, size: str) -> list[Block]:
    sizes = [results.scores[at] for at in ("original", "network")]
    iou = sizes[0]["iou"]
    shown = analysis.lowest(iou, plots.MOST_CLASSES)
    some = some_of(len(shown), len(table), "lowest", "results/evaluate/metrics.json")
    said = ", ".join(f"{name} {score(iou[name])}" for name in shown)
    mistakes = analysis.mix_ups(results.confusion, 6)
    unnamed = " The many classes are counted from 0." if len(table) > plots.MOST_CLASSES else ""
    return [
        Figure(
            "iou",
            f"Bars of the IoU of each class{some}: {said}.",
            f"IoU on the test split, at original size{some}.",
            plots.class_scores(iou, table),
        ),
        Table(
            f"IoU and Dice of each class at original size and at {size}{some}",
            ["class", "IoU", "Dice", f"IoU at {size}", f"Dice at {size}"],
            [[c, *(score(at[kind][c]) for at in sizes for kind in ("iou", "dice"))] for c in shown],
            table.colours,
        ),
        Figure(
            "confusion",
            "Confusion matrix in per cent of each true class; the table of mistakes has its largest.",
            f"Pixels of the test split, at original size.{unnamed}",
            plots.confusion(results.confusion),
            wide=len(table) > plots.MOST_LINES,
        ),
        Table(
            "The most frequent mistakes, as a share of all counted pixels",
            ["true class", "predicted as", "share"],
            [[truth, prediction, percent(share)] for truth, prediction, share in mistakes],
            table.colours,
        ),
    ]


def _groups(
    name: str, what: str, groups: list[Quarter], table: ClassTable, said: Callable[[float], str]
) -> list[Block]:
    subject = table.names[0]
    ranges = [(said(group.low), said(group.high)) for group in groups]
    rows = [
        [f"{low} to {high}", str(group.images), score(group.scores["mean_iou"]),
         score(group.scores["iou"][subject]), score(group.scores["pixel_accuracy"])]
        for (low, high), group in zip(ranges, groups, strict=True)
    ]  # fmt: skip
    alt = ", ".join(f"{mean} at {values}" for values, _, mean, *_ in rows)
    return [
        Figure(
            name,
            f"IoU by {what}; the mean IoU is {alt}.",
            "Quarters of the test images, each scored as a whole at original size.",
            plots.groups(groups, [f"{low}\nto {high}" for low, high in ranges], table, what),
        ),
        Table(
            "Quarters of the test images; images of equal value stay together",
            [what, "images", "mean IoU", f"IoU of {subject}", "pixel accuracy"],
            rows,
        ),
    ]


def _kinds(kinds: list[Kind], table: ClassTable) -> Table:
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
    said = " and ".join(f"{score(means[f'{t}px'])} where near means {t} px" for t in TOLERANCES)
    ignored = (
        " Boundaries with ignored pixels do not count: where these lie between the classes, as a band "
        "around each object, little is left to score, and the boundary F1 says little."
        if manifest.splits["test"]["ignored_share"]
        else ""
    )
    columns = {
        f"boundary_{name}_{t}px": f"{label}, {t}\N{NO-BREAK SPACE}px"
        for t in TOLERANCES
        for name, label in (("precision", "right"), ("recall", "found"), ("f1", "F1"))
    }
    by_class = results.by_class[[*columns]].astype(object)
    by_class = by_class.where(by_class.notna(), None)
    shown = analysis.lowest(by_class[f"boundary_f1_{TOLERANCES[0]}px"].to_dict(), plots.MOST_CLASSES)
    some = some_of(len(shown), len(manifest.classes), "lowest", "results/evaluate/per_class.csv")
    return [
        Text(
            "The boundary F1 says how well outlines fit, from 0 to 1. A point on an outline that the "
            "model drew is right if a true outline of that class is near, and a true one is found if a "
            "drawn one is near. The F1 is 1 if all are right (precision) and all are found (recall). "
            f"Its mean over the classes is {said}, at original size.{ignored}"
        ),
        Table(
            f"Outlines of each class: right and found within a tolerance, at original size{some}",
            ["class", *columns.values()],
            [[name, *(score(value, "–") for value in by_class.loc[name])] for name in shown],
            manifest.classes.colours,
        ),
    ]


def _by_distance(table: pd.DataFrame) -> list[Block]:
    rows = [
        [row.distance, percent(row.share), score(None if np.isnan(row.accuracy) else row.accuracy, "–")]
        for row in table.itertuples()
    ]
    said = ", ".join(f"{accuracy} at {distance} px" for distance, _, accuracy in rows)
    return [
        Figure(
            "boundaries",
            f"Bars of the accuracy by distance to the nearest boundary: {said}.",
            "Pixel accuracy at network size. A pixel at distance 1 touches another class of the true "
            "mask, if only at a corner.",
            plots.by_distance(table),
        ),
        Table(
            "Pixels by distance to the nearest boundary, in pixels of the network's size",
            ["distance", "share of pixels", "accuracy"],
            rows,
        ),
    ]


def _calibration(results: Results) -> list[Block]:
    table = results.calibration[results.calibration["pixels"] > 0]
    error = score(results.scores["calibration_error"])
    rows = [
        [f"{row.low:.2f}–{row.high:.2f}", f"{row.pixels:,}", score(row.confidence), score(row.accuracy)]
        for row in table.itertuples()
    ]
    return [
        Text(
            "Confidence is the probability that the model gives the class it predicts. It is off by "
            f"{error} on average over the pixels (expected calibration error, "
            f"{len(results.calibration)} bins). Below the diagonal the model is surer than it is right."
        ),
        Figure(
            "calibration",
            "Accuracy over confidence, beside the diagonal on which they are equal; the table of "
            "confidence has the numbers.",
            "Pixels at network size by confidence, and how many there are.",
            plots.calibration(results.calibration),
        ),
        Table("Pixels by confidence", ["confidence", "pixels", "mean confidence", "accuracy"], rows),
    ]
