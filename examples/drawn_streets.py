"""Draw a data set of streets: seven classes, from the sky to wires of one pixel, and ignored pixels.

    python examples/drawn_streets.py my_streets --train 300 --test 100 --seed 0
    segpipe init-data my_streets --write

With these masks a recipe can be tried on something other than pets. Each picture of 256 px has large
regions, thin lines and objects of a few pixels. No class has a colour of its own: glass mirrors the sky,
concrete is as grey as the road, dusk and fog change every colour. The masks are 255 around some cars
and buildings, and under a label in some corners.

A picture depends only on the seed, its split and its number.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("road", "sky", "building", "green", "marking", "pole", "car")
"""Class names, indexed by the value in the masks."""
ROAD, SKY, BUILDING, GREEN, MARKING, POLE, CAR = range(len(CLASSES))
IGNORE = 255
SIZE = 256
"""The edge of the pictures in pixels."""

_OVERSAMPLING = 2
_MARGIN = 64
"""Pixels drawn beyond each edge, so that a turned camera sees no empty corner."""
_CANVAS = SIZE * _OVERSAMPLING + 2 * _MARGIN
_THINNESS = np.argsort([ROAD, SKY, BUILDING, GREEN, CAR, MARKING, POLE])
"""Rank of each class; the higher one wins a pixel that two classes fill equally."""
_GRAINS = (120, 30, 6, 2)
"""Grain sizes of the noises that make a texture, in pixels of the canvas."""

Colour = np.ndarray | tuple[float, float, float]
Point = tuple[float, float]
Thing = tuple[float, Callable[[], None]]
"""The depth of an object, and the function that draws it."""


def main() -> None:
    """Draw a data set in the layout `pairs`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--train", type=int, default=300, help="pictures in train.txt")
    parser.add_argument("--test", type=int, default=100, help="pictures in test.txt")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other streets")
    arguments = parser.parse_args()
    write(arguments.out, arguments.train, arguments.test, arguments.seed)
    print(
        f"{arguments.train} + {arguments.test} streets; next: segpipe init-data {arguments.out} --write"
    )


def write(out: Path, train: int, test: int, seed: int) -> None:
    """Write `images/`, `masks/`, `train.txt`, `test.txt` and the names in `classes.txt`."""
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for split, (part, count) in enumerate((("train", train), ("test", test))):
        names = [f"{part}-{number:05d}" for number in range(count)]
        for number, name in enumerate(names):
            image, mask = draw(np.random.default_rng([seed, split, number]))
            Image.fromarray(image).save(out / f"images/{name}.jpg", quality=92)
            Image.fromarray(mask).save(out / f"masks/{name}.png")
        (out / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street.

    Args:
        rng: the only source of random numbers.

    Returns:
        RGB uint8 [256, 256, 3] and class values or 255, uint8 [256, 256].
    """
    street = Street(rng)
    sky = shade(rng, [(120, 165, 225), (190, 195, 200), (225, 165, 120), (70, 80, 115)], 12)
    street.fill(street.below(0), SKY, sky, (22, 8, 2, 1))
    draw_skyline(street, sky)
    draw_ground(street)
    draw_markings(street)
    draw_things(street, sky)
    turned = street.parts.rotate(rng.normal(0, 2.5), Image.Resampling.NEAREST)
    parts = np.asarray(turned)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    mask = street.mask_of(parts)
    return add_label(rng, street.photo_of(parts), mask)


@dataclass
class Street:
    """A canvas of numbered parts, and the class, colour and texture of each part.

    A point on the ground has a coordinate `across`, -1 and 1 at the road's edges, and a `depth`, 0 at
    the horizon and 1 at the canvas's lower edge. Half the road's width is `depth * width` pixels there,
    and heights are measured in it.
    """

    rng: np.random.Generator
    classes: list[int] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    textures: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose the camera."""
        self.parts = Image.new("L", (_CANVAS, _CANVAS))
        self.pen = ImageDraw.Draw(self.parts)
        self.horizon = _CANVAS * self.rng.uniform(0.38, 0.58)
        self.vanishing = _CANVAS * self.rng.uniform(0.3, 0.7)
        self.middle = _CANVAS * self.rng.uniform(0.3, 0.7)
        self.width = _CANVAS * self.rng.uniform(0.3, 0.6)

    def at(self, across: float, depth: float, height: float = 0) -> Point:
        """Return the position on the canvas of a point above the ground."""
        x = self.vanishing + (self.middle - self.vanishing + across * self.width) * depth
        return x, self.horizon + (_CANVAS - self.horizon - height * self.width) * depth

    def below(self, top: float) -> list[Point]:
        """Return the outline of the canvas below a row."""
        return [(0, top), (_CANVAS, top), (_CANVAS, _CANVAS), (0, _CANVAS)]

    def ink(self, of: int, colour: Colour, texture: tuple[float, ...] = (4, 4, 4, 4)) -> int:
        """Add a part with its class, colour and the strength of each noise; return its number."""
        self.classes.append(of)
        self.colours.append(np.asarray(colour, float))
        self.textures.append(texture)
        return len(self.classes) - 1

    def fill(self, outline: list[Point], of: int, colour: Colour, texture: tuple[float, ...]) -> None:
        """Draw a polygon as a new part."""
        self.pen.polygon(outline, fill=self.ink(of, colour, texture))

    def mask_of(self, parts: np.ndarray) -> np.ndarray:
        """Return the most frequent class of each pixel (the thinner of two); some outlines are 255."""
        classes = np.array(self.classes, np.uint8)[parts]
        blocks = classes.reshape(SIZE, _OVERSAMPLING, SIZE, _OVERSAMPLING)
        counts = np.stack([(blocks == number).sum((1, 3)) for number in range(len(CLASSES))])
        mask = (10 * counts + _THINNESS[:, None, None]).argmax(0).astype(np.uint8)
        if self.rng.random() < 0.5:
            mask[_outline(mask == CAR)] = IGNORE
        if self.rng.random() < 0.3:
            behind = np.isin(mask, (ROAD, SKY, BUILDING))  # a pole in front keeps its pixels
            mask[_outline(mask == BUILDING) & behind] = IGNORE
        return mask

    def photo_of(self, parts: np.ndarray) -> np.ndarray:
        """Return the parts with colours, textures and light: uint8 [256, 256, 3]."""
        rng, (height, width) = self.rng, parts.shape
        photo = np.array(self.colours, np.float32)[parts]
        for strengths, grain in zip(np.array(self.textures, np.float32).T, _GRAINS, strict=True):
            photo += (strengths[parts] * noise(rng, height, width, grain))[..., None]
        photo *= shadows(rng, height, width)[..., None]
        small = photo.reshape(SIZE, _OVERSAMPLING, SIZE, _OVERSAMPLING, 3).mean((1, 3))
        if rng.random() < 0.25:  # fog, thickest at the horizon
            row = (self.horizon - _MARGIN) / _OVERSAMPLING
            thickness = rng.uniform(0.3, 0.7) * np.exp(-np.abs(np.arange(SIZE) - row) / 60)
            small += (rng.uniform(150, 210) - small) * thickness[:, None, None]
        light = rng.uniform(0.55, 1.2) * rng.normal(1, 0.06, 3)
        small = 255 * (np.clip(small * light, 0, 255) / 255) ** rng.uniform(0.75, 1.3)
        small += rng.normal(0, rng.uniform(2, 9), small.shape)
        picture = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8)))))


def draw_skyline(street: Street, sky: Colour) -> None:
    """Draw distant houses, and a strip of trees in front of some of them."""
    rng, left = street.rng, 0.0
    foot = street.horizon + 8
    while left < _CANVAS:
        right, top = left + rng.uniform(25, 90), street.horizon - rng.uniform(5, 110)
        if rng.random() < 0.8:
            corners = [(left, foot), (left, top), (right, top), (right, foot)]
            draw_facade(street, corners, sky)
        left = right + rng.choice([0, 0, 15])
    for _ in range(rng.integers(0, 5)):
        draw_crown(street, (rng.uniform(0, _CANVAS), street.horizon), rng.uniform(12, 35))


def draw_facade(street: Street, corners: list[Point], sky: Colour) -> None:
    """Draw a wall and its windows, which mirror the sky, are dark, or are lit."""
    rng = street.rng
    walls = [(140, 140, 140), (150, 85, 65), (205, 190, 160), (110, 130, 150), (95, 115, 90)]
    street.fill(corners, BUILDING, shade(rng, walls, 18), (6, 6, rng.uniform(2, 12), 3))
    ink = street.ink(BUILDING, shade(rng, [sky, (45, 45, 45), (230, 200, 120)], 10))
    (x0, y0), (_, top0), (x1, top1), (_, y1) = corners
    columns = int(np.clip(abs(x1 - x0) / rng.uniform(12, 25), 1, 9))
    rows = int(np.clip(abs(y0 - top0) / rng.uniform(14, 28), 1, 9))

    def on_wall(right: float, up: float) -> Point:
        low, high = y0 + (y1 - y0) * right, top0 + (top1 - top0) * right
        return x0 + (x1 - x0) * right, low + (high - low) * up

    for column, row in itertools.product(range(columns), range(rows)):
        left, right = (column + 0.3) / columns, (column + 0.75) / columns
        low, high = (row + 0.3) / rows, (row + 0.75) / rows
        corners = [on_wall(left, low), on_wall(left, high), on_wall(right, high), on_wall(right, low)]
        street.pen.polygon(corners, fill=ink)


def draw_ground(street: Street) -> None:
    """Draw dry or wet grass, and the road with patches of other asphalt."""
    rng = street.rng
    grass = shade(rng, [(85, 115, 60), (140, 130, 85), (105, 110, 95)], 10)
    street.fill(street.below(street.horizon), GREEN, grass, (10, 10, 12, 12))
    asphalt = rng.uniform(70, 150) + rng.normal(0, 7, 3)
    edges = [street.at(-1, 0.01), street.at(1, 0.01), street.at(1, 1.3), street.at(-1, 1.3)]
    street.fill(edges, ROAD, asphalt, (12, 6, 5, 6))
    for _ in range(rng.integers(0, 4)):
        left, far = rng.uniform(-0.8, 0.4), rng.uniform(0.1, 0.9)
        right, near = left + rng.uniform(0.1, 0.4), far * rng.uniform(1.1, 1.6)
        patch = [
            street.at(left, far),
            street.at(right, far),
            street.at(right, near),
            street.at(left, near),
        ]
        street.fill(patch, ROAD, asphalt + rng.normal(0, 14), (6, 6, 6, 8))


def draw_markings(street: Street) -> None:
    """Draw lines along the edges and between lanes, 1 to 4 px wide, more or less worn."""
    rng = street.rng
    paint = shade(rng, [(215, 215, 210), (215, 180, 90)], 5) - rng.uniform(0, 70)
    ink = street.ink(MARKING, paint, (12, 8, 8, 8))
    lanes = rng.choice([2, 3])
    for across in np.linspace(-0.92, 0.92, lanes + 1):
        dashed = abs(across) < 0.9
        depth = 0.1
        while depth < 1.2:
            near = depth * 1.35 if dashed else 1.2
            (x0, y0), (x1, y1) = street.at(across, depth), street.at(across, near)
            half0, half1 = np.clip(0.02 * street.width * np.array([depth, near]), 1, 4).tolist()
            outline = [(x0 - half0, y0), (x0 + half0, y0), (x1 + half1, y1), (x1 - half1, y1)]
            street.pen.polygon(outline, fill=ink)
            depth = near * 1.35


def draw_things(street: Street, sky: Colour) -> None:
    """Draw the objects beside the road and the cars on it, from far to near."""
    rng = street.rng
    things: list[Thing] = []
    for side in (-1, 1):
        if rng.random() < 0.7:
            things += [(d, partial(draw_house, street, side, d, sky)) for d in rng.uniform(0.15, 0.7, 3)]
        depths = rng.uniform(0.12, 0.9, rng.integers(0, 5))
        things += [(d, partial(draw_tree, street, side, d)) for d in depths]
        if rng.random() < 0.8:
            things += poles_and_wires(street, side)
    depths = rng.uniform(0.06, 0.28, rng.integers(3, 9))
    things += [(d, partial(draw_car, street, d)) for d in depths]
    for _, draw_thing in sorted(things, key=lambda thing: thing[0]):
        draw_thing()


def draw_house(street: Street, side: int, depth: float, sky: Colour) -> None:
    """Draw a long wall in perspective."""
    across, near, height = side * street.rng.uniform(1.6, 2.4), depth * 1.7, street.rng.uniform(0.8, 2.5)
    corners = [street.at(across, depth), street.at(across, depth, height),
               street.at(across, near, height), street.at(across, near)]  # fmt: skip
    draw_facade(street, corners, sky)


def draw_tree(street: Street, side: int, depth: float) -> None:
    """Draw a trunk, as brown as some poles, and a crown; the class of both is `green`."""
    rng, across, unit = street.rng, side * street.rng.uniform(1.15, 1.9), street.width * depth
    height = rng.uniform(0.5, 0.9)
    foot, top = street.at(across, depth), street.at(across, depth, height)
    bark = street.ink(GREEN, shade(rng, [(85, 65, 50), (100, 95, 90)], 8))
    street.pen.line([foot, top], fill=bark, width=max(3, round(0.09 * unit)))
    draw_crown(street, top, unit * rng.uniform(0.25, 0.45))


def draw_crown(street: Street, centre: Point, radius: float) -> None:
    """Draw leaves as blobs around a centre."""
    rng = street.rng
    leaves = shade(rng, [(55, 90, 45), (95, 110, 50), (150, 105, 50), (60, 75, 60)], 10)
    ink = street.ink(GREEN, leaves, (8, 12, 22, 14))
    for _ in range(9):
        x, y = centre + rng.normal(0, radius * 0.45, 2)
        r = radius * rng.uniform(0.35, 0.6)
        street.pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)


def poles_and_wires(street: Street, side: int) -> list[Thing]:
    """Return a row of poles, 1 to 4 px wide, with lamps or with wires between them."""
    rng = street.rng
    across, height, wired = side * rng.uniform(1.05, 1.4), rng.uniform(1.1, 1.9), rng.random() < 0.6
    colour = shade(rng, [(70, 60, 55), (120, 120, 120), (165, 160, 150), (40, 42, 48)], 8)
    ink = street.ink(POLE, colour, (3, 3, 4, 4))
    depths = rng.uniform(0.8, 1.1) / np.cumprod(rng.uniform(1.4, 1.9, rng.integers(2, 6)))

    def stand(depth: float, nearer: float | None) -> None:
        foot, top = street.at(across, depth), street.at(across, depth, height)
        thick = int(np.clip(round(0.035 * street.width * depth), 2, 6))
        street.pen.line([foot, top], fill=ink, width=thick)
        arm = street.at(across - side * 0.3, depth, height)
        street.pen.line([top, arm], fill=ink, width=max(2, thick // 2))
        if wired and nearer:
            for place in (0, 0.15, 0.3)[: int(rng.integers(1, 4))]:
                ends = [street.at(across - side * place, d, height) for d in (depth, nearer)]
                street.pen.line(_hanging(*ends), fill=ink, width=int(rng.integers(2, 4)))

    nearer = [None, *depths[:-1]]
    return [(d, partial(stand, d, n)) for d, n in zip(depths, nearer, strict=True)]


def _hanging(start: Point, end: Point) -> list[Point]:
    """Return points of a wire that hangs between two points: a parabola."""
    (x0, y0), (x1, y1) = start, end
    sag = 0.06 * abs(x1 - x0) + 0.03 * abs(y1 - y0)
    along = np.linspace(0, 1, 12)
    return [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t + 4 * sag * t * (1 - t)) for t in along.tolist()]


def draw_car(street: Street, depth: float) -> None:
    """Draw a car from behind or in front, 4 to 30 px wide; its shadow belongs to the road."""
    rng, unit = street.rng, street.width * depth
    across = rng.choice([-0.55, 0.0, 0.55]) + rng.normal(0, 0.08)
    x, y = street.at(across, depth)
    half, high = unit * rng.uniform(0.16, 0.24), unit * rng.uniform(0.26, 0.4)
    shadow = street.ink(ROAD, (45, 45, 48), (4, 4, 4, 4))
    street.pen.ellipse([x - half * 1.2, y - high * 0.15, x + half * 1.2, y + high * 0.15], fill=shadow)
    paints = [
        (170, 35, 35),
        (40, 60, 130),
        (215, 215, 215),
        (45, 45, 48),
        (130, 130, 130),
        (70, 110, 70),
    ]
    body = street.ink(CAR, shade(rng, paints, 12), (5, 8, 6, 3))
    dark = street.ink(CAR, shade(rng, [(40, 45, 55), (120, 140, 160)], 5), (5, 8, 4, 3))
    tyre = street.ink(CAR, (30, 30, 30))
    for wheel in (-0.75, 0.75):
        left = x + half * wheel - half * 0.2
        street.pen.rectangle([left, y - high * 0.3, left + half * 0.4, y], fill=tyre)
    street.pen.rectangle([x - half, y - high * 0.6, x + half, y - high * 0.12], fill=body)
    roof = [(x - half * 0.9, y - high * 0.6), (x - half * 0.65, y - high),
            (x + half * 0.65, y - high), (x + half * 0.9, y - high * 0.6)]  # fmt: skip
    street.pen.polygon(roof, fill=dark, outline=body)


def shade(rng: np.random.Generator, colours: Sequence[Colour], spread: float) -> np.ndarray:
    """Return one of some colours with a little noise."""
    return np.asarray(colours, float)[rng.integers(len(colours))] + rng.normal(0, spread, 3)


def shadows(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return the light on each pixel, [H, W]: shadows with straight edges, one side brighter."""
    canvas = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, width), rng.uniform(height * 0.4, height)
        corners = [(x + dx, y + dy) for dx, dy in rng.normal(0, 90, (3, 2)).tolist()]
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
        left, top = int(rng.choice([0, SIZE - width])), int(rng.choice([0, SIZE - height]))
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


if __name__ == "__main__":
    main()
