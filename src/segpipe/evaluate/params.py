"""The params of `evaluate`."""

from typing import Annotated

from pydantic import Field

from segpipe.common.fields import Count, Section


class TtaParams(Section):
    """Test-time augmentation: the mean probability of several views of each image."""

    flip: bool  # the mirror image too
    scales: Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)]


class EvaluateParams(Section):
    """The scoring run."""

    batch_size: Count  # images a forward pass
    tta: TtaParams
