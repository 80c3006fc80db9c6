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
from segpipe.predict.inputs import Source
from segpipe.predict.predictor import Predictor
from segpipe.predict.watch import Watch
from segpipe.preprocess.traits import traits_of

Traits = Mapping[str, float]


class Looked(NamedTuple):
    """A picture that was looked at."""

    source: Source
    traits: Traits
    mark: Mark


class _Read(NamedTuple):
    source: Source
    traits: Traits  # of the camera
    fitted: np.ndarray  # uint8 [height, width, bands], of the network's size


def look(
    predictor: Predictor, watch: Watch, sources: Sequence[Source]
) -> tuple[list[Looked], list[Problem]]:
    """Measure pictures; return them in order, and why others could not be read."""
    looked: list[Looked] = []
    problems: list[Problem] = []
    network = predictor.with_views(False, (1.0,))
    with ThreadPoolExecutor(usable_cores()) as pool:
        ahead = 2 * predictor.batch_size
        read = in_order(lambda one: pool.submit(_read, predictor, one), sources, ahead)
        stream = iter(track(read, "Looking", total=len(sources)))
        while batch := list(islice(stream, predictor.batch_size)):
            good = [one for one in batch if isinstance(one, _Read)]
            problems += (one for one in batch if isinstance(one, Problem))
            told_of = watch.told([one.fitted for one in good], network) if good else []
            for one, told in zip(good, told_of, strict=True):
                traits = {**one.traits, **told}
                looked.append(Looked(one.source, traits, watch.profile.mark(traits)))
    return looked, problems


def _read(predictor: Predictor, source: Source) -> _Read | Problem:
    try:
        traits = traits_of(predictor.input.at_own_size(source.path).pixels)
        fitted = predictor.input.fitted(source.path).pixels
    except BadSampleError as error:
        return error.problem
    return _Read(source, traits, fitted)
