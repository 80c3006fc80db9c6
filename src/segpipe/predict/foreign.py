"""Whether a picture is foreign to a model: its traits beside the profile in the model's card."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from segpipe.common.classes import ClassTable
from segpipe.common.network import with_features
from segpipe.common.network_traits import Components, traits_of_network
from segpipe.common.profile import Mark, Profile, describe
from segpipe.common.words import percent
from segpipe.evaluate.masks import Predict
from segpipe.preprocess.traits import traits_of

NO_PROFILE = (
    "the model has no profile of its training pictures, since an older segpipe saved it; train it again"
)
"""Why a model with an older card cannot tell which pictures are foreign."""


class ForeignCheck:
    """Tells which pictures are foreign to a network, by its profile of training pictures."""

    def __init__(self, network: keras.Model, profile: Profile, classes: Sequence[str]) -> None:
        self.profile, self.classes = profile, classes
        self._encoder = self._components = None
        if profile.features:
            # Its logits differ from the network's own in the last bits, which scores must not.
            both = with_features(network)
            self._encoder = keras.Model(both.inputs, both.outputs[-1])
            self._components = Components.from_json(profile.features)

    @classmethod
    def of_card(cls, network: keras.Model, card: dict[str, Any]) -> "ForeignCheck | None":
        """Return the check of a model; None where its card holds no profile."""
        profile = Profile.of_card(card)
        return cls(network, profile, ClassTable.from_json(card).names) if profile else None

    def network_traits(self, images: Sequence[np.ndarray], logits: Predict) -> list[dict[str, float]]:
        """Return the traits of each picture as the network sees it; none where the profile has none.

        Images are uint8 [height, width, bands] of the network's size. `logits` is the network alone,
        without other views. Profiles of networks that learned tiles have no such traits.
        """
        if self._encoder is None or self._components is None:
            return [{}] * len(images)
        batch = np.stack(images)
        features = self._encoder.predict_on_batch(batch)
        return traits_of_network(logits(batch), features, self.classes, self._components)

    def mark(self, pixels: np.ndarray, network_traits: Mapping[str, float]) -> Mark:
        """Judge a picture, uint8 [height, width, bands] at its own size, with its `network_traits`."""
        return self.profile.mark({**traits_of(pixels), **network_traits})


def summary(marks: Iterable[tuple[str, Mark]], rate: float) -> str:
    """Say how many pictures are foreign, by which traits, and which lies farthest; empty if none is.

    Marks come with the names of their pictures; `rate` is the share that would be foreign by chance.
    """
    judged = [*marks]
    foreign = [(name, mark) for name, mark in judged if mark.foreign]
    if not foreign:
        return ""
    by_trait = {trait: sum(mark.trait == trait for _, mark in foreign) for _, (_, trait, *_) in foreign}
    by_count = sorted(by_trait.items(), key=lambda item: -item[1])
    counts = ", ".join(f"{trait} {count}" for trait, count in by_count)
    name, farthest = max(foreign, key=lambda item: item[1].score)
    return (
        f"{len(foreign)} of {len(judged)} pictures are foreign to the model, by {counts} "
        f"({percent(rate)} of known pictures would be); the farthest is {name}, {describe(farthest)}"
    )
