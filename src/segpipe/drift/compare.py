"""Whether pictures differ from those that a model knows: a test for each trait, all together.

Two samples of one source differ too: by chance, and a little by how they were chosen. A trait has
therefore shifted where the largest distance of the two distribution functions (Kolmogorov and Smirnov)
exceeds `TOLERANCE` by more than chance explains. Holm's correction (1979) keeps the probability that any
trait of pictures like the known ones is called shifted below `LEVEL`, however many pictures there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segpipe.common.errors import CannotTell
from segpipe.common.profile import USUAL, Mark, Profile
from segpipe.review.chance import holm_levels

LEVEL = 0.01
"""How often pictures like the known ones may be called different."""
TOLERANCE = 0.1
"""The share of the pictures whose trait may differ before a difference counts."""
FOREIGN = "foreign pictures"
"""The name of the test of how many pictures are foreign, one by one."""


@dataclass(frozen=True)
class Shift:
    """A trait of pictures in use, compared with that of the known ones and tested at `level`."""

    trait: str
    known: tuple[float, float, float]  # usual values of known pictures: low, middle and high
    current: tuple[float, float, float]  # those of the pictures in use
    moved: float  # at least this share of the pictures has another value: the distance, 0..1
    p: float  # the probability of such a distance, if no more than `TOLERANCE` is due to the source
    level: float

    @property
    def is_shifted(self) -> bool:
        """Whether it is more than chance."""
        return self.p <= self.level


def compare(
    profile: Profile, traits: Sequence[Mapping[str, float]], marks: Sequence[Mark]
) -> list[Shift]:
    """Test each trait of some pictures, and how many of them are foreign; the surest shift first.

    Raises CannotTell where there are so few pictures that no shift could be proven.
    """
    references = profile.references
    values = {name: np.array([picture[name] for picture in traits]) for name in references}
    distances = {
        name: distance(reference.values, values[name], reference.step)
        for name, reference in references.items()
    }
    ps = [
        p_value(distances[name], reference.values.size, len(traits))
        for name, reference in references.items()
    ]
    foreign = sum(mark.foreign for mark in marks)
    ps.append(p_value_of_foreign(foreign, len(marks), profile))
    known = max(reference.values.size for reference in references.values())
    if p_value(1.0, known, len(traits)) > LEVEL / len(ps):
        enough = next((n for n in range(1, 1000) if p_value(1.0, known, n) <= LEVEL / len(ps)), 0)
        if not enough:
            raise CannotTell(
                f"the model knows {known} pictures, too few to tell a shift from chance however many "
                "there are; train it on more"
            )
        raise CannotTell(
            f"{len(traits)} pictures are too few to tell a shift from chance; give {enough} at least "
            "(`segpipe predict` marks single pictures that are foreign)"
        )
    levels = holm_levels(ps, LEVEL)
    shifts = [
        Shift(name, reference.usual, _usual(values[name]), distances[name], p, level)
        for (name, reference), p, level in zip(references.items(), ps, levels, strict=False)
    ]
    share = foreign / len(marks)
    shifts.append(Shift(FOREIGN, (profile.rate,) * 3, (share,) * 3, share, ps[-1], levels[-1]))
    return sorted(shifts, key=lambda shift: (shift.p, -shift.moved))


def distance(known: np.ndarray, values: np.ndarray, step: float = 0.0) -> float:
    """Return the largest distance of two samples' distribution functions, 0..1.

    Values no more than `step` apart count as equal: the result is the smallest distance that moving each
    value of one sample by up to `step` can reach.
    """
    known, values = np.sort(known), np.sort(values)
    return max(_ahead(values, known, step), _ahead(known, values, step), 0.0)


def _ahead(one: np.ndarray, other: np.ndarray, step: float) -> float:
    """Return by how much one distribution function exceeds another, read `step` farther on, at most."""
    return float((_share(one, one) - _share(other, one + step)).max())


def _share(sample: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.searchsorted(sample, places, "right") / sample.size


def p_value(distance: float, known: int, current: int) -> float:
    """Return the probability of a distance beyond `TOLERANCE` between samples of so many pictures.

    It is the two-sided test of Kolmogorov and Smirnov; n is `known` * `current` / (`known` + `current`).
    """
    return float(
        stats.kstwo.sf(max(distance - TOLERANCE, 0), max(1, round(known * current / (known + current))))
    )


def p_value_of_foreign(foreign: int, pictures: int, profile: Profile) -> float:
    """Return the probability of so many foreign pictures or more, if all are like the known ones.

    The limit is a validation picture's distance. The share beyond it is therefore uncertain itself: it
    has a beta distribution.
    """
    inside = profile.judged + 1 - profile.beyond
    return float(stats.betabinom.sf(foreign - 1, pictures, profile.beyond, inside))


def _usual(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, USUAL).tolist()
    return low, middle, high
