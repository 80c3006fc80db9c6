"""What the tables of the results say: which images to show, and where the model fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from segpipe.evaluate import metrics

FEWEST_IMAGES, MOST_KINDS = 5, 40
"""Of how many images a kind's score says something, and how many kinds a table can show."""


@dataclass(frozen=True)
class Results:
    """What the earlier stages found out."""

    params: dict[str, Any]
    history: pd.DataFrame
    summary: dict[str, Any]
    """How training went."""
    scores: dict[str, Any]
    per_image: pd.DataFrame
    confusion: pd.DataFrame
    """Pixels, rows the truth, columns the prediction."""
    calibration: pd.DataFrame
    by_distance: pd.DataFrame
    by_class: pd.DataFrame
    """Scores at original size, by class name."""
    baseline: dict[str, float | None]
    """The scores to beat by dotted key; empty where there are none yet."""


@dataclass(frozen=True)
class Group:
    """Images that have something in common, scored together."""

    images: int
    scores: dict[str, Any]
    """As `metrics.summarise` gives them."""


@dataclass(frozen=True)
class Quarter(Group):
    """Images with values from `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Kind(Group):
    """Images whose names begin alike."""

    name: str


def worst_samples(per_image: pd.DataFrame, count: int) -> list[str]:
    """The test images with the lowest mean IoU, the lowest first; names break ties."""
    return per_image.sort_values(["mean_iou", "name"])["name"].head(count).tolist()


def quarters(values: np.ndarray, counts: np.ndarray, names: list[str]) -> list[Quarter]:
    """The images in four groups of about equal number, from low values to high.

    Images of equal value stay together, so that groups may be unequal, or fewer than four.

    Args:
        values: what to group by, float [images]; an image with NaN is left out.
        counts: int64 [images, 3, N], as in `metrics`.
        names: of the N classes.
    """
    known = ~np.isnan(values)
    if not known.any():
        return []
    edges = np.quantile(values[known], (0.25, 0.5, 0.75))
    group_of = np.where(known, np.searchsorted(edges, values), -1)
    groups = []
    for number in range(4):
        if (members := group_of == number).any():
            low, high = values[members].min().item(), values[members].max().item()
            scores = metrics.summarise_counts(counts[members].sum(0), names)
            groups.append(Quarter(int(members.sum()), scores, low, high))
    return groups


def by_size(per_image: pd.DataFrame, names: list[str]) -> list[Quarter]:
    """Quarters of the test images by area in pixels."""
    area = (per_image["height"] * per_image["width"]).to_numpy(np.float64)
    return quarters(area, _counts(per_image, names), names)


def by_subject(per_image: pd.DataFrame, names: list[str]) -> list[Quarter]:
    """Quarters of the test images by the share of the first class in the counted pixels."""
    counts = _counts(per_image, names)
    truth = counts[:, 1]
    return quarters(metrics.ratio(truth[:, 0], truth.sum(1)), counts, names)


def by_kind(per_image: pd.DataFrame, names: list[str]) -> list[Kind]:
    """The test images by what their names say before a last `_number`, the lowest mean IoU first.

    Only kinds of at least `FEWEST_IMAGES` images; none at all where that is one kind or more than
    `MOST_KINDS`, as such names hardly tell what is in the picture.
    """
    counts, kinds = _counts(per_image, names), []
    kind_of = per_image["name"].str.extract(r"^(.*[^_])_+\d+$", expand=False)
    for kind, members in kind_of.groupby(kind_of).indices.items():
        if len(members) >= FEWEST_IMAGES:
            scores = metrics.summarise_counts(counts[members].sum(0), names)
            kinds.append(Kind(len(members), scores, str(kind)))
    if not 2 <= len(kinds) <= MOST_KINDS:
        return []
    return sorted(kinds, key=lambda kind: (kind.scores["mean_iou"] or 0, kind.name))


def mix_ups(confusion: pd.DataFrame, most: int) -> list[tuple[str, str, float]]:
    """The most frequent mistakes: true class, predicted class, and that share of all counted pixels.

    Args:
        confusion: pixels, rows the truth, columns the prediction.
        most: how many to give.
    """
    pixels = confusion.to_numpy() / confusion.to_numpy().sum()
    wrong = np.argwhere((pixels > 0) & ~np.eye(len(pixels), dtype=bool))
    found = [(confusion.index[i], confusion.columns[j], float(pixels[i, j])) for i, j in wrong]
    return sorted(found, key=lambda mistake: -mistake[2])[:most]


def lowest(scores: Mapping[str, float | None], most: int) -> list[str]:
    """Class names in order; of more than `most` classes those with the lowest scores, lowest first."""
    if len(scores) <= most:
        return list(scores)
    present = {name: score for name, score in scores.items() if score is not None}
    return sorted(present, key=lambda name: present[name])[:most]


def _counts(per_image: pd.DataFrame, names: list[str]) -> np.ndarray:
    return np.stack(
        [per_image[[f"{row}_{c}" for c in names]].to_numpy() for row in ("hits", "truth", "predicted")],
        axis=1,
    )
