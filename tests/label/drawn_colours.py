"""Samples for a worker process, which imports this file: without Keras, that takes no time."""

from dataclasses import dataclass

import numpy as np

from segpipe.common.codec import encode_png

SIZE = (48, 64)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
"""A pet is red, the background green, a border blue."""


@dataclass(frozen=True)
class Drawn:
    """A picture in the colours of its classes, and a mask that is right, or wrong in a rectangle."""

    left: int  # of the pet
    wrong: bool

    def read(self):
        mask = np.ones(SIZE, np.uint8)
        mask[10:40, self.left : self.left + 20] = 0
        picture = COLOURS[mask]
        if self.wrong:
            mask[20:30, 44:60] = 0
        return encode_png(picture), encode_png(mask + 1)
