"""What the report tells, in which order: results in, sections of blocks out."""

from collections.abc import Sequence

from segpipe.common.nested import flat
from segpipe.common.records import Manifest
from segpipe.common.words import extent
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report import plots
from segpipe.report.analysis import Results
from segpipe.report.baseline import compared, verdict
from segpipe.report.blocks import Block, Figure, Headline, Points, Section, Table, Text
from segpipe.report.failures import failures
from segpipe.report.words import percent, score, signed, some_of

MEANS = {"mean_iou": "mean IoU", "mean_dice": "mean Dice", "pixel_accuracy": "pixel accuracy"}


def tell(
    results: Results, manifest: Manifest, samples: Sequence[Block], worst: Sequence[Block]
) -> list[Section]:
    """The sections of the report.

    Args:
        results: tables of training and evaluation.
        manifest: what the records are.
        samples: what shows the fixed samples.
        worst: what shows the worst test images.
    """
    size = extent(manifest.size)
    return [
        Section("data", "What was trained on what?", _trained_on(results, manifest)),
        Section("scores", "Is it good?", [*_scores(results, size), *samples]),
        Section(
            "baseline", "Is it better than last time?", _compared(results, manifest.classes.colours)
        ),
        Section("failures", "Where does it fail?", failures(results, manifest, size)),
        Section("worst", "Which images are the worst?", worst),
        Section("training", "How did training go?", _curves(results)),
        Section("params", "Which params made it?", [_params(results)]),
    ]


def _trained_on(results: Results, manifest: Manifest) -> list[Block]:
    epochs, stopped_by = len(results.history), results.summary["stopped_by"]
    ended = "" if stopped_by == "epochs" else f" (ended by train.{stopped_by})"
    left_out = [sample["problem"] for sample in manifest.left_out]
    return [
        Text(
            f"A U-Net on {results.params['model']['encoder']['name']}, trained on "
            f"{manifest.count('train')} images of {extent(manifest.size)} for {epochs} "
            f"epoch{'s' if epochs > 1 else ''}{ended}; best on {manifest.count('val')} validation "
            f"images in epoch {results.summary['best_epoch']}; scored on {results.scores['images']} "
            "test images."
        ),
        Text(f"Source: {manifest.source}."),
        _data(manifest),
        Text(f"{len(left_out)} samples were left out:" if left_out else "No sample was left out."),
        *([Points(left_out)] if left_out else []),
    ]


def _data(manifest: Manifest) -> Table:
    splits, names = manifest.splits, manifest.classes.names
    if len(names) > plots.MOST_CLASSES:
        names = sorted(names, key=lambda name: -splits["train"]["class_shares"][name])
    shown = names[: plots.MOST_CLASSES]
    return Table(
        "Images, and the share of their pixels by class"
        + some_of(len(shown), len(names), "most frequent", "data/records/manifest.json"),
        ["", *splits],
        [
            ["images", *(str(split["samples"]) for split in splits.values())],
            *([c, *(percent(split["class_shares"][c]) for split in splits.values())] for c in shown),
            ["ignored", *(percent(split["ignored_share"]) for split in splits.values())],
        ],
        manifest.classes.colours,
    )


def _scores(results: Results, size: str) -> list[Block]:
    original, network = results.scores["original"], results.scores["network"]
    interval = original["interval"]
    means = [
        [label, score(original[key]), _between(interval[key]), score(network[key])]
        for key, label in MEANS.items()
    ]
    boundaries = [
        [f"boundary F1 within {t} px", score(original["boundary_f1"][f"{t}px"]), "–", "–"]
        for t in TOLERANCES
    ]
    loss = [
        [label, "–", "–", score(results.scores[key])]
        for key, label in (("loss", "loss (nats)"), ("calibration_error", "calibration error"))
    ]
    return [
        Headline([(label, original[key], interval[key]) for key, label in MEANS.items()]),
        Table(
            "Scores on the test split",
            ["score", "at original size", "95 % interval", f"at {size}"],
            means + boundaries + loss,
        ),
        Text(
            "Each score comes from one confusion matrix summed over all images, the boundary F1 from "
            "boundary pixels summed likewise: it says how well outlines fit. A class in no true and no "
            "predicted mask is called absent and left out of the means. The interval is a bootstrap "
            "over the test images: what other images of the kind would have given."
        ),
    ]


def _compared(results: Results, colours: dict[str, str]) -> list[Block]:
    if not results.baseline:
        return [
            Text(
                "There is nothing to compare with yet. The command “segpipe baseline” makes these "
                "scores the ones that later reports compare with."
            )
        ]
    rows = [
        [
            change.name, score(change.before, "missing"), score(change.after, "missing"),
            signed(change.difference) or "missing",
        ]
        for change in compared(results.baseline, results.scores, plots.MOST_CLASSES)
    ]  # fmt: skip
    return [
        Text(verdict(results.baseline, results.scores)),
        Table(
            "Scores at original size, loss and calibration at the network's"
            + (
                f"; of the classes the {plots.MOST_CLASSES} lowest now"
                if len(colours) > plots.MOST_CLASSES
                else ""
            ),
            ["score", "baseline", "now", "difference"],
            rows,
            {f"IoU of {name}": colour for name, colour in colours.items()},
        ),
    ]


def _curves(results: Results) -> list[Block]:
    history = results.history

    def course(column: str) -> str:
        return f"from {history[column].iloc[0]:.3f} to {history[column].iloc[-1]:.3f}"

    return [
        Text(
            "At network size. Training: over the epoch's batches as they were learned from, mirrored "
            "and with the weights of the moment. Validation: after the epoch."
        ),
        *(
            Figure(
                column,
                f"Curves of the {label}: training {course(column)}, "
                f"validation {course(f'val_{column}')}.",
                label[0].upper() + label[1:],
                plots.curve(history, column, label),
            )
            for column, label in plots.PANELS.items()
        ),
    ]


def _params(results: Results) -> Table:
    rows = [
        [key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
        for key, value in flat(results.params).items()
    ]
    return Table("All params, as the stages used them", ["key", "value"], rows, prose=True)


def _between(interval: dict[str, float | None]) -> str:
    return "–" if interval["low"] is None else f"{score(interval['low'])} to {score(interval['high'])}"
