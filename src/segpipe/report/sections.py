"""The sections of the report, in order."""

from collections.abc import Sequence

from segpipe.common.bands import in_words
from segpipe.common.fonts import dejavu, unnamed
from segpipe.common.nested import flat
from segpipe.common.records import Manifest
from segpipe.common.splits import SPLITS
from segpipe.common.words import extent, percent, score
from segpipe.evaluate.metrics import TOLERANCES
from segpipe.report import plots
from segpipe.report.baseline import compared, verdict
from segpipe.report.failures import failures
from segpipe.report.pages import Block, Figure, Headline, Section, Table
from segpipe.report.read import Results
from segpipe.report.words import MEAN_NAMES, signed, some_of


def sections(
    results: Results, manifest: Manifest, samples: Sequence[Block], worst: Sequence[Block]
) -> list[Section]:
    """Return the sections of the report; `samples` and `worst` show test images."""
    size = f"scale {manifest.tiles.scale:g}" if manifest.tiles else extent(manifest.size)
    colours = manifest.classes.colours
    return [
        Section("data", "What was trained on what?", _trained_on(results, manifest)),
        Section("scores", "Is it good?", [*_scores(results, size), *samples]),
        Section("baseline", "Is it better than last time?", _compared(results, colours)),
        Section("failures", "Where does it fail?", failures(results, manifest, size)),
        Section("worst", "Which images are the worst?", worst),
        Section("training", "How did training go?", _curves(results)),
        Section("params", "Which params made it?", [_params(results)]),
    ]


def _trained_on(results: Results, manifest: Manifest) -> list[Block]:
    train = results.params["train"]
    epochs, stopped_by = len(results.history), results.summary["stopped_by"]
    ended = "" if stopped_by == "epochs" else f" (ended by train.{stopped_by})"
    left_out = [sample["problem"] for sample in manifest.left_out]
    return [
        f"A network on {results.params['model']['encoder']['name']}, trained on "
        f"{_seen_as(manifest, train['samples'])} for {epochs} epoch{'s' if epochs > 1 else ''}"
        f"{ended}; best on {manifest.pictures('val')} validation images in epoch "
        f"{results.summary['best_epoch']}; scored on {results.scores['images']} test images.",
        f"Source: {manifest.source}.{_seen(manifest)}",
        _data(manifest),
        *filter(None, [unnamed(manifest.classes.names, dejavu())]),
        f"{len(left_out)} samples were left out:" if left_out else "No sample was left out.",
        *([left_out] if left_out else []),
        *_cut(manifest),
    ]


def _cut(manifest: Manifest) -> list[Block]:
    return ["Notes on the tiles:", [*manifest.cut]] if manifest.cut else []


def _seen_as(manifest: Manifest, samples: int) -> str:
    """Return how many training images there are, and at which size the network sees them.

    `samples` is `train.samples`: 0 for all.
    """
    size = extent(manifest.size)
    count = f"{samples} of {manifest.count('train')}" if samples else f"{manifest.count('train')}"
    if not manifest.tiles:
        return f"{count} images of {size}"
    return (
        f"{count} pieces of {manifest.pictures('train')} images, seen in tiles of {size} at scale "
        f"{manifest.tiles.scale:g},"
    )


def _seen(manifest: Manifest) -> str:
    if manifest.bands == "rgb" and not manifest.intensity:
        return ""
    return f" The network sees {in_words(manifest.bands, manifest.intensity)}."


def _data(manifest: Manifest) -> Table:
    splits, names = manifest.splits, manifest.classes.names
    if len(names) > plots.MOST_CLASSES:
        names = sorted(names, key=lambda name: -splits["train"]["class_shares"][name])
    shown = names[: plots.MOST_CLASSES]
    records, counted = [], "Images"
    if manifest.tiles:
        records = [["records", *(str(manifest.count(split)) for split in SPLITS)]]
        counted = "Images, their records (pieces, tiles, rows of tiles)"
    return Table(
        f"{counted}, and the share of their pixels by class"
        + some_of(len(shown), len(names), "most frequent", "data/records/manifest.json"),
        ["", *SPLITS],
        [
            ["images", *(str(manifest.pictures(split)) for split in SPLITS)],
            *records,
            *([c, *(percent(split["class_shares"][c]) for split in splits.values())] for c in shown),
            ["ignored", *(percent(split["ignored_share"]) for split in splits.values())],
        ],
        manifest.classes.colours,
    )


def _scores(results: Results, size: str) -> list[Block]:
    original, network = results.scores["original"], results.scores["network"]
    interval = original["interval"]
    rows = [
        *([label, score(original[key]), _between(interval[key]), score(network[key])]
          for key, label in MEAN_NAMES.items()),
        *([f"boundary F1 within {t} px", score(original["boundary_f1"][f"{t}px"]), "–", "–"]
          for t in TOLERANCES),
        ["loss (nats)", "–", "–", score(results.scores["loss"])],
        ["calibration error", "–", "–", score(results.scores["calibration_error"])],
    ]  # fmt: skip
    return [
        Headline([(label, original[key], interval[key]) for key, label in MEAN_NAMES.items()]),
        Table(
            "Scores on the test split",
            ["score", "at original size", "95 % interval", f"at {size}"],
            rows,
        ),
        "Each score comes from one confusion matrix summed over all images, the boundary F1 from "
        "boundary pixels summed likewise: it says how well outlines fit. A class in no true and no "
        "predicted mask is called absent and left out of the means. The interval is a bootstrap over "
        "the test images: the range to expect from other images of the kind.",
    ]


def _compared(results: Results, colours: dict[str, str]) -> list[Block]:
    if not results.baseline:
        return [
            "There is nothing to compare with yet. The command “segpipe baseline” makes these scores "
            "the ones that later reports compare with."
        ]
    rows = [
        [
            change.name, score(change.before, "missing"), score(change.after, "missing"),
            signed(change.difference) or "missing",
        ]
        for change in compared(results.baseline, results.scores, plots.MOST_CLASSES)
    ]  # fmt: skip
    many = len(colours) > plots.MOST_CLASSES
    return [
        verdict(results.baseline, results.scores),
        Table(
            "Scores at original size, loss and calibration at the network's"
            + (f"; of the classes the {plots.MOST_CLASSES} lowest now" if many else ""),
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
        "At network size. Training: over the batches of the epoch, augmented, with the weights of the "
        "moment. Validation: after the epoch.",
        *(
            Figure(
                column,
                f"Curves of the {label}: training {course(column)}, "
                f"validation {course(f'val_{column}')}.",
                label[0].upper() + label[1:],
                plots.curve(history, column),
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
