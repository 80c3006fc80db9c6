"""Types of params that several sections share."""

from typing import Annotated

import pydantic
from pydantic import Field

Integer = Annotated[int, Field(strict=True)]  # not true, not "3"
Number = Annotated[float, Field(strict=True)]  # an integer too, but not true
Count = Annotated[Integer, Field(ge=1)]
CountOrZero = Annotated[Integer, Field(ge=0)]
Share = Annotated[Number, Field(gt=0, lt=1)]
ShareOrZero = Annotated[Number, Field(ge=0, lt=1)]
Part = Annotated[Number, Field(ge=0, le=1)]
Weight = Annotated[Number, Field(ge=0)]
Factor = Annotated[Number, Field(ge=0.1, le=10)]
Name = Annotated[str, Field(min_length=1)]


def first_error(error: pydantic.ValidationError) -> str:
    """Return the first error with its place, such as `names.0: field required`."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{place}: {message}" if place else message


class Section(pydantic.BaseModel):
    """A section of a YAML file of settings: frozen, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
