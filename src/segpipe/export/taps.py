"""Scaling and blending in a graph whose pictures have any size: each pixel is a sum of a few others.

These few are its taps, as of a filter. So time and memory grow with the picture's pixels, not with the
square of its edge. A number of pixels is an int, or a scalar tensor that is known only when the graph
runs. Weights are of the real type of their spans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from segpipe.preprocess.tiles import OVERLAP

_ONE, _LOW = 1 << 22, 1 << 11  # a weight of 1 in Pillow's fixed-point numbers, and its lower bits
_NEAR = 2  # tiles on each side that a tile may overlap: three tiles may lie a third of an edge apart


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


@dataclass(frozen=True)
class Taps:
    """The pixels of an edge as sums of a source's: those of target i are the sources in row i.

    The weights of a row add up to 1, or to 0 where nothing of the source belongs there.
    """

    sources: Any  # int32 [targets, taps], within the source's edge; they rise along both axes
    weights: Any  # [targets, taps]

    def part(self, begin: Any, end: Any) -> "Taps":
        """Return the taps of some targets, by number."""
        return Taps(self.sources[begin:end], self.weights[begin:end])

    def apply(self, pixels: Any) -> Any:
        """Return pixels [n, sources, others] as [n, targets, others], in the weights' type."""
        chosen = tf.cast(tf.gather(pixels, self.sources, axis=1), self.weights.dtype)
        return tf.squeeze(tf.matmul(self.weights[:, None], chosen), 2)

    def in_float32(self) -> "Taps":
        """Return them with weights of that type, for numbers that are."""
        return Taps(self.sources, tf.cast(self.weights, tf.float32))

    def apply_in_8_bits(self, pixels: Any) -> Any:
        """Return the same of whole numbers 0 to 255, rounded to such as Pillow rounds 8 bits: float32.

        Pillow's weights are whole numbers of 22 bits, and its sums of 30. float32 holds 24, so that the
        higher and the lower 11 bits of the weights are summed apart.
        Source: https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c
        """
        fixed = tf.floor(self.weights * _ONE + 0.5)
        high = tf.floor(fixed / _LOW)
        both = tf.cast(tf.stack([high, fixed - high * _LOW], 1), tf.float32)
        chosen = tf.cast(tf.gather(pixels, self.sources, axis=1), tf.float32)
        sums = tf.unstack(tf.matmul(both, chosen), 2, axis=2)
        carried = tf.floor((sums[1] + _ONE / 2) / _LOW)
        return tf.floor((sums[0] + carried) / _LOW)


def resampling(source: Span, target: Span) -> Taps:
    """Return the taps that scale a part of the source to a part of the target.

    Bilinear, antialiased where it shrinks, as Pillow's BILINEAR; the rest of the target is 0.
    """
    scale, row = source.length / target.length, target.places()[:, None]
    reach = tf.maximum(scale, 1)
    first = tf.floor((row + 0.5) * scale - 0.5 - reach) + 1
    place = first + tf.range(tf.math.ceil(2 * reach))
    distance = tf.abs((place - (row + 0.5) * scale + 0.5) * (1 / reach))
    inside = (place >= 0) & (place < source.length) & (row >= 0) & (row < target.length)
    weights = tf.maximum(1 - distance, 0) * tf.cast(inside, scale.dtype)
    return Taps(_within(place + source.begin, source.total), _normalised(weights))


def tile_starts(length: Any, tile: int) -> Any:
    """Return where the tiles of an edge begin, int32 [tiles], as `preprocess.tiles.starts`."""
    stride, beyond = int(tile * (1 - OVERLAP)), tf.maximum(length - tile, 0)
    gaps = (beyond + stride - 1) // stride
    return tf.range(gaps + 1) * beyond // tf.maximum(gaps, 1)


def tile_weights(begins: Any, tile: int, real: tf.DType) -> Any:
    """Return the weight of each pixel of each tile, [tiles, tile], as `evaluate.tiles.weights`."""
    hann = tf.constant(np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2, real)
    near = tf.range(tf.size(begins))[:, None] + tf.range(-_NEAR, _NEAR + 1)
    known = _within(near, tf.size(begins))
    moved = tf.expand_dims(begins, 1) - tf.gather(begins, known)
    places = tf.expand_dims(moved, 2) + tf.range(tile)  # of each pixel in the tiles that are near
    is_there = _is_within(places, tile, real) * tf.expand_dims(tf.cast(known == near, real), 2)
    return hann / tf.reduce_sum(tf.gather(hann, _within(places, tile)) * is_there, 1)


def blending(begins: Any, weights: Any, length: Any) -> Taps:
    """Return the taps that blend the pixels of all tiles, tile after tile, to an edge of a length.

    `begins` are those of `tile_starts`, `weights` those of `tile_weights`.
    """
    tile, gaps, beyond = weights.shape[1], tf.size(begins) - 1, begins[-1]

    def begun(places: Any) -> Any:
        """Return how many tiles begin at a place or before it, where there are several."""
        return (tf.maximum(places + 1, 0) * gaps + beyond - 1) // tf.maximum(beyond, 1)

    place = tf.range(length)[:, None]
    first, last = _within(begun(place - tile), gaps + 1), _within(begun(place) - 1, gaps + 1)
    of_tile = first + tf.range(tf.reduce_max(last - first) + 1)
    known = _within(of_tile, gaps + 1)
    within = place - tf.gather(begins, known)
    sources = known * tile + _within(within, tile)
    is_here = tf.cast(known == of_tile, weights.dtype) * _is_within(within, tile, weights.dtype)
    return Taps(sources, tf.gather(tf.reshape(weights, (-1,)), sources) * is_here)


def scaled(planes: Any, rows: Taps, columns: Taps) -> Any:
    """Return planes float32 [n, rows, columns], scaled along each row and then along each column."""
    across = columns.in_float32().apply(turned(planes))
    return rows.in_float32().apply(turned(across))


def scaled_in_8_bits(planes: Any, rows: Taps, columns: Taps) -> Any:
    """Return the same for whole numbers 0 to 255, as uint8: as Pillow scales 8 bits."""
    across = columns.apply_in_8_bits(turned(planes))
    return tf.cast(rows.apply_in_8_bits(turned(across)), tf.uint8)


def turned(planes: Any) -> Any:
    """Return planes [n, rows, columns] as [n, columns, rows]."""
    return tf.transpose(planes, (0, 2, 1))


def _normalised(weights: Any) -> Any:
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, 1, keepdims=True))


def _within(places: Any, total: Any) -> Any:
    return tf.clip_by_value(tf.cast(places, tf.int32), 0, total - 1)


def _is_within(places: Any, total: Any, real: tf.DType) -> Any:
    return tf.cast((places >= 0) & (places < total), real)
