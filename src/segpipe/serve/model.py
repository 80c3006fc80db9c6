"""A whole predictor in ONNX Runtime: from the bytes of a picture to its mask."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.exceptions import HTTPException

from segpipe.common.bands import numbers
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError, brief
from segpipe.common.modelfile import read_card
from segpipe.common.network_traits import Components, traits_of_network
from segpipe.common.profile import Mark, Profile
from segpipe.fetch.jpeg import MOST_SCANS, scans
from segpipe.fetch.pictures import bands_in, stored_size
from segpipe.fetch.sample import BadSampleError, TooLargeError
from segpipe.predict.images import Input
from segpipe.preprocess.traits import traits_of
from segpipe.serve.requests import Upload

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Pictures [n, height, width, bands] to masks, uint8, and confidences, float32, [n, height, width].

A file with such outputs also gives logits and features, which tell foreign pictures.
"""

_BANDS = 4  # of a picture of the most pixels, at most; a model of more bands takes its own number
_EDGE = 4
"""The longest edge of a picture, by that of a square of the most pixels: the network predicts a row of
tiles at once, and a stretched picture is scaled along one edge after the other."""


class Picture(NamedTuple):
    """A decoded picture."""

    name: str
    model_input: np.ndarray  # [height, width, bands], as the file takes it
    seen: np.ndarray  # uint8 [height, width, bands], as people see it
    invalid: np.ndarray | None  # bool [height, width]: pixels that hold nothing
    remark: str  # why the file differs from those that the model knows; empty if it does not


class Prediction(NamedTuple):
    """The class of each pixel, uint8 [height, width], and its probability, float32 of the same shape."""

    mask: np.ndarray
    confidence: np.ndarray
    mark: Mark | None = None  # how foreign the picture is; None where the card holds no profile


class Served:
    """A whole predictor and its card."""

    def __init__(self, card: dict[str, Any], run: Run) -> None:
        self.card, self.run = card, run
        self.classes = ClassTable.from_json(card)
        self.input = Input.of_card(card)
        self._profile = Profile.of_card(card)  # None where the card holds none
        plain = self._profile and self._profile.features
        self._components = Components.from_json(plain) if plain else None
        self._type = card["export"]["input"]["type"]

    def read(self, upload: Upload, most_pixels: int) -> Picture:
        """Decode a picture, after its header was checked.

        Raises HTTPException 413 for one of too many pixels or scans, BadSampleError for one that the
        model cannot take.
        """
        self._check_size(upload, most_pixels)
        decoded = self.input.decoded(upload.data, upload.name)
        self.input.target(decoded.size, upload.name)  # which raises where the file would fail
        pixels, invalid = decoded.pixels, decoded.invalid
        model_input = self._model_input(pixels, invalid, upload.name)
        seen = self.input.levels.in_8_bits(pixels, invalid)
        return Picture(upload.name, model_input, seen, invalid, self.input.remark(pixels, invalid))

    def predict(self, picture: Picture) -> Prediction:
        """Predict a picture. Raises HTTPException 500 where the model predicts NaN or infinity."""
        (mask,), (confidence,), *observed = self.run(picture.model_input[None])
        if not np.isfinite(confidence).all():
            raise HTTPException(500, f"{picture.name}: the model predicts NaN or infinity")
        return Prediction(mask, confidence, self._mark(picture.seen, observed))

    def _mark(self, seen: np.ndarray, observed: Sequence[np.ndarray]) -> Mark | None:
        """Return how far a picture lies from those that the model knows.

        Files that an older segpipe exported give no logits and features: then the picture's own traits
        alone are compared.
        """
        if self._profile is None:
            return None
        traits = traits_of(seen)
        if observed and self._components:
            logits, features = observed
            names = self.classes.names
            traits |= traits_of_network(logits, features, names, self._components)[0]
        return self._profile.mark(traits)

    def _check_size(self, upload: Upload, most: int) -> None:
        expected = f"expected {most / 1e6:g} million pixels at most"
        try:
            (height, width), _ = stored_size(upload.data, upload.name)
            samples = height * width * bands_in(upload.data, upload.name)
        except TooLargeError as error:  # for any reader, whose limit is higher
            raise HTTPException(413, f"{upload.name}: {error.problem.found}; {expected}") from None
        if height * width > most or samples > most * max(_BANDS, *numbers(self.input.bands)):
            found = f"{height * width / 1e6:.1f} million pixels with {samples / height / width:g} bands"
            raise HTTPException(413, f"{upload.name}: {found}; {expected}")
        edge = int(math.sqrt(most) * _EDGE)
        if max(height, width) > edge:
            found = f"an edge of {max(height, width)} px"
            raise HTTPException(
                413, f"{upload.name}: {found}; expected {edge} at most; cut it into parts"
            )
        if scans(upload.data) > MOST_SCANS:
            found = f"a progressive JPEG of more than {MOST_SCANS} scans"
            raise HTTPException(413, f"{upload.name}: {found}; expected fewer; save it anew")

    def _model_input(self, pixels: np.ndarray, invalid: np.ndarray | None, name: str) -> np.ndarray:
        """Return a picture in the file's type. Raises BadSampleError where the file takes another."""
        levels, depth = self.input.levels, pixels.dtype.name
        if self._type == "uint8" and levels.intensity is None:
            return levels.raw(levels.in_8_bits(pixels, invalid), invalid, self._type)
        if depth not in levels.depths:  # a range within 8 bits would leave few grey levels of more bits
            takes = f"{' or '.join(levels.depths)}, as the file takes it; `segpipe predict` takes others"
            raise BadSampleError(name, f"a picture of {depth}", takes)
        return levels.raw(pixels, invalid, self._type)


def load(path: Path) -> Served:
    """Open a whole predictor; each of its calls runs on one thread.

    Raises a UserError where the file is missing, or is something else.
    """
    if path.suffix != ".onnx":
        raise UserError(
            f"{path}: serve takes a whole predictor in an ONNX file; `segpipe export --to onnx` writes "
            "it (--model names another model)"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file; `segpipe export --to onnx` writes it")
    card = read_card(path)
    try:
        return _of_card(path, card)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        found = f"its card lacks {error}" if isinstance(error, KeyError) else f"its card: {brief(error)}"
        raise UserError(
            f"{path}: {found}, which serve needs; `segpipe export --to onnx` writes it"
        ) from None


def _of_card(path: Path, card: dict[str, Any]) -> Served:
    if not card.get("export", {}).get("whole"):
        raise UserError(
            f"{path}: holds the network alone; `segpipe export --to onnx --whole` writes the whole "
            "predictor, which serve takes"
        )
    return Served(card, _opened(path, card["export"]))


def _opened(path: Path, export: dict[str, Any]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Several pictures at once on a thread each take less of the CPU than one on several threads.
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a type of its own for each reason
        raise UserError(f"{path}: ONNX Runtime cannot open it ({brief(error)})") from None
    optional = [role for role in ("logits", "features") if role in export]
    image, *outputs = (export[role]["name"] for role in ("input", "output", "confidence", *optional))
    names = {tensor.name for tensor in session.get_inputs() + session.get_outputs()}
    if missing := {image, *outputs} - names:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}, which its card names")
    return lambda images: session.run(outputs, {image: images})
