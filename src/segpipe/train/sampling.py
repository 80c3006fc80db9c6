"""Which samples a pass draws: their probabilities, by the classes that they hold."""

from collections.abc import Mapping, Sequence

import numpy as np

from segpipe.common.errors import UserError

_MOST = 5
"""The most classes that one line names."""


def probabilities(
    wanted: str | Mapping[str, float], held: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Return the probability of each sample in a draw, float64 [n] of sum 1.

    Args:
        wanted: `balanced`: a draw chooses one of the classes that are held, all with equal probability,
            then one of the samples that hold it; or weights by name, 1 where a class is not named: a
            sample's probability is proportional to the highest weight among the classes that it holds.
        held: which classes each sample holds, bool [n, classes or more].
        names: the classes, in the order of the table.

    Raises:
        UserError: no sample holds a class that is named, or any class at all.
    """
    held = held[:, : len(names)]
    samples = held.sum(0)
    if not samples.any():
        raise UserError("train.sampling: no training sample holds a class; set it to uniform")
    if isinstance(wanted, str):
        present = samples > 0
        return (held[:, present] / samples[present]).sum(1) / present.sum()
    for name in wanted:
        if name not in names or not samples[names.index(name)]:
            raise UserError(f"train.sampling names {name!r}, but no training sample holds this class")
    weights = np.array([wanted.get(name, 1) for name in names], float)
    highest = np.max(np.broadcast_to(weights, held.shape), 1, where=held, initial=0)
    highest[~held.any(1)] = 1
    highest /= highest.max()  # the sum stays finite
    return highest / highest.sum()


def cumulative(probabilities: np.ndarray) -> np.ndarray:
    """Return the upper bound of each sample's part of 0..1; the last one is 1.

    A value in [0, 1) draws the first sample whose bound is above it.
    """
    bounds = np.cumsum(probabilities)
    return bounds / bounds[-1]


def describe(probabilities: np.ndarray, held: np.ndarray, names: Sequence[str]) -> str:
    """Return one line: the shares of draws and of samples that hold a class, for the rarest classes."""
    held = held[:, : len(names)]
    draws, samples = 100 * (probabilities @ held), 100 * held.mean(0)
    shares = sorted(zip(samples, draws, names, strict=True))
    (rare, drawn, first), *others = [share for share in shares if share[0] > 0][:_MOST]
    beginning = f"{first} is in {drawn:.3g} % of the draws, in {rare:.3g} % of the samples"
    more = [f"{name} in {drawn:.3g} %, in {rare:.3g} %" for rare, drawn, name in others]
    return f"sampling: {'; '.join([beginning, *more])}"
