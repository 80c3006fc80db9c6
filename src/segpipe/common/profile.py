"""The profile of the training pictures in a model's card: what pictures the model knows.

It holds the values of up to `KEPT` pictures for each trait of a picture (`preprocess/traits.py`) and of
its prediction (`network_traits.py`). A picture is as far from these pictures as its farthest
trait. It is foreign beyond the limit; only a stated share of pictures like the validation ones lies
beyond it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from segpipe.common.errors import UserError, brief

KEY = "profile"  # in the card
KEPT = 200
"""Pictures whose traits a profile holds, at most: it has a few kB in every model and export."""
RATE = 0.01
"""The share of known pictures that may be called foreign; more where validation is small."""
USUAL = (0.05, 0.5, 0.95)
"""The quantiles of the known pictures between which a value is usual, and their middle."""
_DIGITS = 4  # significant ones of a value
_LEAST = {
    "size": 0.1, "aspect": 0.1, "brightness": 2.0, "contrast": 2.0, "sharpness": 0.02, "noise": 0.5,
    "saturation": 2.0, "warmth": 2.0, "tint": 2.0,
}  # fmt: skip
"""A step in each trait that people hardly see. It is allowed even where all known pictures are
alike, such as those of one size."""
_LEAST_OF_NETWORK = 0.02
_AGAIN = "train the model again with `dvc repro train`"
_OCTAVES = ("size", "aspect")  # traits that are logarithms to base 2


class Mark(NamedTuple):
    """How far a picture lies from those that the model knows, and the trait that lies farthest."""

    score: float  # its distance over the limit
    trait: str
    value: float
    low: float  # the usual values of the trait
    high: float

    @property
    def foreign(self) -> bool:
        """Whether it lies beyond the limit."""
        return self.score > 1


@dataclass(frozen=True)
class Reference:
    """The values of a trait among known pictures, float64, rising."""

    trait: str
    values: np.ndarray

    @cached_property
    def usual(self) -> tuple[float, float, float]:
        """The `USUAL` quantiles: low, middle and high."""
        low, middle, high = np.quantile(self.values, USUAL).tolist()
        return low, middle, high

    @property
    def step(self) -> float:
        """The least difference that counts."""
        return _LEAST.get(self.trait, _LEAST_OF_NETWORK)

    def distance(self, value: float) -> float:
        """Return how far a value lies from the middle; 1 is where the usual ones end on its side."""
        (low, middle, high), value = self.usual, rounded(value)
        reach = high - middle if value > middle else middle - low
        return abs(value - middle) / max(reach, self.step)

    def without(self, value: float) -> "Reference":
        """Return the reference without one of its values, to measure the picture that has this value."""
        left = np.delete(self.values, np.searchsorted(self.values, rounded(value)))
        return Reference(self.trait, left if left.size else self.values)


@dataclass(frozen=True)
class Profile:
    """The traits of the pictures that a model knows, and the limit from which others are foreign."""

    references: Mapping[str, Reference]  # by trait
    limit: float  # the distance beyond which a picture is foreign
    judged: int  # validation pictures that the limit was set on
    beyond: int  # how many of them lie at the limit or beyond it
    features: Mapping[str, Any] | None
    """Those of `network_traits.Components`; None without traits of a network."""

    @property
    def rate(self) -> float:
        """The share of known pictures that lie beyond the limit, in expectation.

        The next picture of the same kind is as likely to have any rank among those judged.
        """
        return self.beyond / (self.judged + 1)

    def mark(self, traits: Mapping[str, float]) -> Mark:
        """Judge a picture by those of its traits that the profile knows."""
        distances = {
            trait: reference.distance(traits[trait])
            for trait, reference in self.references.items()
            if trait in traits
        }
        farthest = max(distances, key=lambda trait: distances[trait])
        low, _, high = self.references[farthest].usual
        return Mark(distances[farthest] / self.limit, farthest, traits[farthest], low, high)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the card."""
        values = {name: reference.values.tolist() for name, reference in self.references.items()}
        counts = {"limit": self.limit, "judged": self.judged, "beyond": self.beyond}
        return {**counts, "traits": values, "features": self.features}

    def summary(self) -> dict[str, Any]:
        """Return plain values for people: the usual values of each trait among known pictures."""
        usual = {name: [rounded(v) for v in trait.usual] for name, trait in self.references.items()}
        return {"limit": self.limit, "judged": self.judged, "beyond": self.beyond, "usual": usual}

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "Profile | None":
        """Return the profile in a card; None where an older segpipe saved the model, or it has none.

        Raises a UserError where it is damaged.
        """
        if not (content := card.get(KEY)):
            return None
        try:
            references = {
                name: Reference(name, np.array(values, float))
                for name, values in content["traits"].items()
            }
            judged = content["limit"], content["judged"], content["beyond"]
            profile = cls(references, *judged, content["features"])
            sound = math.isfinite(profile.limit) and profile.judged > 0 and bool(references)
            sound &= all(r.values.size and np.isfinite(r.values).all() for r in references.values())
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            missing = f"it lacks {error}" if isinstance(error, KeyError) else brief(error)
            raise UserError(f"the profile in the card cannot be used ({missing}); {_AGAIN}") from None
        if not sound:
            raise UserError(f"the profile in the card holds NaN, infinity or no values; {_AGAIN}")
        return profile


def reference(trait: str, values: Sequence[float]) -> Reference:
    """Return the values of a trait as the card holds them, rounded."""
    return Reference(trait, np.array(sorted(rounded(value) for value in values)))


def limit(distances: Sequence[float]) -> tuple[float, int]:
    """Return the distance from which on pictures are foreign, and how many of these lie there.

    `distances` are those of pictures that the references do not hold. The limit is the k-th farthest of
    n, where k is the largest number with k / (n + 1) <= `RATE`, and at least 1 (split conformal
    prediction, https://arxiv.org/abs/1604.04173, section 2.2). No usual picture is foreign.
    """
    beyond = max(1, int(RATE * (len(distances) + 1)))
    farthest = sorted(distances)[-beyond]
    return max(1.0, math.ceil(farthest * 1000) / 1000), beyond


def rounded(value: float) -> float:
    """Return a value with the digits that a card keeps."""
    return float(f"{value:.{_DIGITS}g}")


def describe(mark: Mark) -> str:
    """Say how foreign a picture is, and why."""
    value, low, high = (in_units(mark.trait, number) for number in (mark.value, mark.low, mark.high))
    return f"{mark.score:.2f} times the limit: {mark.trait} {value}, known pictures {low} to {high}"


def in_units(trait: str, value: float) -> str:
    """Return a trait's value for people: sizes as the edge of a square in pixels, aspects as ratios."""
    if trait == "size":
        return f"{2**value:.0f} px"
    return f"{2**value if trait in _OCTAVES else value:.3g}"
