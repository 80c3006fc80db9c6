"""`data/encoder`: the backbone's pretrained weights as versioned data.

`encoder.json` names the network; the weights, if any, lie beside it in Keras 3's format.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from segpipe.common.errors import UserError, brief
from segpipe.common.files import read_json, replaces, sha256, write_json
from segpipe.common.modelfile import UNREADABLE
from segpipe.model.backbone import backbone, for_channels
from segpipe.model.encoders import ENCODERS, input_channels
from segpipe.model.params import EncoderParams, ModelParams
from segpipe.model.pytorch_weights import load_state_dict
from segpipe.model.safetensors_file import read_safetensors
from segpipe.model.torch_file import read_torch
from segpipe.model.warm_start import Init, open_init

_DESCRIPTION = "encoder.json"
_WEIGHTS = "backbone.weights.h5"
_IMAGENET_SIZE = (224, 224)
"""The input size of the ImageNet checkpoint; its weights serve every size."""
_READERS = {".pth": read_torch, ".safetensors": read_safetensors}
_KERAS = (".h5", ".keras")


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, its weights' file, and the model that training starts from."""

    name: str
    alpha: float
    weights: Path | None
    digest: str | None = None  # SHA-256 of that file
    init: Init | None = None  # its weights replace those of the file

    @property
    def pretrained(self) -> bool:
        """Whether the encoder starts from weights trained on other data.

        With `init`: whether that model's encoder did.
        """
        return self.init.pretrained if self.init else self.weights is not None

    def architecture(self, size: tuple[int, int], channels: int = 3) -> keras.Model:
        """Build the network for one input size and number of bands, with random weights."""
        return backbone(self.name, size, self.alpha, channels=input_channels(self.name, channels))

    def build(self, size: tuple[int, int], channels: int = 3) -> keras.Model:
        """Build the network for one input size and number of bands, with its weights."""
        network = self.architecture(size, channels)
        if self.weights and network.input_shape[-1] == 3:
            network.load_weights(self.weights)
        elif self.weights:
            network.set_weights(_fitted(self.build(size).get_weights(), network))
        return network


def fetch_backbone(params: EncoderParams, folder: Path) -> Backbone:
    """Download or read the weights that `model.encoder.weights` names, and write them to `folder`.

    Raises:
        UserError: they cannot be downloaded, or the file does not fit the network.
    """
    network = _load(params) if params.weights != "none" else None
    with replaces(folder) as partial:
        partial.mkdir()
        description = {"name": params.name, "alpha": params.alpha, "pretrained": network is not None}
        if network:
            network.save_weights(partial / _WEIGHTS)
            description["sha256"] = sha256(partial / _WEIGHTS)
        write_json(partial / _DESCRIPTION, description)
    return open_backbone(folder)


def open_backbone(folder: Path, init: Init | None = None) -> Backbone:
    """Open what `fetch_backbone` wrote, for training that starts from `init`.

    Raises:
        UserError: it is missing or damaged.
    """
    content = read_json(folder / _DESCRIPTION, "fetch_encoder")
    weights = folder / _WEIGHTS if content["pretrained"] else None
    if weights and not (weights.is_file() and sha256(weights) == content["sha256"]):
        mend = "`dvc repro --force fetch_encoder` writes it"
        raise UserError(f"{weights}: missing, or not what {_DESCRIPTION} says; {mend}")
    return Backbone(content["name"], content["alpha"], weights, content.get("sha256"), init)


def expected_backbone(params: ModelParams) -> Backbone:
    """Return the backbone that training will have; its weights may be missing still.

    Raises:
        UserError: `model.init` is no model that segpipe saved.
    """
    encoder = params.encoder
    weights = None if encoder.weights == "none" else Path(encoder.weights)
    return Backbone(encoder.name, encoder.alpha, weights, init=open_init(params.init))


def _fitted(weights: list[np.ndarray], network: keras.Model) -> list[np.ndarray]:
    """Return an RGB network's weights, its first kernel made for the channels of `network`."""
    pairs, channels = zip(weights, network.weights, strict=True), network.input_shape[-1]
    return [w if w.shape == tuple(own.shape) else for_channels(w, channels) for w, own in pairs]


def _load(params: EncoderParams) -> keras.Model:
    if params.weights == "imagenet":
        return _imagenet(params)
    path = Path(params.weights)
    if not path.is_file():
        raise UserError(
            f"model.encoder.weights: there is no file {path}; set it to imagenet, none, or the path of "
            "Keras weights (.weights.h5 or .h5) or of PyTorch's (.pth or .safetensors)"
        )
    if path.suffix not in _KERAS and path.suffix.lower() not in _READERS:
        raise UserError(
            f"{path}: weights in a file of suffix {path.suffix!r}; expected Keras' (.weights.h5 or .h5) "
            "or PyTorch's (.pth or .safetensors): rename it if it is one of these"
        )
    network = backbone(params.name, _IMAGENET_SIZE, params.alpha)
    try:
        if path.suffix.lower() in _READERS:
            _load_pytorch(network, params.name, path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Keras only warns of weights without a layer
                # Layers that do not fit raise an error later, which names one; this warning does not.
                warnings.filterwarnings("ignore", "Skipping nested container")
                network.load_weights(path)
    except (*UNREADABLE, UserWarning) as error:
        raise UserError(
            f"{path}: these weights do not fit {params.name} with alpha {params.alpha} and without "
            f"its top ({brief(error)})"
        ) from None
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UserError(f"{path}: {weight.path} holds NaN or infinity; fetch it anew")
    return network


def _load_pytorch(network: keras.Model, name: str, path: Path) -> None:
    encoder = ENCODERS[name]
    if encoder.torch is None:
        readable = ", ".join(name for name, encoder in ENCODERS.items() if encoder.torch)
        raise ValueError(f"weights of PyTorch can be read for {readable} only")
    tensors = _READERS[path.suffix.lower()](path)
    left_out = load_state_dict(network, encoder.scaling, encoder.torch, tensors)
    if left_out:
        print(f"note: {path}: left out the classifier, {' and '.join(left_out)}")
    if encoder.torch.note:
        print(f"note: {path}: {encoder.torch.note}")


def _imagenet(params: EncoderParams) -> keras.Model:
    if elsewhere := ENCODERS[params.name].imagenet:
        raise UserError(
            f"model.encoder.weights: Keras has no ImageNet weights of {params.name}; {elsewhere}. "
            "Set model.encoder.weights to its path, or to none to start from random"
        )
    try:
        return backbone(params.name, _IMAGENET_SIZE, params.alpha, "imagenet")
    except Exception as error:
        reason = brief(error)
        if isinstance(error, ValueError) and "alpha" in str(error):  # there are no weights of that width
            raise UserError(f"model.encoder.alpha: {reason}") from None
        address = re.search(r"https?://\S+\.h5", reason)  # of the file that Keras wanted
        unnamed = f"a weights file of {params.name} without its top"
        file = address[0].rpartition("/")[2] if address else unnamed
        raise UserError(
            f"the ImageNet weights could not be downloaded ({reason}). Fetch {file} where there is a "
            "network and set model.encoder.weights to its path here, or to none to start from random"
        ) from None
