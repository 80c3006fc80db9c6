"""Analyse the results: which images to show, and where the model fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from segpipe.evaluate import metrics

FEWEST_IMAGES, MOST_KINDS = 5, 40  # fewer give no reliable score; more make too long a table


@dataclass(frozen=True)
class Group:
    """Images scored together: with values from `low` to `high`, or with names that begin alike."""

    images: int
    scores: dict[str, Any]  # as `metrics.summarise` returns them
    low: float = 0.0
    high: float = 0.0
    name: str = ""


def worst_samples(per_image: pd.DataFrame, count: int) -> list[str]:
    """Return the test images with the lowest mean IoU, the lowest first; names break ties."""
    return per_image.sort_values(["mean_iou", "name"])["name"].head(count).tolist()


def quarters(values: np.ndarray, counts: np.ndarray, names: list[str]) -> list[Group]:
    """Split the images into four groups of about equal number, by rising value.

    Images of equal value stay together, so groups may be unequal, or fewer than four. `values` is
    float [images]; an image with NaN is left out. `counts` is int64 [images, 3, N], as in `metrics`.
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
            groups.append(_group(counts[members], names, low=low, high=high))
    return groups


def by_size(per_image: pd.DataFrame, names: list[str]) -> list[Group]:
    """Return quarters of the test images by area in pixels."""
    area = (per_image["height"] * per_image["width"]).to_numpy(np.float64)
    return quarters(area, _counts(per_image, names), names)


def by_subject(per_image: pd.DataFrame, names: list[str]) -> list[Group]:
    """Return quarters of the test images by the share of the first class in the counted pixels."""
    counts = _counts(per_image, names)
    truth = counts[:, 1]
    return quarters(metrics.ratio(truth[:, 0], truth.sum(1)), counts, names)


def by_kind(per_image: pd.DataFrame, names: list[str]) -> list[Group]:
    """Group the test images by their names up to a last `_number`, the lowest mean IoU first.

    Kinds of fewer than `FEWEST_IMAGES` images are left out. There are no groups for a single kind or
    for more than `MOST_KINDS`: such names hardly describe the content.
    """
    counts = _counts(per_image, names)
    kind_of = per_image["name"].str.extract(r"^(.*[^_])_+\d+$", expand=False)
    members = kind_of.groupby(kind_of).indices.items()
    kinds = [
        _group(counts[of_kind], names, name=str(kind))
        for kind, of_kind in members
        if len(of_kind) >= FEWEST_IMAGES
    ]
    if not 2 <= len(kinds) <= MOST_KINDS:
        return []
    return sorted(kinds, key=lambda kind: (kind.scores["mean_iou"] or 0, kind.name))


def mix_ups(confusion: pd.DataFrame, most: int) -> list[tuple[str, str, float]]:
    """Return the `most` frequent mistakes: true class, predicted class, share of all counted pixels.

    The confusion matrix holds pixels; rows are the truth, columns the prediction.
    """
    pixels = confusion.to_numpy() / confusion.to_numpy().sum()
    wrong = np.argwhere((pixels > 0) & ~np.eye(len(pixels), dtype=bool))
    mistakes = [(confusion.index[i], confusion.columns[j], float(pixels[i, j])) for i, j in wrong]
    return sorted(mistakes, key=lambda mistake: -mistake[2])[:most]


def lowest(scores: Mapping[str, float | None], most: int) -> list[str]:
    """Return the class names in order; if more than `most`, only those of the lowest scores, sorted."""
    if len(scores) <= most:
        return list(scores)
    present = [name for name, score in scores.items() if not pd.isna(score)]
    return sorted(present, key=lambda name: scores[name] or 0)[:most]


def _group(counts: np.ndarray, names: list[str], **labels: Any) -> Group:
    return Group(len(counts), metrics.summarise_counts(counts.sum(0), names), **labels)


def _counts(per_image: pd.DataFrame, names: list[str]) -> np.ndarray:
    rows = ("hits", "truth", "predicted")
    return np.stack([per_image[[f"{row}_{c}" for c in names]].to_numpy() for row in rows], axis=1)
