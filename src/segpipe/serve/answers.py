"""Answers to a prediction: JSON, the mask as PNG, or an overlay as JPEG."""

import base64
import functools
import io
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from segpipe.common.classes import ClassTable
from segpipe.common.profile import Mark, describe
from segpipe.predict import outputs
from segpipe.serve.model import Picture, Prediction

AnswerFormat = Literal["json", "png", "overlay"]
TYPES: dict[AnswerFormat, str] = {
    "json": "application/json",
    "png": "image/png",
    "overlay": "image/jpeg",
}
FOREIGN = "X-Segpipe-Foreign"
"""The header of a mask or an overlay that marks a foreign picture, as `distance; trait`.

The trait is percent-encoded but for spaces: it may name a class in any script, and headers hold Latin-1.
"""
_QUALITY = re.compile(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)")  # a parameter of Accept


class Rle(BaseModel):
    """A mask as COCO's compressed run lengths, as `pycocotools.mask.decode` takes it."""

    size: tuple[int, int] = Field(description="height and width")
    counts: str


class OfClass(BaseModel):
    """A class in one picture."""

    name: str
    value: int | str = Field(description="of this class in mask files")
    colour: str = Field(description="#rrggbb")
    share: float = Field(description="of the valid pixels, 0 to 1")
    rle: Rle


class OfPicture(BaseModel):
    """The prediction for one picture."""

    name: str
    height: int
    width: int
    classes: list[OfClass]
    confidence: float = Field(description="mean probability of the valid pixels' classes, 0 to 1")
    remark: str = Field(description="why the model may not know such pictures; empty if it should")
    distance: float | None = Field(
        None, description="from the pictures that the model knows, over its limit; 1 is the limit"
    )
    foreign_by: str = Field(description="the trait of a picture beyond the limit; otherwise empty")
    mask: str | None = Field(
        None, description="PNG in base64, with `maps`: a class a pixel, in its colour"
    )
    confidences: str | None = Field(None, description="PNG in base64, with `maps`: 255 stands for 1")


class Predictions(BaseModel):
    """The predictions in the order of the pictures."""

    pictures: list[OfPicture]


class Error(BaseModel):
    """Why there is no answer."""

    detail: str


class Result(NamedTuple):
    """A picture with its prediction."""

    picture: Picture
    prediction: Prediction

    @property
    def remark(self) -> str:
        """Why the model may not know such pictures; empty if it should."""
        mark = self.prediction.mark
        foreign = describe(mark) if mark and mark.foreign else ""
        return "; ".join(filter(None, [self.picture.remark, foreign]))


def chosen_format(asked: AnswerFormat | None, accept: str, count: int) -> AnswerFormat:
    """Return the format of an answer, by the query or else by the header Accept.

    Raises HTTPException 406 where Accept names no format of ours, or the format holds one picture only.
    """
    format_ = asked or _accepted(accept)
    if format_ != "json" and count > 1:
        raise HTTPException(
            406, f"{count} pictures, and {TYPES[format_]} holds one; ask for application/json"
        )
    return format_


def _accepted(accept: str) -> AnswerFormat:
    """Return the format that Accept wants most, judging each by its most specific range."""
    ranges = dict(_range(part) for part in accept.split(",") if part.strip()) or {"*/*": 1.0}
    wanted = {format_: _wanted(type_, ranges) for format_, type_ in TYPES.items()}
    best = max(wanted, key=lambda format_: wanted[format_])  # the first of equals
    if not wanted[best][0]:
        raise HTTPException(406, f"Accept names none of {', '.join(TYPES.values())}")
    return best


def _wanted(type_: str, ranges: dict[str, float]) -> tuple[float, bool]:
    """Return the quality of a media type, and whether a range names it exactly."""
    for name in (type_, f"{type_.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name], name == type_
    return 0.0, False


def _range(part: str) -> tuple[str, float]:
    """Return a media range of Accept and its quality, 1 where none can be read."""
    name, *parameters = (word.strip().lower() for word in part.split(";"))
    matches = (_QUALITY.fullmatch(parameter) for parameter in parameters)
    return name, next((float(match[1]) for match in matches if match), 1.0)


def encoded(
    results: Iterator[Result], table: ClassTable, format_: AnswerFormat, maps: bool
) -> tuple[bytes, dict[str, str]]:
    """Return an answer's body and headers; `maps` adds mask and confidence of each pixel to JSON.

    Each result is dropped before the next one is taken, since a picture takes hundreds of megabytes.
    """
    if format_ == "json":
        one_by_one = functools.partial(described, table=table, maps=maps)
        pictures = [*map(one_by_one, results)]  # a loop would keep the last one
        return Predictions(pictures=pictures).model_dump_json(exclude_none=True).encode(), {}
    (picture, prediction) = next(results)
    mark = prediction.mark
    headers = {FOREIGN: _in_a_header(mark)} if mark and mark.foreign else {}
    if format_ == "png":
        return mask_png(prediction.mask, table), headers
    overlay = outputs.overlay(picture.seen, prediction.mask, table)
    return _saved(overlay, "JPEG", quality=90), headers


def _in_a_header(mark: Mark) -> str:
    return f"{mark.score:.2f}; {quote(mark.trait, safe=' ')}"


def described(result: Result, table: ClassTable, maps: bool) -> OfPicture:
    """Return the JSON of a picture."""
    picture, (mask, confidence, mark) = result
    pixels = outputs.valid_pixels_by_class(mask, picture.invalid, table)
    shares = pixels / max(pixels.sum(), 1)
    return OfPicture(
        name=picture.name, height=mask.shape[0], width=mask.shape[1], remark=result.remark,
        distance=None if mark is None else round(mark.score, 4),
        foreign_by=mark.trait if mark and mark.foreign else "",
        classes=[
            OfClass(name=c.name, value=value, colour=c.colour, share=round(float(share), 6),
                    rle=_rle(mask == index))
            for index, (c, value, share) in enumerate(
                zip(table.classes, table.file_values, shares, strict=True)
            )
        ],
        confidence=round(_mean(confidence, picture.invalid), 6),
        mask=_in_base64(mask_png(mask, table)) if maps else None,
        confidences=_in_base64(_confidence_png(confidence)) if maps else None,
    )  # fmt: skip


def _mean(confidence: np.ndarray, invalid: np.ndarray | None) -> float:
    """Return the mean of the valid pixels, of which every decoded picture has one."""
    valid = confidence if invalid is None else confidence[~invalid]
    return float(valid.mean(dtype=np.float64))


def mask_png(mask: np.ndarray, table: ClassTable) -> bytes:
    """Return class indices, uint8 [height, width], as the PNG that `segpipe predict` writes."""
    return _saved(outputs.mask_picture(mask, table), "PNG", **outputs.PNG_OF_MASKS)


def _confidence_png(confidence: np.ndarray) -> bytes:
    in_8_bits = (confidence * np.float32(255)).round().astype(np.uint8)
    return _saved(Image.fromarray(in_8_bits), "PNG", compress_level=1)


def _rle(pixels: np.ndarray) -> Rle:
    run_lengths = coco.encode(np.asfortranarray(pixels, np.uint8))
    return Rle(size=pixels.shape, counts=run_lengths["counts"].decode())


def _saved(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def _in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
