"""The params of `report`."""

from typing import Annotated

from pydantic import Field

from segpipe.common.fields import Integer, Section


class ReportParams(Section):
    """The report's page."""

    samples: Annotated[Integer, Field(ge=1, le=100)]  # test images shown, the same ones every time
    worst: Annotated[Integer, Field(ge=0, le=100)]  # test images with the lowest mean IoU shown
