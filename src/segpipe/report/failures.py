"""The part of the report that tells where the model fails."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from segpipe.blocks import Block, Figure, Section, Table, Text
from segpipe.classes import ClassTable
from segpipe.report import analysis, plots
from segpipe.report.analysis import Group, Results
from segpipe.words import percent, score, some_of


def failures(results: Results, table: ClassTable, size: str) -> list[Block]:
    """Sections by class, image size, share of the subject, distance to a boundary, and confidence.

    Args:
        results: tables of training and evaluation.
        table: the classes; the subject is the first.
        size: the network's, in words.
    """
    subject = table.names[0]
    of_size = analysis.by_size(results.per_image, table.names)
    of_share = analysis.by_subject(results.per_image, table.names)
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
        Section("boundaries", "Near the boundaries", _boundaries(results.by_distance)),
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
    name: str, what: str, groups: list[Group], table: ClassTable, said: Callable[[float], str]
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


def _boundaries(table: pd.DataFrame) -> list[Block]:
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
