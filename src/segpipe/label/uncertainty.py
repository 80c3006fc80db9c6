"""How uncertain a model is about a picture, and the features that its encoder sees in it."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from operator import itemgetter
from typing import Literal, NamedTuple

import keras
import numpy as np

from segpipe.common.network import with_features
from segpipe.common.parallel import in_order, usable_cores
from segpipe.evaluate.masks import log_softmax, require_finite
from segpipe.fetch.sample import BadSampleError, Problem
from segpipe.predict.images import Seen
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.resize import content_box
from segpipe.preprocess.tiles import starts, window

Kind = Literal["entropy", "disagreement"]


class Uncertainty(NamedTuple):
    """How uncertain a model is about a picture."""

    mean: float  # over its pixels, nats
    features: np.ndarray  # float32 [channels], of length 1
    remark: str  # why the model may not know such pictures


class Piece(NamedTuple):
    """Pixels at the network's size, and the part of them that is the picture."""

    pixels: np.ndarray  # uint8 [height, width, bands]
    within: tuple[slice, slice]
    remark: str


class _Judged(NamedTuple):
    total: float  # uncertainty of all pixels
    pixels: int
    features: np.ndarray
    remark: str


def uncertainties(
    predictor: Predictor, sources: Iterable[Source], kind: Kind
) -> Iterator[tuple[Source, Uncertainty | Problem]]:
    """Yield how uncertain the model is about each picture, in order, or why it cannot be read.

    The features are the mean of the encoder's last output. A model of tiles sees all tiles of a picture.
    Raises UserError where the model predicts NaN or infinity.
    """
    judge = _judge(predictor.network, kind)
    pool = ThreadPoolExecutor(usable_cores())

    def read(source: Source) -> tuple[Source, Seen | Problem]:
        try:
            return source, predictor.input.fitted(source.path)
        except BadSampleError as error:
            return source, error.problem

    try:
        ahead = 0 if predictor.input.tiles else 2 * predictor.batch_size
        seen = in_order(lambda source: pool.submit(read, source), sources, ahead)
        pieces = ((source, piece) for source, result in seen for piece in _pieces(predictor, result))
        judged = _in_batches(pieces, judge, predictor.batch_size)
        for source, parts in groupby(judged, itemgetter(0)):
            yield source, _together([part for _, part in parts])
    finally:
        pool.shutdown(cancel_futures=True)


def entropy(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy of the probabilities of each pixel, in nats.

    Takes float32 [n, height, width, classes], returns [n, height, width].
    """
    return -(np.exp(log_probabilities) * log_probabilities).sum(-1)


def divergence(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far two predictions of each pixel differ; arrays as for `entropy`.

    It is the Jensen-Shannon divergence: the entropy of the mean, less the mean of the entropies.
    """
    mean = np.logaddexp(one, other) - np.log(np.float32(2))
    return entropy(mean) - (entropy(one) + entropy(other)) / 2


def _judge(network: keras.Model, kind: Kind) -> Callable[[list[Piece]], list[_Judged]]:
    both = with_features(network)

    def judge(pieces: list[Piece]) -> list[_Judged]:
        images = np.stack([piece.pixels for piece in pieces])
        logits, features = both.predict_on_batch(images)
        plain = log_softmax(require_finite(logits))
        if kind == "entropy":
            maps = entropy(plain)
        else:
            logits, _ = both.predict_on_batch(images[:, :, ::-1])
            maps = divergence(plain, log_softmax(require_finite(logits))[:, :, ::-1])
        cropped = [values[piece.within] for piece, values in zip(pieces, maps, strict=True)]
        return [
            _Judged(float(values.sum()), values.size, pooled, piece.remark)
            for piece, values, pooled in zip(pieces, cropped, features, strict=True)
        ]

    return judge


def _pieces(predictor: Predictor, seen: Seen | Problem) -> Iterator[Piece | Problem]:
    """Yield the pieces of a picture that the network sees: all of it, or its tiles."""
    if isinstance(seen, Problem):
        yield seen
    elif predictor.input.tiles:
        height, width = seen.pixels.shape[:2]
        for top in starts(height, predictor.size[0]):
            for left in starts(width, predictor.size[1]):
                within = slice(0, height - top), slice(0, width - left)
                yield Piece(window(seen.pixels, top, left, predictor.size), within, seen.remark)
    else:
        box = content_box(seen.original, predictor.size, predictor.resize)
        yield Piece(seen.pixels, box.within, seen.remark)


def _in_batches(
    pieces: Iterable[tuple[Source, Piece | Problem]],
    judge: Callable[[list[Piece]], list[_Judged]],
    size: int,
) -> Iterator[tuple[Source, _Judged | Problem]]:
    stream = iter(pieces)
    while batch := list(islice(stream, size)):
        readable = [piece for _, piece in batch if isinstance(piece, Piece)]
        judged = iter(judge(readable) if readable else [])
        yield from ((source, next(judged) if isinstance(p, Piece) else p) for source, p in batch)


def _together(parts: list[_Judged | Problem]) -> Uncertainty | Problem:
    """Return the uncertainty about a picture from those about its pieces."""
    judged = [part for part in parts if isinstance(part, _Judged)]
    if len(judged) < len(parts):
        return next(part for part in parts if isinstance(part, Problem))
    mean = sum(part.total for part in judged) / sum(part.pixels for part in judged)
    features = np.stack([part.features for part in judged]).mean(0, np.float64)
    length = float(np.linalg.norm(features)) or 1.0
    # Rounding makes a sure picture's 0 slightly negative, or -0.0.
    return Uncertainty(max(0.0, mean), (features / length).astype(np.float32), judged[0].remark)
