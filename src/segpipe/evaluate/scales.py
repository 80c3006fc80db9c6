"""The sizes at which test-time augmentation looks at an image."""

from collections.abc import Sequence

from segpipe.common.errors import UserError

_MULTIPLE = 32
"""What an encoder's edges are multiples of."""


def sizes(size: tuple[int, int], scales: Sequence[float]) -> list[tuple[int, int]]:
    """What `scales` make of a network's height and width: to the nearest multiple of 32, at least 32.

    Raises:
        UserError: a scale is not 0.25 to 4, two come to the same size, or there is none.
    """
    if not scales:
        raise UserError("no scale to look at; 1 is the network's own size")
    found: dict[tuple[int, int], float] = {}
    for scale in scales:
        if not 0.25 <= scale <= 4:
            raise UserError(f"a scale of {scale:g}; expected 0.25 to 4")
        height, width = (_MULTIPLE * max(1, int(scale * edge / _MULTIPLE + 0.5)) for edge in size)
        if (height, width) in found:
            raise UserError(
                f"the scales {found[height, width]:g} and {scale:g} both come to {height} x {width} px, "
                f"because edges are multiples of {_MULTIPLE}; leave one of them out"
            )
        found[height, width] = scale
    return list(found)
