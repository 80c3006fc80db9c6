"""The regions of Label Studio: polygons, rectangles, ellipses, brush strokes and bit masks.

Coordinates are percent of the picture's width and height. A stroke is an RGBA picture in run lengths
(https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack), a bit mask a PNG; both cover where
they are not wholly transparent, soft edges too, as in Label Studio's own export to COCO.
"""

import base64
import io
import struct
from typing import Annotated, Any

import numpy as np
import pydantic
from PIL import Image

from segpipe.fetch.layouts import regions


def _packed(numbers: Any) -> bytes:
    """Return a list of bytes as bytes: an eighth of the memory."""
    if not isinstance(numbers, list):
        raise ValueError("run lengths that are no list")
    try:
        return bytes(numbers)
    except TypeError:
        raise ValueError("run lengths that are no whole numbers") from None


class Region(pydantic.BaseModel):
    """The `value` of a result: one shape with its labels."""

    labels: list[str] = []
    points: list[tuple[float, float]] | None = None
    closed: bool | None = True
    x: float = 0
    y: float = 0
    width: float | None = None
    height: float | None = None
    rotation: float | None = 0
    radiusX: float | None = None
    radiusY: float | None = None
    rle: Annotated[bytes, pydantic.BeforeValidator(_packed)] | None = None
    imageDataURL: str | None = None
    original_width: int | None = None
    original_height: int | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        """Take the labels from wherever they are: `polygonlabels`, `brushlabels`, `labels`, ..."""
        if not isinstance(value, dict):
            return value or {}
        found = [names for key, names in value.items() if key.endswith("labels") and names]
        return {**value, "labels": found[0] if found else []}

    @property
    def label(self) -> str:
        """Its first label."""
        return self.labels[0]

    @property
    def is_area(self) -> bool:
        """Whether it covers pixels; key points, lines and choices do not."""
        shapes = (self.points, self.rle, self.imageDataURL, self.radiusX, self.height)
        return any(shape is not None for shape in shapes)

    def draw(self, drawing: np.ndarray, number: int) -> None:
        """Set its pixels to `number` (see `regions.Region`)."""
        height, width = drawing.shape
        if self.rle is not None:
            drawing[alpha(self.rle, height, width) > 0] = number
        elif self.imageDataURL is not None:
            kind, _, coded = self.imageDataURL.partition(",")
            if kind != "data:image/png;base64":
                raise ValueError(f"a bit mask as {kind[:40]!r}")
            drawing[stencil(base64.b64decode(coded), height, width)] = number
        else:
            regions.fill(drawing, self._outline(width / 100, height / 100), number)

    def _outline(self, wide: float, high: float) -> np.ndarray:
        """Return the outline in pixels; `wide` and `high` are the pixels of a percent."""
        if self.points is not None:
            return np.array(self.points, np.float64).reshape(-1, 2) * (wide, high)
        x, y, degrees = self.x * wide, self.y * high, self.rotation or 0
        if self.radiusX is not None:
            radii = self.radiusX * wide, (self.radiusY or 0) * high
            return regions.turned(regions.ellipse(x, y, *radii), degrees, x, y)
        right, bottom = x + (self.width or 0) * wide, y + (self.height or 0) * high
        return regions.turned(regions.rectangle(x, y, right, bottom), degrees, x, y)


def alpha(packed: bytes, height: int, width: int) -> np.ndarray:
    """Decode the alpha channel of a stroke: uint8 [height, width].

    Raises ValueError where it ends early, or is not of this size.
    """
    bits = _Bits(packed)
    count, depth = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if count != height * width * 4 or depth != 8:
        found = f"{count} values of {depth} bits"
        raise ValueError(f"{found}, not the 4 times {width}x{height} of 8 bits of the picture")
    values = bytearray()
    while len(values) < count:
        repeated, length = bits.take(1), bits.take(sizes[bits.take(2)]) + 1
        length = min(length, count - len(values))
        values += bits.take_bytes(1) * length if repeated else bits.take_bytes(length)
    return np.frombuffer(values, np.uint8).reshape(height, width, 4)[:, :, 3]


class _Bits:
    """Bytes that are read by bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        start, self._at = self._at, self._at + count
        end = (self._at + 7) // 8
        if end > len(self._data):
            raise ValueError("run lengths that end early")
        return (
            int.from_bytes(self._data[start // 8 : end], "big") >> (8 * end - self._at)
            & (1 << count) - 1
        )

    def take_bytes(self, count: int) -> bytes:
        """Return the next bytes, which may start at any bit."""
        return self.take(8 * count).to_bytes(count, "big")


def stencil(png: bytes, height: int, width: int) -> np.ndarray:
    """Return where a PNG is not transparent, or without alpha not 0: bool [height, width].

    Raises ValueError where it is no PNG of this size.
    """
    try:
        picture = Image.open(io.BytesIO(png), formats=("PNG",))
        if picture.size != (width, height):
            found = f"{picture.width}x{picture.height}"
            raise ValueError(f"a mask of {found}, not of the picture's {width}x{height}")
        band = picture.getchannel("A") if "A" in picture.getbands() else picture.convert("L")
    except (OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"an unreadable mask: {error}") from None
    return np.asarray(band) > 0
