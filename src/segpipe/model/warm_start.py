"""A warm start: a network takes the weights of a model that segpipe saved (`model.init`).

Layers are matched by name, kind and shapes. The head is matched by class name, so that classes may be
added, dropped and reordered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from segpipe.common.bands import in_words
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.modelfile import read_card
from segpipe.common.network import load_network
from segpipe.common.records import Manifest, read_bands
from segpipe.common.words import few
from segpipe.model.backbone import for_channels
from segpipe.model.decoders import HEAD

FOLDER = Path("data/init")
"""Where the models lie that training may start from. DVC watches the chosen one (`dvc.yaml`)."""

_CLASSES = 20  # in a line

Layers = dict[str, keras.Layer]
Arrays = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Init:
    """A saved model to start from."""

    path: Path
    digest: str  # SHA-256 of the file
    card: dict[str, Any]

    @property
    def pretrained(self) -> bool:
        """Whether its encoder counted as pretrained."""
        return self.card["params"]["model"]["encoder"]["pretrained"]


@dataclass(frozen=True)
class WarmStart:
    """The weights that a network took of a saved model, and those that it did not."""

    init: Init
    layers: list[str]  # of the network, that took weights
    others: list[str]  # of the network, that took none
    adapted: str | None  # of `layers`: its kernel was made for another number of bands
    classes: list[str]  # that the head took
    new: list[str]  # classes that the model lacks
    dropped: list[str]  # its classes that the network lacks
    encoders: tuple[str, str] | None  # the model's and the network's in words, where they differ
    bands: tuple[str, str] | None  # likewise

    @property
    def card(self) -> dict[str, Any]:
        """The entry in the card of the new model."""
        return {
            "sha256": self.init.digest,
            "layers": {"taken": len(self.layers), "of": len(self.layers) + len(self.others)},
            "classes": {"taken": self.classes, "new": self.new},
        }

    def describe(self) -> str:
        """Return a few lines for people."""
        count = len(self.layers) + len(self.others)
        lines = [f"starting from {self.init.path}: {len(self.layers)} of {count} layers taken"]
        if self.others:
            lines[0] += f"; not {few(self.others, 6)}"
        if self.encoders:
            lines.append(
                f"its encoder is {self.encoders[0]}, and this one {self.encoders[1]}: layers of the "
                "same name and shapes took weights that were made for another place"
            )
        all_classes = self.classes, self.new, self.dropped
        taken, new, dropped = (few(names, _CLASSES) for names in all_classes)
        lines.append(f"classes taken: {taken}; new: {new}; dropped: {dropped}")
        if self.bands:
            how = f"{self.adapted} was made for them" if self.adapted else "all kernels stay as they are"
            lines.append(f"it saw {self.bands[0]}, and these records have {self.bands[1]}: {how}")
        return "\n".join(lines)


def open_init(name: str, folder: Path = FOLDER) -> Init | None:
    """Open the model that `model.init` names; None for `none`.

    Raises:
        UserError: there is no such file, or segpipe did not save it.
    """
    if name == "none":
        return None
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"model.init: there is no file {path}; copy a model there, or set model.init to none"
        )
    return Init(path, sha256(path), read_card(path))


def take(network: keras.Model, init: Init, manifest: Manifest, model: dict[str, Any]) -> WarmStart:
    """Give a network the weights of a saved model, as far as they fit.

    Args:
        network: the U-Net for some records, with its initial weights; it is changed.
        init: the model.
        manifest: those records' classes and bands.
        model: the section `model` of the params that made the network, as a card has it.

    Raises:
        UserError: Keras cannot read the model, or under half of the network's variables fit.
    """
    theirs, own = dict(_weighted(load_network(init.path, init.card))), dict(_weighted(network))
    before, now = ClassTable.from_json(init.card).names, manifest.classes.names
    kept = [name for name in now if name in before]
    head = _head(own, theirs, [(now.index(name), before.index(name)) for name in kept])
    kept = kept if head else []
    values = _body(own, theirs) | head
    fitting, count = (sum(len(own[name].weights) for name in names) for names in (values, own))
    if 2 * fitting < count:
        raise UserError(
            f"{init.path}: a model of {_in_words(init.card['params']['model'])}, of which {fitting} of "
            f"{count} variables fit; expected half of them at least, for {_in_words(model)}: give "
            "another model, or change model.encoder and model.decoder to its own"
        )
    for name, arrays in values.items():
        own[name].set_weights(arrays)
    of_init, of_own = map(_encoder_in_words, (init.card["params"]["model"], model))
    seen, wanted = in_words(**read_bands(init.card)), in_words(manifest.bands, manifest.intensity)
    first = _first(own)
    taken_as_it_is = first not in values or values[first][0].shape == theirs[first].weights[0].shape
    return WarmStart(
        init,
        layers=[name for name in own if name in values],
        others=[name for name in own if name not in values],
        adapted=None if taken_as_it_is else first,
        classes=kept,
        new=[name for name in now if name not in kept],
        dropped=[name for name in before if name not in kept],
        encoders=(of_init, of_own) if of_init != of_own else None,
        bands=(seen, wanted) if seen != wanted else None,
    )


def _weighted(network: keras.Model, within: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers with weights, in order, each with a name such as `encoder/Conv1`."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _weighted(layer, f"{within}{layer.name}/")
        elif layer.weights:
            yield f"{within}{layer.name}", layer


def _body(own: Layers, theirs: Layers) -> Arrays:
    """Return the weights of all layers before the head that fit, by name.

    The first convolution's kernel is made for the network's number of bands.
    """
    fitting: Arrays = {}
    for name in _shared(own, theirs):
        old, new = theirs[name].get_weights(), own[name].get_weights()
        if name == _first(own) and old[0].shape[2] != new[0].shape[2]:
            old[0] = for_channels(old[0], new[0].shape[2])
        if not name.startswith(HEAD) and [w.shape for w in old] == [w.shape for w in new]:
            fitting[name] = old
    return fitting


def _head(own: Layers, theirs: Layers, pairs: list[tuple[int, int]]) -> Arrays:
    """Return the head's weights by layer, with those of the saved model for the classes in `pairs`.

    `pairs` are class indices, the network's and the model's.

    Empty if there is no such class, or if the heads differ in more than their classes.
    """
    names = [name for name in own if name.startswith(HEAD)]
    head: Arrays = {}
    for name in names if pairs and {*names} <= {*_shared(own, theirs)} else ():
        head[name] = [np.array(weight) for weight in own[name].get_weights()]
        for new, old in zip(head[name], theirs[name].get_weights(), strict=True):
            axis = _class_axis(own[name], new)
            target, source = np.moveaxis(new, axis, 0), np.moveaxis(old, axis, 0)  # views
            if target.shape[1:] != source.shape[1:]:
                return {}
            for index, index_of_source in pairs:
                target[index] = source[index_of_source]
    return head


def _shared(own: Layers, theirs: Layers) -> list[str]:
    """Return the layers that both networks have, of the same kind and with as many variables."""

    def alike(layer: keras.Layer, other: keras.Layer) -> bool:
        return type(layer) is type(other) and len(layer.weights) == len(other.weights)

    return [name for name, layer in own.items() if name in theirs and alike(layer, theirs[name])]


def _class_axis(layer: keras.Layer, weight: np.ndarray) -> int:
    """Return the axis of a head's weight that has one entry a class."""
    before_last = isinstance(layer, layers.Conv2DTranspose | layers.DepthwiseConv2D)
    return -2 if before_last and weight.ndim > 1 else -1


def _first(own: Layers) -> str:
    """Return the name of the encoder's first convolution."""
    return next(name for name in own if name.startswith("encoder/"))


def _in_words(model: dict[str, Any]) -> str:
    decoder = model["decoder"]
    filters = ", ".join(map(str, decoder["filters"]))
    return f"{_encoder_in_words(model)} and the decoder {decoder['name']} [{filters}]"


def _encoder_in_words(model: dict[str, Any]) -> str:
    encoder = model["encoder"]
    return f"{encoder['name']} (alpha {encoder['alpha']})"
