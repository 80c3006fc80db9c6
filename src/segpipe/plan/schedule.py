"""The epochs and steps that fit into some minutes."""

import math
from dataclasses import dataclass

from segpipe.common.errors import UserError
from segpipe.plan.measure import Timing

EPOCHS = 20
_FEWEST = 3  # epochs, so that a best one can be chosen
_ROOMY = 6  # epochs, and passes over the samples, that leave room for more samples
VALIDATING = 0.2  # the largest share of the time for validation


@dataclass(frozen=True)
class Schedule:
    """Epochs, their steps, and the seconds that they take."""

    epochs: int
    steps: int  # of an epoch
    training: float  # seconds, of all steps
    validating: float  # with checkpoints and previews
    start: float

    def passes(self, batch: int, samples: float) -> float:
        """Return how often training sees each sample."""
        return self.epochs * self.steps * batch / samples

    @property
    def seconds(self) -> float:
        """All seconds of training."""
        return self.start + self.training + self.validating


def fitting(
    minutes: float, timing: Timing, samples: float, multiple: int = 1, least: int = 1
) -> Schedule:
    """Return the epochs and steps that take some minutes, if an epoch validates so many samples.

    Steps are a multiple of `multiple`; there are `least` epochs or more. Raises UserError where the
    minutes are too few, or not finite.
    """
    if not math.isfinite(minutes):
        raise UserError(f"--minutes {minutes:g}: give a number of minutes")
    after_each = timing.sample * samples + timing.epoch
    left = 60 * minutes - timing.start
    fewest = max(_FEWEST, least)
    epochs = min(max(int(VALIDATING * left / after_each), fewest), max(EPOCHS, least))
    steps = int((left / epochs - after_each) / timing.step / multiple) * multiple
    if steps < 1:
        needed = timing.start + fewest * (after_each + 10 * multiple * timing.step)
        raise UserError(
            f"--minutes {minutes:g} is too short here: starting takes {timing.start:.0f} s, a "
            f"validation {after_each:.1f} s and a step {timing.step:.2g} s; "
            f"give {needed / 60 + 0.1:.1f} or more"
        )
    return Schedule(epochs, steps, epochs * steps * timing.step, epochs * after_each, timing.start)


def has_room(
    minutes: float, timing: Timing, samples: tuple[float, float], batch: int, multiple: int = 1
) -> bool:
    """Return whether so many training and validation samples leave time for enough passes and epochs."""
    training, validation = samples
    try:
        schedule = fitting(minutes, timing, validation, multiple)
    except UserError:
        return False
    return schedule.epochs >= _ROOMY and schedule.passes(batch, training) >= _ROOMY
