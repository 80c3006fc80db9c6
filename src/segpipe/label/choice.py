"""Which pictures of a pool to label next: those that a model is unsure of, and unlike each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.progress import track

from segpipe.common.errors import UserError
from segpipe.fetch.sample import Problem
from segpipe.label.uncertainty import Kind, Look, looks
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor


def chosen(uncertainty: np.ndarray, features: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """Choose pictures one by one, the most uncertain first.

    Each next one has the largest product of its uncertainty and its distance to the nearest one that is
    chosen already, so that of near-equal pictures one is taken. Among equals, the more uncertain and
    then the earlier one is.

    Args:
        uncertainty: float [n], 0 or more.
        features: float32 [n, channels], of length 1.
        count: how many, n at most.

    Returns:
        Their numbers in the order of the choice, and the distance of each, 0 to 2; 2 for the first.
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
    found = looks(predictor, sources, kind)
    seen = [*track(found, "Looking at pictures", total=len(sources))]
    problems = [one for _, one in seen if isinstance(one, Problem)]
    good = [(source, one) for source, one in seen if isinstance(one, Look)]
    if not good:
        raise UserError(f"none of {len(sources)} pictures can be read, as {problems[0]}")
    good.sort(key=lambda one: (-one[1].uncertainty, one[0].name))
    uncertainty = np.array([look.uncertainty for _, look in good])
    features = np.stack([look.features for _, look in good])
    picked, distances = chosen(uncertainty, features, min(count, len(good)))
    order = [*picked, *(n for n in range(len(good)) if n not in {*picked})]
    rest = [None] * (len(good) - len(picked))
    table = pd.DataFrame(
        {
            "picture": [good[n][0].name for n in order],
            "rank": pd.array([*range(1, len(picked) + 1), *rest], "Int64"),
            "uncertainty": uncertainty[order].round(6),
            "distance": [None, *np.round(distances[1:], 6).tolist(), *rest],
        }
    )
    remarks = [f"{source.path}: {look.remark}" for source, look in good if look.remark]
    return Ranked([good[n][0] for n in picked], table, problems, remarks)
