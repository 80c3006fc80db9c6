"""How little a model is sure of a picture, and what the picture looks like to its encoder."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from operator import itemgetter
from typing import Literal, NamedTuple

import keras
import numpy as np

from segpipe.common.parallel import in_order, usable_cores
from segpipe.evaluate.masks import log_softmax, require_finite
from segpipe.fetch.sample import BadSampleError, Problem
from segpipe.model.observed import observed
from segpipe.predict.images import Seen
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.resize import content_box
from segpipe.preprocess.tiles import starts, window

Kind = Literal["entropy", "disagreement"]


class Look(NamedTuple):
    """What a model makes of a picture."""

    uncertainty: float  # the mean over its pixels, nats
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


def looks(
    predictor: Predictor, sources: Iterable[Source], kind: Kind
) -> Iterator[tuple[Source, Look | Problem]]:
    """Yield what the model makes of each picture, in their order, or why it cannot be read.

    The features are the mean of the encoder's last output. A model of tiles sees all tiles of a picture.
    Raises UserError where the model predicts NaN or infinity.
    """
    judge = _judge(predictor.network, UNCERTAINTIES[kind])
    pool = ThreadPoolExecutor(usable_cores())

    def read(source: Source) -> tuple[Source, Seen | Problem]:
        try:
            return source, predictor.input.fitted(source.path)
        except BadSampleError as error:
            return source, error.problem

    try:
        ahead = 0 if predictor.input.tiles else 2 * predictor.batch_size
        seen = in_order(lambda one: pool.submit(read, one), sources, ahead)
        pieces = ((source, piece) for source, one in seen for piece in _pieces(predictor, one))
        judged = _in_batches(pieces, judge, predictor.batch_size)
        for source, parts in groupby(judged, itemgetter(0)):
            yield source, _together([part for _, part in parts])
    finally:
        pool.shutdown(cancel_futures=True)


def entropy(network: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return the entropy of the probabilities of each pixel, float32 [n, height, width], nats."""
    return _entropy(log_softmax(network(images)))


def disagreement(network: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return how far the predictions for images and for their mirror images differ, likewise.

    It is the Jensen-Shannon divergence: the entropy of the mean, less the mean of the entropies.
    """
    one = log_softmax(network(images))
    other = log_softmax(network(images[:, :, ::-1]))[:, :, ::-1]
    mean = np.logaddexp(one, other) - np.log(np.float32(2))
    return _entropy(mean) - (_entropy(one) + _entropy(other)) / 2


UNCERTAINTIES = {"entropy": entropy, "disagreement": disagreement}


def _entropy(logarithms: np.ndarray) -> np.ndarray:
    return -(np.exp(logarithms) * logarithms).sum(-1)


def _judge(network: keras.Model, uncertainty: Callable) -> Callable[[list[Piece]], list[_Judged]]:
    both = observed(network)

    def judge(pieces: list[Piece]) -> list[_Judged]:
        features: list[np.ndarray] = []

        def logits(images: np.ndarray) -> np.ndarray:
            found, pooled = both.predict_on_batch(images)
            features.append(pooled)
            return require_finite(found)

        maps = uncertainty(logits, np.stack([piece.pixels for piece in pieces]))
        rows = zip(pieces, maps, features[0], strict=True)
        inside = [(piece, found[piece.within], pooled) for piece, found, pooled in rows]
        return [_Judged(float(m.sum()), m.size, pooled, p.remark) for p, m, pooled in inside]

    return judge


def _pieces(predictor: Predictor, seen: Seen | Problem) -> Iterator[Piece | Problem]:
    """Yield what the network sees of a picture: all of it, or its tiles."""
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
        good = [one for _, one in batch if isinstance(one, Piece)]
        judged = iter(judge(good) if good else [])
        yield from ((source, next(judged) if isinstance(p, Piece) else p) for source, p in batch)


def _together(parts: list[_Judged | Problem]) -> Look | Problem:
    """Return the look at a picture from those at its pieces."""
    judged = [part for part in parts if isinstance(part, _Judged)]
    if len(judged) < len(parts):
        return next(part for part in parts if isinstance(part, Problem))
    uncertainty = sum(part.total for part in judged) / sum(part.pixels for part in judged)
    features = np.stack([part.features for part in judged]).mean(0, np.float64)
    length = float(np.linalg.norm(features)) or 1.0
    return Look(uncertainty, (features / length).astype(np.float32), judged[0].remark)
