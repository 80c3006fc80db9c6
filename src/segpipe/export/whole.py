"""The whole predictor as one graph: from pictures of any size to masks of the same size.

It does what `segpipe predict` does by default. Each step that depends on a picture's size is a sum with
weights that the graph computes from the size: resizing and padding before the network, blending tiles,
and the way back to the picture's size. So a runtime needs only to gather, multiply and add, which give
the same numbers in each.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common.errors import UserError
from segpipe.common.network import with_features
from segpipe.common.profile import Profile
from segpipe.common.records import Resize, read_tiles
from segpipe.export.signature import CONFIDENCE, FEATURES, IMAGE, LOGITS, MASK, Graph
from segpipe.export.taps import (
    Span,
    Taps,
    blending,
    resampling,
    scaled,
    scaled_in_8_bits,
    tile_starts,
    tile_weights,
    turned,
)
from segpipe.preprocess.intensity import Levels

_KNOWN = 1 << 16  # edges in a table, 256 KB


def predictor_graph(
    model: keras.Model, card: dict[str, Any], batch: int | None = None, real: tf.DType = tf.float64
) -> Graph:
    """Return the whole predictor of a model that a card describes.

    It maps `batch` pictures (None: any number) [n, height, width, bands], of the type that
    `picture_type` names, to `mask`, class indices uint8 [n, height, width], and `confidence`, the
    probability of that class, float32 of the same shape. Where the card has a profile of the encoder's
    features, it also gives what tells foreign pictures: these `features`, float32 [n, channels], and
    the network's `logits`, float32 [n, *size, classes]. `real` is the type of places and weights before
    they become float32; with float64 they are those of Pillow. Raises a UserError as `picture_type`.
    """
    levels, tiles, (height, width) = Levels.of_card(card), read_tiles(card), card["image_size"]
    profile = Profile.of_card(card)
    observed = with_features(model) if profile and profile.features else model
    network = _Network(observed, (height, width), levels.bands, len(card["classes"]))
    predict = _Tiled(network, tiles.scale, real) if tiles else _AtOnce(network, card["resize"], real)

    def call(image: Any) -> dict[str, Any]:
        original = tf.unstack(tf.shape(image)[1:3], 2)
        return predict(_planes(_in_8_bits(image, levels, real)), original)

    pictures = tf.TensorSpec((batch, None, None, levels.bands), picture_type(levels), IMAGE)
    return Graph(call, pictures, model)


def picture_type(levels: Levels) -> str:
    """Return the type of the pictures that a whole predictor takes.

    It is the type of the training pictures, or float32 if they have several types and one range for all.
    Raises a UserError where a picture's type decides how it is scaled.
    """
    types = {*levels.depths}
    if len(types) == 1:
        return types.pop()
    if levels.intensity and "uint8" not in types:
        return "float32"
    raise UserError(
        f"the model was trained on pictures of {', '.join(sorted(types))}, which are scaled "
        "differently, and a whole predictor takes one type; export the network alone (--no-whole)"
    )


@dataclass(frozen=True)
class _Network:
    """The network, from pixels to probabilities."""

    model: keras.Model  # it gives logits, or a list of these and of features
    size: tuple[int, int]
    bands: int
    classes: int

    def __call__(self, images: Any) -> list:
        """Return what the model gives for images uint8 [n, *size, bands]: logits, perhaps features."""
        outputs = self.model(tf.reshape(images, (-1, *self.size, self.bands)), training=False)
        return outputs if isinstance(outputs, list) else [outputs]

    def decided(self, planes: Any) -> tuple[Any, Any]:
        """Return the class of each pixel, uint8, and its probability: [n, rows, columns].

        `planes` are the probabilities of all classes, [n * classes, rows, columns]. They are compared
        class by class, since an argmax has 64 bits a pixel, and is slow in ONNX Runtime.
        """
        by_class = _of_pictures(planes, self.classes)
        mask, confidence = tf.zeros_like(by_class[:, 0]), by_class[:, 0]
        for number in range(1, self.classes):
            probability = by_class[:, number]
            mask = tf.maximum(mask, number * tf.cast(probability > confidence, mask.dtype))
            confidence = tf.maximum(probability, confidence)
        return tf.cast(mask, tf.uint8), confidence


@dataclass(frozen=True)
class _AtOnce:
    """Pictures that the network sees at once, stretched or padded to its size."""

    network: _Network
    resize: Resize
    real: tf.DType

    def __call__(self, planes: Any, original: list) -> dict[str, Any]:
        """Return the outputs by name, of planes of pixels, [n * bands, rows, columns]."""
        pairs = [
            (Span.all_of(edge, self.real), box)
            for edge, box in zip(original, self._boxes(original), strict=True)
        ]
        seen = scaled_in_8_bits(planes, *(resampling(edge, box) for edge, box in pairs))
        images = tf.transpose(_of_pictures(seen, self.network.bands), (0, 2, 3, 1))
        logits, *features = self.network(images)
        scores = tf.reshape(_probabilities(logits), (-1, *self.network.size))
        back = scaled(scores, *(resampling(box, edge) for edge, box in pairs))
        observed = {LOGITS: logits, FEATURES: features[0]} if features else {}
        return _named(*self.network.decided(back)) | observed

    def _boxes(self, original: list) -> list[Span]:
        """Return the part of each edge of the input that a picture covers, as `content_box` does."""
        size = self.network.size
        if self.resize == "stretch":
            return [Span.all_of(edge, self.real) for edge in size]
        edges, inputs = tf.cast(tf.stack(original), self.real), tf.constant(size, self.real)
        lengths = tf.maximum(tf.round(edges * tf.reduce_min(inputs / edges)), 1)
        begins = tf.floor((inputs - lengths) / 2)
        return [Span(begins[axis], lengths[axis], edge) for axis, edge in enumerate(size)]


@dataclass(frozen=True)
class _Tiled:
    """Pictures that the network sees in overlapping tiles, at a scale of their own resolution."""

    network: _Network
    scale: float
    real: tf.DType

    def __call__(self, planes: Any, original: list) -> dict[str, Any]:
        """Return the outputs by name, of planes of pixels, [n * bands, rows, columns].

        One row of tiles is predicted at a time, and pixels are decided that no later tile touches, so
        that memory holds the probabilities of a row of tiles alone.
        """
        pairs = zip(original, tf.unstack(self._scaled(tf.stack(original)), 2), strict=True)
        edges = zip(pairs, self.network.size, strict=True)
        rows, columns = (_Edge.of(*pair, tile, self.real) for pair, tile in edges)

        def add(row: Any, above: Any, mask: Any, confidence: Any) -> tuple[Any, ...]:
            band = rows.touched_by(row).apply(self._row_of_tiles(planes, rows, columns, row))
            below = tf.shape(band)[1] - tf.shape(above)[1]
            band += tf.pad(above, [[0, 0], [0, below], [0, 0]])
            done = rows.untouched_from(row + 1) - rows.untouched_from(row)
            decided = self.network.decided(band[:, :done])
            joined = (tf.concat(pair, 1) for pair in zip((mask, confidence), decided, strict=True))
            return row + 1, band[:, done:], *joined

        pictures = tf.shape(planes)[0] // self.network.bands
        nothing = tf.zeros(tf.stack([pictures * self.network.classes, 0, original[1]]))
        start = tf.constant(0), nothing, *self.network.decided(nothing)
        shapes = tuple(tf.TensorShape([None] * tensor.shape.rank) for tensor in start)
        *_, mask, confidence = tf.while_loop(
            lambda row, *_: row < tf.size(rows.begins), add, start, shapes
        )
        return _named(mask, confidence)

    def _row_of_tiles(self, planes: Any, rows: "_Edge", columns: "_Edge", row: Any) -> Any:
        """Return a row of tiles, blended: [n * classes, height of a tile, width of the picture]."""
        (height, width), tiles, top = self.network.size, tf.size(columns.begins), rows.begins[row]
        part = rows.seen.part(top, top + height)
        begin, end = tf.reduce_min(part.sources), tf.reduce_max(part.sources) + 1
        near = Taps(part.sources - begin, part.weights)
        seen = scaled_in_8_bits(planes[:, begin:end], near, columns.seen)
        cut = tf.gather(seen, columns.begins[:, None] + tf.range(width), axis=2)
        by_band = tf.reshape(cut, (-1, self.network.bands, height, tiles, width))
        (logits,) = self.network(tf.transpose(by_band, (0, 3, 2, 4, 1)))
        scores = _probabilities(logits)
        by_tile = tf.reshape(scores, (-1, tiles, self.network.classes, height, width))
        by_class = tf.transpose(by_tile, (0, 2, 1, 4, 3))
        beside = tf.reshape(by_class, (-1, tiles * width, height))
        blended = columns.blended.in_float32().apply(beside)
        return turned(columns.back.in_float32().apply(blended))

    def _scaled(self, edges: Any) -> Any:
        """Return edges as the network sees them, int32, as `Tiles.scaled`.

        float32 rounds some ties in another way, so that a table has all edges up to a JPEG's largest.
        """
        scaled = tf.cast(tf.cast(edges, self.real) * self.scale + 0.5, tf.int32)
        if self.real == tf.float64 or self.scale == 1:
            return scaled
        table = tf.constant((np.arange(_KNOWN) * self.scale + 0.5).astype(np.int32))
        return tf.where(edges < _KNOWN, tf.gather(table, tf.minimum(edges, _KNOWN - 1)), scaled)


@dataclass(frozen=True)
class _Edge:
    """One edge of pictures in tiles, with the taps that lead to the tiles and back."""

    length: Any  # as the network sees it
    begins: Any  # of the tiles, int32 [tiles]
    weights: Any  # of each pixel of each tile, [tiles, pixels]
    seen: Taps  # from the picture to what the network sees, which is a tile at least
    blended: Taps  # from all tiles to the length
    back: Taps  # from the length to the picture

    @classmethod
    def of(cls, original: Any, length: Any, tile: int, real: tf.DType) -> "_Edge":
        """Return an edge of an original length, which the network sees in tiles at another length."""
        whole, begins = Span.all_of(original, real), tile_starts(length, tile)
        weights = tile_weights(begins, tile, real)
        seen = resampling(whole, Span.all_of(length, real, tf.maximum(length, tile)))
        back = resampling(Span.all_of(length, real), whole)
        return cls(length, begins, weights, seen, blending(begins, weights, length), back)

    def touched_by(self, tile: Any) -> Taps:
        """Return the taps from a tile, by number, to all pixels of the picture that it touches."""
        begin, size = self.begins[tile], self.weights.shape[1]
        part = self.back.part(self.untouched_from(tile), _count(self.back.sources[:, 0] < begin + size))
        within = part.sources - begin
        known = tf.clip_by_value(within, 0, size - 1)
        weights = tf.gather(self.weights[tile], known) * tf.cast(known == within, self.weights.dtype)
        return Taps(known, part.weights * weights).in_float32()

    def untouched_from(self, tile: Any) -> Any:
        """Return how many pixels of the picture no tile touches from this one on; all after the last."""
        begins = tf.concat([self.begins, [self.length]], 0)
        return _count(self.back.sources[:, -1] < begins[tile])


def _probabilities(logits: Any) -> Any:
    """Return probabilities [n, classes, rows, columns] of logits [n, rows, columns, classes]."""
    by_class = tf.transpose(logits, (0, 3, 1, 2))
    # ONNX Runtime's own softmax takes each pixel apart, which takes several times as long.
    shares = tf.exp(by_class - tf.reduce_max(by_class, 1, keepdims=True))
    return shares / tf.reduce_sum(shares, 1, keepdims=True)


def _named(mask: Any, confidence: Any) -> dict[str, Any]:
    return {MASK: mask, CONFIDENCE: confidence}


def _planes(images: Any) -> Any:
    """Return images [n, rows, columns, bands] as planes, [n * bands, rows, columns]."""
    return tf.reshape(tf.transpose(images, (0, 3, 1, 2)), tf.concat([[-1], tf.shape(images)[1:3]], 0))


def _of_pictures(planes: Any, each: int) -> Any:
    """Return planes [n * each, rows, columns] as [n, each, rows, columns]."""
    count, _, columns = tf.unstack(tf.shape(planes), 3)
    # There may be no rows. ONNX takes a 0 in a shape for the input's own number of that axis.
    return tf.reshape(planes, (count // each, each, -1, columns))


def _count(conditions: Any) -> Any:
    return tf.reduce_sum(tf.cast(conditions, tf.int32))


def _in_8_bits(image: Any, levels: Levels, real: tf.DType) -> Any:
    """Return pictures as `Levels.in_8_bits`; scaled ones are of a real type.

    A pixel without a finite number in each band is 0.
    """
    ranges = levels.ranges(image.dtype.name)
    if ranges is None:
        return image
    values = tf.cast(image, real)
    low, high = (tf.constant(ends, real) for ends in zip(*ranges, strict=True))
    finite = tf.reduce_all(tf.abs(values) < np.inf, -1, keepdims=True)
    known = tf.where(tf.not_equal(values, values), tf.zeros((), real), values)  # ONNX multiplies by NaN
    # TensorFlow multiplies by the inverse of a constant instead of dividing, and ties round otherwise.
    variable_one = tf.cast(tf.minimum(tf.shape(image)[1], 1), real)
    share = tf.clip_by_value((known - low) / ((high - low) * variable_one), 0, 1)
    return tf.round(share * 255) * tf.cast(finite, real)
