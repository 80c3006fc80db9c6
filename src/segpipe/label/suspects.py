"""Pictures whose masks are least likely to be right, the worst first."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from segpipe.common.codec import decode_png
from segpipe.common.raw import read_named
from segpipe.evaluate.masks import channels_at_size, softmax
from segpipe.evaluate.tiles import tiles_of
from segpipe.label.judges import Judge
from segpipe.label.quality import Judgement, relative_overlaps

TABLE_BEGINS = b"name,split,overlap,weakest,quality,", b"name,split,quality,regions,"
"""How a table of suspects begins, now, and once."""
Judged = tuple[dict[str, Any], Judgement]
"""A sample of data/raw, and the judgement of its mask."""


@dataclass(frozen=True)
class Suspect:
    """A picture whose mask may be wrong."""

    name: str
    split: str
    overlap: float  # of the class `weakest`, see `quality.relative_overlaps`
    weakest: str  # the class that overlaps least in mask and prediction
    quality: float  # 0..1, see `quality.Judgement.quality`
    regions: int  # of which the model is sure that they are another class
    labelled: str | None  # class of the largest of them in the mask
    predicted: str | None  # and in the prediction
    share: float  # of the picture's pixels in the largest region
    sureness: float | None  # mean probability of the prediction there
    box: tuple[int, int, int, int] | None  # top, left, height, width of that region in pixels


def find(judges: Iterable[Judge]) -> tuple[list[Suspect], list[str]]:
    """Judge all samples that a judge was not trained on.

    Returns:
        The suspects by rising overlap, and the names of samples whose pixels are all ignored.
    """
    suspects, counts, empty = [], [], []
    for judge in judges:
        names = judge.predictor.classes.names
        for sample, judgement in judged(judge, judge.splits, "Judging"):
            name = sample["name"].decode()
            if (quality := judgement.quality()) is None:
                empty.append(name)
            else:
                suspects.append(_suspect(name, judge.splits[name], quality, judgement, names))
                counts.append(judgement.counts(len(names)))
    if not suspects:
        return [], empty
    compared = [
        dataclasses.replace(suspect, overlap=float(overlaps.min()), weakest=names[overlaps.argmin()])
        for suspect, overlaps in zip(suspects, relative_overlaps(np.stack(counts)), strict=True)
    ]
    return sorted(compared, key=lambda suspect: (suspect.overlap, suspect.name)), empty


def _suspect(name: str, split: str, quality: float, judgement: Judgement, names: list[str]) -> Suspect:
    """Return a suspect whose overlap is not yet compared with that of all others."""
    suspect = Suspect(name, split, 0.0, "", quality, 0, None, None, 0.0, None, None)
    regions = judgement.regions()
    if not regions:
        return suspect
    first = regions[0]
    return dataclasses.replace(
        suspect, regions=len(regions), labelled=names[first.labelled], predicted=names[first.predicted],
        share=first.pixels / judgement.mask.size, sureness=first.sureness, box=first.box,
    )  # fmt: skip


def table(suspects: Iterable[Suspect]) -> pd.DataFrame:
    """Return a row a picture, in the order given."""
    edges = ("top", "left", "height", "width")
    rows = []
    for suspect in suspects:
        columns = {key: value for key, value in vars(suspect).items() if key != "box"}
        rows.append(columns | dict(zip(edges, suspect.box or (None,) * 4, strict=True)))
    names = [field.name for field in dataclasses.fields(Suspect) if field.name != "box"]
    digits = {"overlap": 4, "quality": 4, "share": 6, "sureness": 4}
    frame = pd.DataFrame(rows, columns=[*names, *edges]).round(digits)
    return frame.astype(dict.fromkeys(edges, "Int64"))


def judged(judge: Judge, names: Collection[str], doing: str) -> Iterator[Judged]:
    """Yield the samples of data/raw with these names, and the judgement of each mask, at its own size.

    A sample has `name`, `image` and `mask`, bytes all; `doing` is the title of the progress bar. Raises
    UserError where the model predicts NaN or infinity.
    """
    network = judge.predictor.with_views(False, [1.0])
    samples = read_named(names, doing)
    if judge.predictor.input.tiles:
        for sample in samples:
            yield sample, _in_tiles(judge, network, sample)
        return
    while batch := list(islice(samples, judge.predictor.batch_size)):
        masks = [decode_png(sample["mask"]) for sample in batch]
        images = [_seen(judge, sample, mask) for sample, mask in zip(batch, masks, strict=True)]
        for sample, mask, logits in zip(batch, masks, network(np.stack(images)), strict=True):
            judgement = Judgement.empty(mask)
            channels = channels_at_size(softmax(logits), mask.shape, judge.predictor.resize)
            judgement.add(slice(None), channels)
            yield sample, judgement


def _in_tiles(
    judge: Judge, network: Callable[[np.ndarray], np.ndarray], sample: dict[str, Any]
) -> Judgement:
    mask = decode_png(sample["mask"])
    pixels, judgement = _seen(judge, sample, mask), Judgement.empty(mask)
    read = tiles_of(pixels, judge.predictor.size)
    size = pixels.shape[0], pixels.shape[1]
    for rows, probabilities in judge.predictor.in_rows(read, size, mask.shape, network):
        judgement.add(rows, np.moveaxis(probabilities, -1, 0))
    return judgement


def _seen(judge: Judge, sample: dict[str, Any], mask: np.ndarray) -> np.ndarray:
    return judge.predictor.input.stored(sample["image"], mask.shape, sample["name"].decode())
