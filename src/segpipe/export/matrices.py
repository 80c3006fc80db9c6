"""Matrices of a graph that depend on the size of its pictures: [target pixels, source pixels], float32.

Each row adds up to 1, or to 0 where nothing of the source belongs there. A number of pixels is an int,
or a scalar tensor that is known only when the graph runs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from segpipe.preprocess.tiles import OVERLAP


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

    def centres(self) -> Any:
        """Return the centre of each pixel of the edge, from the span's begin on."""
        return tf.cast(tf.range(self.total), self.length.dtype) + 0.5 - self.begin


def resampling(source: Span, target: Span) -> Any:
    """Return the weights that scale a part of the source to a part of the target.

    Bilinear, antialiased where it shrinks, as Pillow's BILINEAR; the rest of the target is 0.
    """
    scale = source.length / target.length
    of, at = source.centres()[None], target.centres()[:, None]
    near = tf.maximum(1 - tf.abs(of - at * scale) / tf.maximum(scale, 1), 0)
    inside = (of > 0) & (of < source.length) & (at > 0) & (at < target.length)
    return _normalised(near * tf.cast(inside, near.dtype))


def tile_starts(length: Any, tile: int) -> Any:
    """Return where the tiles of an edge begin, int32 [tiles], as `preprocess.tiles.starts`."""
    stride, beyond = int(tile * (1 - OVERLAP)), tf.maximum(length - tile, 0)
    gaps = (beyond + stride - 1) // stride
    return tf.range(gaps + 1) * beyond // tf.maximum(gaps, 1)


def blending(begins: Any, tile: int, length: Any, real: tf.DType) -> Any:
    """Return the weights of all tiles' pixels, tile after tile, as `evaluate.tiles.weights` has them."""
    hann = tf.constant(np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2, real)
    places = begins[:, None] + tf.range(tile)
    here = tf.range(length)[:, None, None] == places
    weights = tf.where(here, hann, tf.zeros((), real))
    return _normalised(tf.reshape(weights, (length, -1)))


def product(pixels: Any, rows: Any, columns: Any) -> Any:
    """Return pixels [..., height, width], scaled along each row and then along each column."""
    return tf.matmul(rows, tf.matmul(pixels, columns, transpose_b=True))


def rounded_product(pixels: Any, rows: Any, columns: Any) -> Any:
    """Return the same, rounded after each matrix, as Pillow does with 8 bits."""
    across = tf.floor(tf.matmul(pixels, columns, transpose_b=True) + 0.5)
    return tf.floor(tf.matmul(rows, across) + 0.5)


def _normalised(weights: Any) -> Any:
    total = tf.reduce_sum(weights, 1, keepdims=True)
    return tf.cast(tf.math.divide_no_nan(weights, total), tf.float32)
