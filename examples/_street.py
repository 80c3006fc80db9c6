"""The canvas of a drawn street: numbered parts, and how they become a photo and its mask.

`drawn_streets.py` says what is drawn on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (256, 256)
"""Height and width of the pictures, unless another size is asked for."""
CLASSES = ("road", "sky", "building", "green", "marking", "pole", "car")
"""Class names of pictures of that size, indexed by the value in the masks."""
MORE_CLASSES = (*CLASSES, "sign", "pedestrian")
"""Class names of pictures of any other size."""
ROAD, SKY, BUILDING, GREEN, MARKING, POLE, CAR, SIGN, PEDESTRIAN = range(len(MORE_CLASSES))
IGNORE = 255

_OVERSAMPLING = 2
_THINNESS = np.argsort([ROAD, SKY, BUILDING, GREEN, CAR, PEDESTRIAN, SIGN, MARKING, POLE])
"""Rank of each class; the higher one wins a pixel that two classes fill equally."""
_GRAINS = (120, 30, 6, 2)
"""Grain sizes of the noises that make a texture, in pixels of the canvas."""

Colour = np.ndarray | tuple[float, float, float]
Point = tuple[float, float]


@dataclass
class Street:
    """A canvas of numbered parts, and the class, colour and texture of each part.

    A point on the ground has a coordinate `across`, -1 and 1 at the road's edges, and a `depth`, 0 at
    the horizon and 1 at the canvas's lower edge. Half the road's width is `depth * width` pixels there,
    and heights are measured in it. Regions, cars and trees grow with `scale`, thin things do not.
    """

    rng: np.random.Generator
    size: tuple[int, int] = SIZE
    classes: list[int] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    textures: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose the camera."""
        height, width = self.size
        self.scale = height / SIZE[0]
        self.margin = height // 4  # beyond each edge, so that a turned camera sees no empty corner
        self.bottom = height * _OVERSAMPLING + 2 * self.margin
        self.right = width * _OVERSAMPLING + 2 * self.margin
        self.parts = Image.new("I", (self.right, self.bottom))
        self.pen = ImageDraw.Draw(self.parts)
        self.horizon = self.bottom * self.rng.uniform(0.38, 0.58)
        self.vanishing = self.right * self.rng.uniform(0.3, 0.7)
        self.middle = self.right * self.rng.uniform(0.3, 0.7)
        self.width = self.bottom * self.rng.uniform(0.3, 0.6)

    @property
    def detailed(self) -> bool:
        """Whether the picture has the small classes, `sign` and `pedestrian`."""
        return self.size != SIZE

    def at(self, across: float, depth: float, height: float = 0) -> Point:
        """Return the position on the canvas of a point above the ground."""
        x = self.vanishing + (self.middle - self.vanishing + across * self.width) * depth
        return x, self.horizon + (self.bottom - self.horizon - height * self.width) * depth

    def below(self, top: float) -> list[Point]:
        """Return the outline of the canvas below a row."""
        return [(0, top), (self.right, top), (self.right, self.bottom), (0, self.bottom)]

    def ink(self, of: int, colour: Colour, texture: tuple[float, ...] = (4, 4, 4, 4)) -> int:
        """Add a part with its class, colour and the strength of each noise; return its number."""
        self.classes.append(of)
        self.colours.append(np.asarray(colour, float))
        self.textures.append(texture)
        return len(self.classes) - 1

    def fill(self, outline: list[Point], of: int, colour: Colour, texture: tuple[float, ...]) -> None:
        """Draw a polygon as a new part."""
        self.pen.polygon(outline, fill=self.ink(of, colour, texture))

    def turned(self) -> np.ndarray:
        """Return the parts as a camera sees them that is not quite level, without the margin."""
        height, width = self.size
        angle = self.rng.normal(0, 2.5) * min(1, height / width)  # a wide picture's ends move further
        turned = np.asarray(self.parts.rotate(angle, Image.Resampling.NEAREST))
        return turned[self.margin : -self.margin, self.margin : -self.margin]

    def mask_of(self, parts: np.ndarray) -> np.ndarray:
        """Return the most frequent class of each pixel (the thinner of two); some outlines are 255."""
        classes = np.array(self.classes, np.uint8)[parts]
        height, width = self.size
        blocks = classes.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING)
        counts = np.stack([(blocks == number).sum((1, 3)) for number in range(len(MORE_CLASSES))])
        mask = (10 * counts + _THINNESS[:, None, None]).argmax(0).astype(np.uint8)
        if self.rng.random() < 0.5:
            mask[_outline(mask == CAR)] = IGNORE
        if self.rng.random() < 0.3:
            behind = np.isin(mask, (ROAD, SKY, BUILDING))  # a pole in front keeps its pixels
            mask[_outline(mask == BUILDING) & behind] = IGNORE
        return mask

    def photo_of(self, parts: np.ndarray) -> np.ndarray:
        """Return the parts with colours, textures and light: uint8 [H, W, 3]."""
        rng, (height, width) = self.rng, self.size
        photo = np.array(self.colours, np.float32)[parts]
        for strengths, grain in zip(np.array(self.textures, np.float32).T, _GRAINS, strict=True):
            photo += (strengths[parts] * noise(rng, *parts.shape, grain))[..., None]
        photo *= shadows(rng, *parts.shape, 90 * self.scale)[..., None]
        small = photo.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING, 3).mean((1, 3))
        if rng.random() < 0.25:  # fog, thickest at the horizon
            row = (self.horizon - self.margin) / _OVERSAMPLING
            reach = 60 * self.scale
            thickness = rng.uniform(0.3, 0.7) * np.exp(-np.abs(np.arange(height) - row) / reach)
            small += (rng.uniform(150, 210) - small) * thickness[:, None, None]
        light = rng.uniform(0.55, 1.2) * rng.normal(1, 0.06, 3)
        small = 255 * (np.clip(small * light, 0, 255) / 255) ** rng.uniform(0.75, 1.3)
        small += rng.normal(0, rng.uniform(2, 9), small.shape)
        picture = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8)))))


def shade(rng: np.random.Generator, colours: Sequence[Colour], spread: float) -> np.ndarray:
    """Return one of some colours with a little noise."""
    return np.asarray(colours, float)[rng.integers(len(colours))] + rng.normal(0, spread, 3)


def shadows(rng: np.random.Generator, height: int, width: int, spread: float) -> np.ndarray:
    """Return the light on each pixel, [H, W]: shadows with straight edges, one side brighter."""
    canvas = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, width), rng.uniform(height * 0.4, height)
        corners = [(x + dx, y + dy) for dx, dy in rng.normal(0, spread, (3, 2)).tolist()]
        pen.polygon(corners, fill=int(rng.uniform(120, 200)))
    soft = np.asarray(canvas.filter(ImageFilter.BoxBlur(3)), np.float32) / 255
    left, right = rng.uniform(0.8, 1.15, 2)
    return soft * np.linspace(left, right, width, dtype=np.float32)


def noise(rng: np.random.Generator, height: int, width: int, grain: int) -> np.ndarray:
    """Return smooth noise of about unit variance, float32 [H, W]."""
    values = rng.normal(0, 1, (height // grain + 2, width // grain + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def add_label(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add a camera's label to a corner of a third of the pictures; the mask is 255 there."""
    if rng.random() < 1 / 3:
        picture, height, width = (
            Image.fromarray(image),
            int(rng.integers(12, 20)),
            int(rng.integers(40, 80)),
        )
        below, beside = (edge - side for edge, side in zip(mask.shape, (height, width), strict=True))
        left, top = int(rng.choice([0, beside])), int(rng.choice([0, below]))
        pen = ImageDraw.Draw(picture)
        pen.rectangle([left, top, left + width - 1, top + height - 1], fill=(15, 15, 15))
        for x in range(left + 4, left + width - 6, 7):
            pen.rectangle(
                [x, top + 4, x + int(rng.integers(1, 5)), top + height - 5], fill=(220, 220, 220)
            )
        mask[top : top + height, left : left + width] = IGNORE
        image = np.asarray(picture)
    return image, mask


def _outline(region: np.ndarray) -> np.ndarray:
    """Return the pixels on both sides of a region's edge, bool [H, W]."""
    picture = Image.fromarray(region.astype(np.uint8))
    wide, narrow = (
        np.asarray(picture.filter(f(3))) for f in (ImageFilter.MaxFilter, ImageFilter.MinFilter)
    )
    return wide != narrow
