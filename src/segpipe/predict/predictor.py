"""A saved model as a function from pictures of any size to masks of the same size."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.common.records import Resize
from segpipe.evaluate.load import load_network
from segpipe.evaluate.masks import Predict, channels_at_size, mask_at_size, softmax
from segpipe.evaluate.tta import augmented
from segpipe.predict.images import as_rgb, fitted
from segpipe.predict.tiles import blended
from segpipe.preprocess.resize import resize_image

Allocate = Callable[[tuple[int, ...], type], np.ndarray]
"""Makes an array of a shape and a type; `numpy.empty` is one."""

_BATCH = 32
_INPUT = _BATCH * 128 * 128
"""Pixels that the network sees at once, at most: its memory grows with them."""
_OUTPUT = 1 << 24
"""Logits that it gives at once, at most: 64 MB."""


@dataclass(frozen=True)
class Whole:
    """What the network says of a picture that it saw as a whole: logits, and how to get to its size."""

    logits: np.ndarray
    original: tuple[int, int]
    resize: Resize

    def mask(self) -> np.ndarray:
        """Class indices, uint8 [height, width]."""
        return mask_at_size(softmax(self.logits), self.original, self.resize)

    def channels(self) -> Iterator[np.ndarray]:
        """Probabilities, float32 [height, width], one class after another."""
        return channels_at_size(softmax(self.logits), self.original, self.resize)


@dataclass(frozen=True)
class Tiled:
    """What the network says of a picture that it saw in tiles."""

    indices: np.ndarray
    probabilities: np.ndarray | None

    def mask(self) -> np.ndarray:
        """Class indices, uint8 [height, width]."""
        return self.indices

    def channels(self) -> Iterator[np.ndarray]:
        """Probabilities, float32 [height, width], one class after another, where they were kept."""
        yield from () if self.probabilities is None else self.probabilities


def load_model(path: Path | str = "models/model.keras") -> "Predictor":
    """Load a model that segpipe saved, to predict with.

    Raises:
        UserError: the file is missing, or no model that can be read here.
    """
    card = read_card(Path(path))
    return Predictor(load_network(Path(path), card), card)


class Predictor:
    """A saved model, ready to predict.

    `classes` is its class table: what the indices in masks mean, with names and colours. `size` is the
    height and width of the network's input, `resize` how pictures get there (stretch or pad).
    """

    def __init__(self, network: keras.Model, card: dict[str, Any]) -> None:
        self.classes = ClassTable.from_json(card)
        height, width = card["image_size"]
        self.size: tuple[int, int] = (height, width)
        self.resize: Resize = card["resize"]
        self._augmented = functools.cache(functools.partial(augmented, network))

    @property
    def batch_size(self) -> int:
        """How many images are predicted at once: 32 of 128 x 128 px, fewer larger ones."""
        pixels = self.size[0] * self.size[1]
        return max(1, min(_BATCH, _INPUT // pixels, _OUTPUT // (pixels * len(self.classes))))

    def predict(
        self, images: Any, *, tta: bool = False, scales: Sequence[float] = (1.0,), tile: bool = False
    ) -> Any:
        """The class of each pixel.

        Args:
            images: a path, a Pillow image, or a uint8 array: RGB [height, width, 3], grey [height,
                width] or [height, width, 1], RGBA [height, width, 4] (alpha is dropped); or several,
                as a list of any of these or an array [n, height, width, channels].
            tta: average the probabilities of each image and its mirror image (test-time augmentation).
            scales: average over these sizes too, as factors of `size`, 0.25 to 4; each edge is rounded
                to a multiple of 32.
            tile: predict large images at their own resolution, in overlapping tiles of `size`.

        Returns:
            The mask, class indices as uint8 [height, width] of the image's size; for several images a
            list of masks.

        Raises:
            UserError: an image is none of these, or cannot be read; or two scales come to one size.
        """
        masks = (result.mask() for result in self._results(images, tta, scales, tile, None))
        return list(masks) if _several(images) else next(masks)

    def predict_probabilities(
        self, images: Any, *, tta: bool = False, scales: Sequence[float] = (1.0,), tile: bool = False
    ) -> Any:
        """The probability of each class at each pixel, float32 [height, width, classes].

        Arguments and errors are those of `predict`; the mask is the argmax.
        """
        results = self._results(images, tta, scales, tile, np.empty)
        scores = (np.stack(list(result.channels()), -1) for result in results)
        return list(scores) if _several(images) else next(scores)

    def looking(self, tta: bool, scales: Sequence[float]) -> Predict:
        """The network as a function that looks as `predict` is asked to.

        It takes images of `size` and raises a UserError where the network gives something else than
        numbers.

        Raises:
            UserError: a scale is not 0.25 to 4, or two come to one size.
        """
        predict = self._augmented(tta, tuple(scales))

        def checked(images: np.ndarray) -> np.ndarray:
            logits = predict(images)
            if not np.isfinite(logits).all():
                raise UserError(
                    "the model predicts NaN or infinity; train it again, with a lower "
                    "train.learning_rate"
                )
            return logits

        return checked

    def whole(self, logits: np.ndarray, original: tuple[int, int]) -> Whole:
        """What the logits of a picture say of it.

        Args:
            logits: float32 [*size, classes].
            original: the picture's height and width.
        """
        return Whole(logits, original, self.resize)

    def tiled(self, picture: Image.Image, look: Predict, keep: Allocate | None) -> Whole | Tiled:
        """Predict a picture in tiles; as a whole where it is no larger than one.

        Args:
            picture: RGB.
            look: what `looking` gives.
            keep: where to keep the probabilities; None does not.
        """
        original = (picture.height, picture.width)
        if original[0] <= self.size[0] and original[1] <= self.size[1]:
            (logits,) = look(np.asarray(resize_image(picture, self.size, self.resize))[None])
            return self.whole(logits, original)
        indices = np.empty(original, np.uint8)
        kept = keep((len(self.classes), *original), np.float32) if keep else None
        top = 0

        def probabilities(images: np.ndarray) -> np.ndarray:
            return softmax(look(images))

        for band in blended(probabilities, picture, self.size, len(self.classes), self.batch_size):
            rows = slice(top, top := top + len(band))
            indices[rows] = band.argmax(-1)
            if kept is not None:
                kept[:, rows] = np.moveaxis(band, -1, 0)
        return Tiled(indices, kept)

    def _results(
        self, images: Any, tta: bool, scales: Sequence[float], tile: bool, keep: Allocate | None
    ) -> Iterator[Whole | Tiled]:
        look = self.looking(tta, scales)
        listed = images if _several(images) else [images]
        if tile:
            yield from (self.tiled(as_rgb(image), look, keep) for image in listed)
            return
        seen = (fitted(image, self.size, self.resize) for image in listed)
        while some := list(islice(seen, self.batch_size)):
            logits = look(np.stack([image for image, _ in some]))
            for (_, original), of_one in zip(some, logits, strict=True):
                yield self.whole(of_one, original)


def _several(images: Any) -> bool:
    return isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
