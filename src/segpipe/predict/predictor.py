"""A saved model as a function from pictures of any size to masks of the same size."""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from segpipe.common.classes import ClassTable
from segpipe.common.modelfile import read_card
from segpipe.common.network import load_network
from segpipe.common.profile import Mark
from segpipe.evaluate.masks import Predict, channels_at_size, mask_at_size, require_finite, softmax
from segpipe.evaluate.tiles import Read, rows_of, tiles_of
from segpipe.evaluate.tta import augmented
from segpipe.predict.foreign import ForeignCheck
from segpipe.predict.images import Input, Seen
from segpipe.preprocess.resize import resize_pixels

Allocate = Callable[[tuple[int, ...], type], np.ndarray]  # by shape and type, as `numpy.empty`

_BATCH = 32
_INPUT = _BATCH * 128 * 128  # pixels a batch, at most: the network's memory grows with them
_OUTPUT = 1 << 24  # logits a batch, at most: 64 MB


class Prediction(NamedTuple):
    """The prediction for one picture; arrays of the picture's size are made on demand."""

    mask: Callable[[], np.ndarray]  # class indices, uint8 [height, width]
    channels: Callable[[], Iterator[np.ndarray]]
    """Probabilities, float32 [height, width], class after class; none where tiles did not keep them."""
    network_traits: Mapping[str, float] = {}
    """Traits of the picture as the network sees it; none where it has no profile."""


def load_model(path: Path | str = "models/model.keras") -> "Predictor":
    """Load a model that segpipe saved, to predict with.

    Raises a UserError where the file is missing, or no model that can be read here.
    """
    card = read_card(Path(path))
    return Predictor(load_network(Path(path), card), card)


class Predictor:
    """A saved model, ready to predict.

    `classes` is its class table: names and colours of the indices in masks. `input` says what the
    network takes: the bands and intensities of pictures, its height and width, and how they are resized.
    `network` is Keras' model, from uint8 pictures to logits.
    """

    def __init__(self, network: keras.Model, card: dict[str, Any]) -> None:
        self.classes = ClassTable.from_json(card)
        self.input = Input.of_card(card)
        self.size = self.input.size  # height and width
        self.resize = self.input.resize
        self.network = network
        self._augmented = functools.cache(functools.partial(augmented, network))
        self.foreign_check = ForeignCheck.of_card(network, card)  # None: the card holds no profile

    @property
    def batch_size(self) -> int:
        """Images a forward pass: 32 of 128 x 128 px, fewer if they are larger."""
        pixels = self.size[0] * self.size[1]
        return max(1, min(_BATCH, _INPUT // pixels, _OUTPUT // (pixels * len(self.classes))))

    def predict(
        self, images: Any, *, tta: bool = False, scales: Sequence[float] = (1.0,), tile: bool = False
    ) -> Any:
        """Return the class of each pixel.

        Args:
            images: a path, a Pillow image, or a uint8 array: RGB [height, width, 3], grey [height,
                width] or [height, width, 1], RGBA [height, width, 4] (alpha is dropped); or several,
                as a list of any of these or an array [n, height, width, channels]. A model of other
                bands takes arrays [height, width, bands], in the order of `data.bands`; one that was
                trained on more than 8 bits takes uint16, int16 and floats too.
            tta: average the probabilities of each image and its mirror image (test-time augmentation).
            scales: average over these sizes too, as factors of `size`, 0.25 to 4; each edge is rounded
                to a multiple of 32.
            tile: predict large images at their own resolution, in overlapping tiles of `size`. A
                model that was trained on tiles always does, at the scale of its training.

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
        """Return the probability of each class at each pixel, float32 [height, width, classes].

        Arguments and errors are those of `predict`; the mask is the argmax.
        """
        results = self._results(images, tta, scales, tile, np.empty)
        scores = (np.stack(list(result.channels()), -1) for result in results)
        return list(scores) if _several(images) else next(scores)

    def with_views(self, tta: bool, scales: Sequence[float]) -> Predict:
        """Return the network with test-time augmentation, for images of `size`.

        Raises a UserError where a scale is not 0.25 to 4, or two come to one size. The network raises
        one where it predicts NaN or infinity.
        """
        network = self._augmented(tta, tuple(scales))

        def checked(images: np.ndarray) -> np.ndarray:
            return require_finite(network(images))

        return checked

    def mark(self, image: Any) -> Mark | None:
        """Return how foreign an image is to the model, and which trait makes it so.

        `image` and errors are those of `predict`, for a single one. Returns None where the model has no
        profile of its training pictures.
        """
        if self.foreign_check is None:
            return None
        pixels = self.input.at_own_size(image).pixels
        return self.foreign_check.mark(pixels, self.network_traits(pixels))

    def network_traits(self, pixels: np.ndarray) -> Mapping[str, float]:
        """Return the traits of a picture, uint8 [height, width, bands], as the network sees it.

        There are none where the profile has none.
        """
        if self.foreign_check is None or not self.foreign_check.profile.features:
            return {}
        fitted = resize_pixels(pixels, self.size, self.resize)
        return self.foreign_check.network_traits([fitted], self.with_views(False, (1.0,)))[0]

    def from_logits(self, logits: np.ndarray, original: tuple[int, int]) -> Prediction:
        """Return the prediction for a picture that the network saw as a whole.

        `logits` are float32 [*size, classes], `original` is the picture's height and width.
        """
        return Prediction(
            lambda: mask_at_size(softmax(logits), original, self.resize),
            lambda: channels_at_size(softmax(logits), original, self.resize),
        )

    def seen(self, image: Any) -> Seen:
        """Return an image for `in_tiles`: at the scale of a model that learned tiles, else its own."""
        return self.input.fitted(image) if self.input.tiles else self.input.at_own_size(image)

    def in_tiles(self, seen: Seen, network: Predict, keep: Allocate | None) -> Prediction:
        """Predict a picture in tiles; as a whole where one covers it and the model learned whole ones.

        Args:
            seen: the picture, as the method `seen` returns it.
            network: that of `with_views`, from uint8 [n, *size, bands] to logits.
            keep: allocates an array for the probabilities, float32 [classes, *original], or None.

        Raises:
            UserError: the network predicts NaN or infinity.
        """
        pixels, original = seen.pixels, seen.original
        size = (pixels.shape[0], pixels.shape[1])
        if not self.input.tiles and size[0] <= self.size[0] and size[1] <= self.size[1]:
            (logits,) = network(resize_pixels(pixels, self.size, self.resize)[None])
            return self.from_logits(logits, original)
        indices = np.empty(original, np.uint8)
        kept = keep((len(self.classes), *original), np.float32) if keep else None
        read = tiles_of(pixels, self.size)
        for rows, probabilities in self.in_rows(read, size, original, network):
            indices[rows] = probabilities.argmax(-1)
            if kept is not None:
                kept[:, rows] = np.moveaxis(probabilities, -1, 0)
        return Prediction(lambda: indices, lambda: iter(() if kept is None else kept))

    def in_rows(
        self, read: Read, size: tuple[int, int], original: tuple[int, int], network: Predict
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield rows of a picture from top to bottom, and their probabilities.

        The network sees the picture at `size`; the rows are those of its `original` size.
        """
        top, classes = 0, len(self.classes)
        rows = rows_of(network, read, size, original, self.size, classes, self.batch_size)
        for probabilities in rows:
            yield slice(top, top := top + len(probabilities)), probabilities

    def _results(
        self, images: Any, tta: bool, scales: Sequence[float], tile: bool, keep: Allocate | None
    ) -> Iterator[Prediction]:
        network = self.with_views(tta, scales)
        listed = images if _several(images) else [images]
        if tile or self.input.tiles:
            for image in listed:
                yield self.in_tiles(_remarked(self.seen(image), image), network, keep)
            return
        inputs = (_remarked(self.input.fitted(image), image) for image in listed)
        while batch := list(islice(inputs, self.batch_size)):
            logits = network(np.stack([seen.pixels for seen in batch]))
            for seen, of_picture in zip(batch, logits, strict=True):
                yield self.from_logits(of_picture, seen.original)


def _remarked(seen: Seen, image: Any) -> Seen:
    """Warn of a picture that the model may not know."""
    if seen.remark:
        name = image if isinstance(image, str | os.PathLike) else "an image"
        warnings.warn(f"{name}: {seen.remark}", stacklevel=5)
    return seen


def _several(images: Any) -> bool:
    return isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
