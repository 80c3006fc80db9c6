"""Traits of a picture as the network sees it; they change when the pictures do.

The encoder's features are projected on their principal components over training pictures, as in
statistical process control: the traits are the first components, and the distance from all of them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHARE = "share of "
"""How the trait of a class begins."""
MOST = 4
"""Principal components, at most."""
_NOTHING = 1e-4  # of the first component's share: those below it are rounding


def prediction_traits(logits: np.ndarray, classes: Sequence[str]) -> list[dict[str, float]]:
    """Return the traits of each picture's prediction; logits are [n, height, width, classes].

    They are the `confidence`, the mean probability of the most probable class, and the share of the
    pixels that each class has, as `share of NAME`.
    """
    traits = []
    for of_picture in logits:
        confidence = 1 / np.exp(of_picture - of_picture.max(-1, keepdims=True)).sum(-1)
        shares = np.bincount(of_picture.argmax(-1).ravel(), minlength=len(classes)) / confidence.size
        named = {SHARE + name: share for name, share in zip(classes, shares.tolist(), strict=True)}
        traits.append({"confidence": float(confidence.mean(dtype=np.float64)), **named})
    return traits


@dataclass(frozen=True)
class Components:
    """The principal components of features, rounded so that a card can hold them."""

    centre: np.ndarray  # float32 [channels], the mean
    axes: np.ndarray  # int8 [components, channels], their directions
    deviations: np.ndarray  # float32 [components]
    rest: float  # the mean distance from what the components span

    @classmethod
    def of(cls, features: np.ndarray) -> "Components":
        """Find the components of float32 [pictures, channels]."""
        centre = features.mean(0)
        _, shares, axes = np.linalg.svd(features - centre, full_matrices=False)
        axes = axes[:MOST][shares[:MOST] > _NOTHING * max(shares[0], _NOTHING)]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
        unscaled = cls(centre, np.round(127 * axes / largest).astype(np.int8), np.ones(len(axes)), 1.0)
        along, rest = unscaled._project(features)
        # One picture, or pictures that are all alike, differ by nothing, or by rounding.
        least = float(np.finfo(np.float32).eps) * max(1.0, float(np.linalg.norm(centre)))
        return cls(
            centre, unscaled.axes, np.maximum(along.std(0), least), max(float(rest.mean()), least)
        )

    def traits(self, features: np.ndarray) -> list[dict[str, float]]:
        """Return each picture's place on the components, in deviations, and its `novelty`.

        The novelty is the distance from their span, relative to the mean of training pictures.
        `features` are float32 [n, channels].
        """
        along, rest = self._project(features)
        along, rest = along / self.deviations, rest / self.rest
        names = [f"features {number}" for number in range(1, along.shape[1] + 1)]
        return [
            dict(zip(names, places, strict=True)) | {"novelty": novelty}
            for places, novelty in zip(along.tolist(), rest.tolist(), strict=True)
        ]

    def _project(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places on the axes [n, components], and the distances from their span [n]."""
        unit = self.axes / np.linalg.norm(self.axes.astype(np.float32), axis=1, keepdims=True)
        moved = features - self.centre
        along = moved @ unit.T
        return along, np.linalg.norm(moved - along @ unit, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {
            "centre": _encoded(self.centre.astype("<f4")),
            "axes": _encoded(self.axes),
            "deviations": self.deviations.tolist(),
            "rest": self.rest,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Components":
        """Return the components in a card."""
        centre = np.frombuffer(base64.b64decode(plain["centre"]), "<f4")
        axes = np.frombuffer(base64.b64decode(plain["axes"]), np.int8).reshape(-1, centre.size)
        return cls(centre, axes, np.array(plain["deviations"], np.float32), plain["rest"])


def traits_of_network(
    logits: np.ndarray, features: np.ndarray, classes: Sequence[str], components: Components
) -> list[dict[str, float]]:
    """Return the traits of each picture that `prediction_traits` and `Components.traits` give."""
    predictions, places = prediction_traits(logits, classes), components.traits(features)
    return [{**prediction, **place} for prediction, place in zip(predictions, places, strict=True)]


def _encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
