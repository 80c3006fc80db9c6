"""The params of `report`."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from segpipe.common.fields import Integer, Section


def _shown(value: Any) -> Literal["auto"] | tuple[int, ...]:
    if value == "auto":
        return value
    if isinstance(value, list | tuple) and len(value) in (1, 3) and {type(n) for n in value} == {int}:
        return tuple(value)
    raise ValueError("input should be auto, or a list of one band (as grey) or three (red, green, blue)")


class ReportParams(Section):
    """The report's page."""

    samples: Annotated[Integer, Field(ge=1, le=100)]  # test images shown, the same ones every time
    worst: Annotated[Integer, Field(ge=0, le=100)]  # test images with the lowest mean IoU shown
    # Numbers of data.bands, those of rgb are 1, 2 and 3. auto: the first three, or the first as grey
    bands: Annotated[Literal["auto"] | tuple[int, ...], PlainValidator(_shown)]
