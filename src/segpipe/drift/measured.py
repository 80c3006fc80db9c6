"""The traits of the pictures in use, and how far each lies from those that the model knows."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from rich.progress import track

from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.profile import Mark
from segpipe.fetch.sample import BadSampleError, Problem
from segpipe.predict.foreign import ForeignCheck
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.traits import traits_of

Traits = Mapping[str, float]


class Measured(NamedTuple):
    """A picture with its traits, and how foreign it is."""

    source: Source
    traits: Traits
    mark: Mark


class _Read(NamedTuple):
    source: Source
    traits: Traits  # of the camera
    fitted: np.ndarray  # uint8 [height, width, bands], of the network's size


def measure(
    predictor: Predictor, check: ForeignCheck, sources: Sequence[Source]
) -> tuple[list[Measured], list[Problem]]:
    """Measure pictures; return them in order, and why others could not be read."""
    measured: list[Measured] = []
    problems: list[Problem] = []
    network = predictor.with_views(False, (1.0,))
    with ThreadPoolExecutor(usable_cores()) as pool:
        ahead = 2 * predictor.batch_size
        read = in_order(lambda source: pool.submit(_read, predictor, source), sources, ahead)
        stream = iter(track(read, "Looking", total=len(sources)))
        while batch := list(islice(stream, predictor.batch_size)):
            pictures = [picture for picture in batch if isinstance(picture, _Read)]
            problems += (picture for picture in batch if isinstance(picture, Problem))
            images = [picture.fitted for picture in pictures]
            network_traits = check.network_traits(images, network) if images else []
            for picture, more in zip(pictures, network_traits, strict=True):
                traits = {**picture.traits, **more}
                measured.append(Measured(picture.source, traits, check.profile.mark(traits)))
    return measured, problems


def _read(predictor: Predictor, source: Source) -> _Read | Problem:
    try:
        traits = traits_of(predictor.input.at_own_size(source.path).pixels)
        fitted = predictor.input.fitted(source.path).pixels
    except BadSampleError as error:
        return error.problem
    return _Read(source, traits, fitted)
