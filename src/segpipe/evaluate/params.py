"""The params of `evaluate`, and the image sizes that its scales stand for."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from segpipe.common.errors import UserError
from segpipe.common.fields import Count, Number, Section

_MULTIPLE = 32  # the encoders' largest stride; edges are multiples of it


class TtaParams(Section):
    """Test-time augmentation: the mean probability of several views of each image."""

    flip: bool  # the mirror image too
    scales: Annotated[tuple[Annotated[Number, Field(ge=0.25, le=4)], ...], Field(min_length=1)]


class EvaluateParams(Section):
    """The scoring run."""

    batch_size: Count  # images a forward pass
    tta: TtaParams


def sizes(size: tuple[int, int], scales: Sequence[float]) -> list[tuple[int, int]]:
    """Return height and width at each scale, rounded to the nearest multiple of 32, at least 32.

    Raises a UserError where a scale is not 0.25 to 4, two come to the same size, a scale other than 1
    comes to the network's own size, or there is no scale.
    """
    if not scales:
        raise UserError("no scale; 1 is the network's own size")
    scale_of: dict[tuple[int, int], float] = {}
    for scale in scales:
        if not 0.25 <= scale <= 4:
            raise UserError(f"a scale of {scale:g}; expected 0.25 to 4")
        height, width = (_MULTIPLE * max(1, int(scale * edge / _MULTIPLE + 0.5)) for edge in size)
        if (height, width) in scale_of:
            raise UserError(
                f"the scales {scale_of[height, width]:g} and {scale:g} both come to {height} x {width} "
                f"px, because edges are multiples of {_MULTIPLE}; leave one of them out"
            )
        if scale != 1 and (height, width) == tuple(size):
            raise UserError(
                f"the scale {scale:g} comes to {height} x {width} px, the network's own size, because "
                f"edges are multiples of {_MULTIPLE}; use 1, or a scale that is further from it"
            )
        scale_of[height, width] = scale
    return list(scale_of)
