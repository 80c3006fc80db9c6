"""The whole predictor as one graph: from pictures of any size to masks of the same size.

It does what `segpipe predict` does by default. Each step that depends on a picture's size is a product
with a matrix that the graph computes from the size: resizing and padding before the network, cutting
into tiles, blending them, and the way back to the picture's size. So a runtime needs only matrices and
products, which give the same numbers in each.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common.errors import UserError
from segpipe.common.records import Resize, read_tiles
from segpipe.export.matrices import Span, blending, product, product_in_8_bits, resampling, tile_starts
from segpipe.export.signature import CONFIDENCE, IMAGE, MASK, Graph
from segpipe.preprocess.intensity import Levels


def predictor_graph(
    model: keras.Model, card: dict[str, Any], batch: int | None = None, real: tf.DType = tf.float64
) -> Graph:
    """Return the whole predictor of a model that a card describes.

    It maps `batch` pictures (None: any number) [n, height, width, bands], of the type that
    `picture_type` names, to `mask`, class indices uint8 [n, height, width], and `confidence`, the
    probability of that class, float32 of the same shape. `real` is the type of places and weights before
    they become float32; with float64 they are those of Pillow. Raises a UserError as `picture_type`.
    """
    levels, tiles, (height, width) = Levels.of_card(card), read_tiles(card), card["image_size"]
    network = _Network(model, (height, width), levels.bands, len(card["classes"]))
    scores = _Tiled(network, tiles.scale, real) if tiles else _AtOnce(network, card["resize"], real)

    def call(image: Any) -> dict[str, Any]:
        original = tf.unstack(tf.shape(image)[1:3], 2)
        by_class = scores(_in_8_bits(image, levels, real), original)
        mask = tf.cast(tf.argmax(by_class, 1), tf.uint8)
        return {MASK: mask, CONFIDENCE: tf.reduce_max(by_class, 1)}

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

    model: keras.Model
    size: tuple[int, int]
    bands: int
    classes: int

    def __call__(self, images: Any) -> Any:
        """Return probabilities float32 [n, *size, classes] of images [n, *size, bands], 0 to 255."""
        images = tf.reshape(images, (-1, *self.size, self.bands))
        return tf.nn.softmax(self.model(tf.cast(images, tf.uint8), training=False))


@dataclass(frozen=True)
class _AtOnce:
    """Pictures that the network sees at once, stretched or padded to its size."""

    network: _Network
    resize: Resize
    real: tf.DType

    def __call__(self, pixels: Any, original: list) -> Any:
        """Return probabilities [n, classes, *original] of pictures [n, bands, *original]."""
        edges = [Span.all_of(edge, self.real) for edge in original]
        pairs = list(zip(edges, self._boxes(original), strict=True))
        seen = product_in_8_bits(pixels, *(resampling(edge, box) for edge, box in pairs))
        scores = self.network(tf.transpose(seen, (0, 2, 3, 1)))
        back = (resampling(box, edge) for edge, box in pairs)
        return product(tf.transpose(scores, (0, 3, 1, 2)), *back)

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

    def __call__(self, pixels: Any, original: list) -> Any:
        """Return probabilities [n, classes, *original] of pictures [n, bands, *original].

        One row of tiles is predicted at a time, to bound memory.
        """
        (height, width), classes = self.network.size, self.network.classes
        scaled = [self._scaled(edge) for edge in original]
        tops, lefts = (tile_starts(*edge) for edge in zip(scaled, self.network.size, strict=True))
        down = self._back(tops, height, scaled[0], original[0])
        across = self._back(lefts, width, scaled[1], original[1])
        canvas = self._canvas(pixels, original, scaled)
        columns = tf.reshape(lefts[:, None] + tf.range(width), (-1,))

        def of_row(top: Any) -> Any:
            """Return the row's probabilities, [n, classes, rows of a tile, width of the picture]."""
            row = tf.gather(canvas, top + tf.range(height), axis=2)
            beside = tf.reshape(
                tf.gather(row, columns, axis=3), (-1, self.network.bands, height, tf.size(lefts), width)
            )
            scores = self.network(tf.transpose(beside, (0, 3, 2, 4, 1)))
            apart = tf.reshape(scores, (-1, tf.size(lefts), height, width, classes))
            joined = tf.reshape(
                tf.transpose(apart, (0, 4, 2, 1, 3)), (-1, classes, height, tf.size(columns))
            )
            return tf.matmul(joined, tf.cast(across, tf.float32), transpose_b=True)

        by_row = tf.reshape(tf.cast(down, tf.float32), (original[0], -1, height))

        def add(row: Any, total: Any) -> tuple[Any, Any]:
            return row + 1, total + tf.matmul(tf.gather(by_row, row, axis=1), of_row(tops[row]))

        # Sums have one shape. TensorFlow Lite has no lists of tensors, which `map_fn` needs.
        nothing = tf.zeros(tf.stack([tf.shape(pixels)[0], classes, *original]))
        shapes = tf.TensorShape([]), tf.TensorShape([None, classes, None, None])
        start = tf.constant(0), nothing
        return tf.while_loop(lambda row, _: row < tf.size(tops), add, start, shapes)[1]

    def _scaled(self, edge: Any) -> Any:
        return tf.cast(tf.cast(edge, self.real) * self.scale + 0.5, tf.int32)

    def _canvas(self, pixels: Any, original: list, scaled: list) -> Any:
        """Return the pictures as the network sees them, at least as large as a tile."""
        edges = [tf.maximum(edge, tile) for edge, tile in zip(scaled, self.network.size, strict=True)]
        if self.scale == 1:  # a product would take long
            beyond = [[0, edge - has] for edge, has in zip(edges, original, strict=True)]
            lite = self.real == tf.float32  # TensorFlow Lite pads no uint8
            padded = tf.cast(pixels, tf.float32) if lite else pixels
            return tf.pad(padded, tf.stack([[0, 0], [0, 0], *beyond]))
        return product_in_8_bits(pixels, *(
            resampling(Span.all_of(has, self.real), Span.all_of(seen, self.real, edge))
            for has, seen, edge in zip(original, scaled, edges, strict=True)
        ))  # fmt: skip

    def _back(self, begins: Any, tile: int, scaled: Any, original: Any) -> Any:
        """Return the matrix from the pixels of all tiles along an edge to the picture's own."""
        blended = blending(begins, tile, scaled, self.real)
        if self.scale == 1:
            return blended
        to_original = resampling(Span.all_of(scaled, self.real), Span.all_of(original, self.real))
        return tf.matmul(to_original, blended)


def _in_8_bits(image: Any, levels: Levels, real: tf.DType) -> Any:
    """Return pictures as `Levels.in_8_bits`, [n, bands, height, width]; scaled ones are of a real type.

    A pixel without a finite number in each band is 0.
    """
    ranges = levels.ranges(image.dtype.name)
    # TensorFlow Lite cannot transpose integers of 16 bits.
    values = tf.transpose(tf.cast(image, real) if ranges else image, (0, 3, 1, 2))
    if ranges is None:
        return values
    low, high = (tf.reshape(tf.constant(ends, real), (-1, 1, 1)) for ends in zip(*ranges, strict=True))
    finite = tf.reduce_all(tf.abs(values) < np.inf, 1, keepdims=True)
    known = tf.where(tf.not_equal(values, values), tf.zeros((), real), values)  # ONNX multiplies by NaN
    # TensorFlow multiplies by the inverse of a constant instead of dividing, and ties round otherwise.
    variable_one = tf.cast(tf.minimum(tf.shape(image)[1], 1), real)
    share = tf.clip_by_value((known - low) / ((high - low) * variable_one), 0, 1)
    return tf.round(share * 255) * tf.cast(finite, real)
