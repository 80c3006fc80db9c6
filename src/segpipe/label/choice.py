"""Which pictures of a pool to label next: those that a model is unsure of, and unlike each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.progress import track

from segpipe.common.errors import UserError
from segpipe.fetch.sample import Problem
from segpipe.label.uncertainty import Kind, Uncertainty, uncertainties
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor


def chosen(uncertainty: np.ndarray, features: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """Choose pictures one by one, the most uncertain first.

    Each next picture has the largest product of its uncertainty and its distance to the nearest picture
    that is chosen already, so that only one of several near-equal pictures is taken. A tie goes to the
    more uncertain picture, then to the earlier one.

    Args:
        uncertainty: float [n], 0 or more.
        features: float32 [n, channels], of length 1.
        count: how many to choose, n at most.

    Returns:
        The numbers of the pictures in the order of the choice, and the distance of each when it was
        chosen, 0 to 2; 2 for the first.
    """
    nearest = np.full(len(uncertainty), 2.0)
    picked, distances = list[int](), list[float]()
    for _ in range(count):
        scores = uncertainty * nearest
        scores[picked] = -1
        best = int(np.lexsort((-np.arange(len(scores)), uncertainty, scores))[-1])
        picked.append(best)
        distances.append(float(nearest[best]))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[best], axis=1))
    return picked, distances


@dataclass(frozen=True)
class Ranked:
    """The pictures of a pool in the order in which they should be labelled."""

    sources: list[Source]
    table: pd.DataFrame  # a row a picture that could be read, those that are chosen first
    problems: list[Problem]  # pictures that cannot be read
    remarks: list[str]  # on pictures that the model may not know


def rank(predictor: Predictor, sources: Sequence[Source], count: int, kind: Kind) -> Ranked:
    """Choose up to `count` pictures to label next.

    The table has `picture`, its `uncertainty` (nats), the `rank` of the choice from 1 on, and the
    `distance` to the nearest one before it (0 to 2, none for the first).

    Raises:
        UserError: no picture can be read, or the model predicts NaN or infinity.
    """
    stream = uncertainties(predictor, sources, kind)
    results = [*track(stream, "Looking at pictures", total=len(sources))]
    problems = [result for _, result in results if isinstance(result, Problem)]
    pictures = [(source, result) for source, result in results if isinstance(result, Uncertainty)]
    if not pictures:
        raise UserError(f"none of {len(sources)} pictures can be read, as {problems[0]}")
    pictures.sort(key=lambda picture: (-picture[1].mean, picture[0].name))
    uncertainty = np.array([result.mean for _, result in pictures])
    features = np.stack([result.features for _, result in pictures])
    picked, distances = chosen(uncertainty, features, min(count, len(pictures)))
    picked_set = {*picked}
    order = [*picked, *(n for n in range(len(pictures)) if n not in picked_set)]
    rest = [None] * (len(pictures) - len(picked))
    table = pd.DataFrame(
        {
            "picture": [pictures[n][0].name for n in order],
            "rank": pd.array([*range(1, len(picked) + 1), *rest], "Int64"),
            "uncertainty": uncertainty[order].round(6),
            "distance": [None, *np.round(distances[1:], 6).tolist(), *rest],
        }
    )
    remarks = [f"{source.path}: {result.remark}" for source, result in pictures if result.remark]
    return Ranked([pictures[n][0] for n in picked], table, problems, remarks)
