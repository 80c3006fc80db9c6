"""The profile of the pictures that a model was trained on, for its card."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from rich.progress import track

from segpipe.common.files import first_by_hash
from segpipe.common.network import with_features
from segpipe.common.network_traits import SHARE, Components, prediction_traits
from segpipe.common.profile import KEPT, Profile, Reference, limit, reference
from segpipe.common.records import Manifest
from segpipe.common.traits import read_traits
from segpipe.common.words import percent
from segpipe.train.samples import Samples
from segpipe.train.saving import in_float32

CLASSES = 8
"""Classes whose share of a picture is a trait, at most: the commonest ones."""

Traits = Sequence[Mapping[str, float]]  # of several pictures, all with the same traits


def profile(
    network: keras.Model, manifest: Manifest, training: Samples, validation: Samples, batch_size: int
) -> Profile | None:
    """Measure the pictures that a trained network knows, print the profile, and return it.

    Traits of the camera come from training pictures. Traits of the predictions come from validation
    pictures, since a network is surer of what it learned. Validation pictures set the limit. A network
    that learned tiles never sees a whole picture, so the traits of its predictions are left out. Returns
    None where the records hold no traits.
    """
    if not manifest.traits:
        print("no profile of the pictures: the records hold none of their traits")
        return None
    measured = {
        picture.name: picture.traits for picture in read_traits(manifest.folder, manifest.traits)
    }
    known, judged = (_kept(samples.names, manifest) for samples in (training, validation))
    network_traits: Traits = []
    features: dict[str, Any] | None = None
    if not manifest.tiles:
        names = manifest.classes.names
        components, network_traits = _observed(
            network, names, (training, known), (validation, judged), batch_size
        )
        features = components.to_json()
    references = _references([measured[name] for name in known])
    distances = _distances(references, [measured[name] for name in judged], network_traits)
    most, beyond = limit(distances)
    every = {**references, **_references(network_traits)}
    learned = Profile(every, most, len(judged), beyond, features)
    print(
        f"profile: {len(learned.references)} traits of {len(known)} training and {len(judged)} "
        f"validation pictures; {percent(learned.rate)} of pictures like these will be called foreign"
    )
    return learned


def _kept(names: Sequence[str], manifest: Manifest) -> list[str]:
    """Return the pictures of a split whose traits are kept, the same ones every time."""
    pictures = {name.rpartition("@")[0] for name in names} if manifest.tiles else names
    return first_by_hash(pictures, KEPT, "profile")


def _references(traits: Traits) -> dict[str, Reference]:
    """Return the values that pictures have, by trait."""
    names = traits[0] if traits else ()
    return {name: reference(name, [picture[name] for picture in traits]) for name in names}


def _observed(
    network: keras.Model,
    classes: Sequence[str],
    training: tuple[Samples, list[str]],
    validation: tuple[Samples, list[str]],
    batch_size: int,
) -> tuple[Components, Traits]:
    """Return the components of training pictures, and the network's traits of validation pictures."""
    observer = with_features(in_float32(network))
    components = Components.of(
        np.concatenate([features for _, features in _passes(observer, *training, batch_size)])
    )
    traits = [
        {**of_logits, **of_features}
        for logits, features in _passes(observer, *validation, batch_size)
        for of_logits, of_features in zip(
            prediction_traits(logits, classes), components.traits(features), strict=True
        )
    ]
    rare = _rare(traits, classes)
    kept = [{name: v for name, v in picture.items() if name not in rare} for picture in traits]
    return components, kept


def _rare(traits: Traits, classes: Sequence[str]) -> set[str]:
    """Return the traits of the classes that are not among the commonest."""
    totals = {SHARE + name: sum(picture[SHARE + name] for picture in traits) for name in classes}
    return {*sorted(totals, key=lambda name: -totals[name])[CLASSES:]}


def _passes(
    observer: keras.Model, samples: Samples, names: list[str], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield logits and features of some pictures, a batch at a time."""
    numbers = {name: number for number, name in enumerate(samples.names)}
    chosen = np.array([numbers[name] for name in names])
    for begin in track(range(0, len(chosen), batch_size), "Observing"):
        within = chosen[begin : begin + batch_size]
        images, _ = samples.take(np.resize(within, batch_size))  # one shape is compiled once
        yield tuple(output[: len(within)] for output in observer.predict_on_batch(images))


def _distances(
    references: Mapping[str, Reference], camera_traits: Traits, network_traits: Traits
) -> list[float]:
    """Return how far each validation picture lies from the known ones, itself not among them."""
    own, distances = _references(network_traits), []
    for number, of_camera in enumerate(camera_traits):
        by_trait = [references[name].distance(value) for name, value in of_camera.items()]
        for name, value in network_traits[number].items() if network_traits else ():
            by_trait.append(own[name].without(value).distance(value))
        distances.append(max(by_trait))
    return distances
