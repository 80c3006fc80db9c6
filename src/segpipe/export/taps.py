"""Matrices of a graph that depend on the size of its pictures: [target pixels, source pixels].

Each row adds up to 1, or to 0 where nothing of the source belongs there. A number of pixels is an int,
or a scalar tensor that is known only when the graph runs. Matrices are of the real type of their spans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from segpipe.preprocess.tiles import OVERLAP

_ONE = 1 << 22  # in Pillow's fixed-point numbers


@dataclass(frozen=True)
class Span:
    """A part of an edge; begin and length are scalar tensors of one real type."""

    begin: Any
    length: Any
    total: Any  # pixels of the edge

    @classmethod
    def all_of(cls, edge: Any, real: tf.DType, total: Any = None) -> "Span":
        """Return a span that covers an edge, or the first pixels of a longer one."""
        return cls(tf.zeros((), real), tf.cast(edge, real), edge if total is None else total)

    def places(self) -> Any:
        """Return the number of each pixel of the edge, counted from the span's begin on."""
        return tf.cast(tf.range(self.total), self.length.dtype) - self.begin


def resampling(source: Span, target: Span) -> Any:
    """Return the weights that scale a part of the source to a part of the target.

    Bilinear, antialiased where it shrinks, as Pillow's BILINEAR; the rest of the target is 0.
    """
    scale, column, row = source.length / target.length, source.places()[None], target.places()[:, None]
    distance = tf.abs((column - (row + 0.5) * scale + 0.5) * (1 / tf.maximum(scale, 1)))
    inside = (column >= 0) & (column < source.length) & (row >= 0) & (row < target.length)
    return _normalised(tf.maximum(1 - distance, 0) * tf.cast(inside, scale.dtype))


def tile_starts(length: Any, tile: int) -> Any:
    """Return where the tiles of an edge begin, int32 [tiles], as `preprocess.tiles.starts`."""
    stride, beyond = int(tile * (1 - OVERLAP)), tf.maximum(length - tile, 0)
    gaps = (beyond + stride - 1) // stride
    return tf.range(gaps + 1) * beyond // tf.maximum(gaps, 1)


def blending(begins: Any, tile: int, length: Any, real: tf.DType) -> Any:
    """Return the weights of all tiles' pixels, tile after tile, as `evaluate.tiles.weights` does."""
    hann = tf.constant(np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2, real)
    places = begins[:, None] + tf.range(tile)
    is_here = tf.range(length)[:, None, None] == places
    weights = tf.where(is_here, hann, tf.zeros((), real))
    return _normalised(tf.reshape(weights, (length, -1)))


def product(pixels: Any, rows: Any, columns: Any) -> Any:
    """Return pixels float32 [..., height, width], scaled along each row and then along each column."""
    rows, columns = tf.cast(rows, tf.float32), tf.cast(columns, tf.float32)
    return tf.matmul(rows, tf.matmul(pixels, columns, transpose_b=True))


def product_in_8_bits(pixels: Any, rows: Any, columns: Any) -> Any:
    """Return the same product for pixels 0 to 255, in the matrices' type: as Pillow computes 8 bits.

    Weights are multiples of 2 ** -22, and each step is rounded to whole numbers, so that all is exact
    with float64. Otherwise ties, which some sizes have many of, would be rounded in another way.
    Source: https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c
    """
    across = tf.matmul(tf.cast(pixels, columns.dtype), _fixed(columns), transpose_b=True)
    return _whole_numbers(tf.matmul(_fixed(rows), _whole_numbers(across)))


def _fixed(weights: Any) -> Any:
    return tf.floor(weights * _ONE + 0.5)


def _whole_numbers(sums: Any) -> Any:
    return tf.floor((sums + _ONE / 2) / _ONE)


def _normalised(weights: Any) -> Any:
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, 1, keepdims=True))
