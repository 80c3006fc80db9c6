"""Draw a data set of streets: seven classes, from the sky to wires of one pixel, and ignored pixels.

    python examples/drawn_streets.py my_streets --train 300 --test 100 --seed 0
    segpipe init-data my_streets --write

`--size 512x1024` draws larger ones with two more classes, `sign` and `pedestrian`. Poles and wires are
still 1 or 2 px wide there, signs 6 to 16 px, and pedestrians 8 to 30 px high: a network that sees a
smaller copy loses them.

With these masks a recipe can be tried on something other than pets. Each picture of 256 px has large
regions, thin lines and objects of a few pixels. No class has a colour of its own: glass mirrors the sky,
concrete is as grey as the road, dusk and fog change every colour. The masks are 255 around some cars
and buildings, and under a label in some corners.

A picture depends only on the seed, its split and its number.
"""

import argparse
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _pairs
import numpy as np
from _street import (
    BUILDING,
    CAR,
    CLASSES,
    GREEN,
    MARKING,
    MORE_CLASSES,
    PEDESTRIAN,
    POLE,
    ROAD,
    SIGN,
    SIZE,
    SKY,
    Colour,
    Point,
    Street,
    add_label,
    shade,
)
from PIL import Image

Thing = tuple[float, Callable[[], None]]
"""The depth of an object, and the function that draws it."""


def main() -> None:
    """Draw a data set in the layout `pairs`."""
    parser = _pairs.parser(__doc__, train=300, test=100)
    parser.add_argument(
        "--size", type=size_of, default=SIZE, help="HEIGHTxWIDTH in pixels, such as 512x1024"
    )
    arguments = parser.parse_args()
    write(arguments.out, arguments.train, arguments.test, arguments.seed, arguments.size)
    print(_pairs.written(arguments))


def size_of(text: str) -> tuple[int, int]:
    """Return height and width from a text such as `512x1024`."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 128):
        raise argparse.ArgumentTypeError(f"{text!r} is no HEIGHTxWIDTH of at least 128x128")
    return int(height), int(width)


def write(out: Path, train: int, test: int, seed: int, size: tuple[int, int] = SIZE) -> None:
    """Write a data set in the layout `pairs`."""
    classes = CLASSES if size == SIZE else MORE_CLASSES
    counts = {"train": train, "test": test}
    _pairs.write(out, counts, seed, classes, partial(draw, size=size), save)


def save(image: np.ndarray, path: Path) -> None:
    """Save a picture as JPEG."""
    Image.fromarray(image).save(f"{path}.jpg", quality=92)


def draw(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street.

    Args:
        rng: the only source of random numbers.
        size: height and width.

    Returns:
        RGB uint8 [H, W, 3] and class values or 255, uint8 [H, W].
    """
    street = Street(rng, size)
    sky = shade(rng, [(120, 165, 225), (190, 195, 200), (225, 165, 120), (70, 80, 115)], 12)
    street.fill(street.below(0), SKY, sky, (22, 8, 2, 1))
    draw_skyline(street, sky)
    draw_ground(street)
    draw_markings(street)
    draw_things(street, sky)
    parts = street.turned()
    mask = street.mask_of(parts)
    return add_label(rng, street.photo_of(parts), mask)


def draw_skyline(street: Street, sky: Colour) -> None:
    """Draw distant houses, and a strip of trees in front of some of them."""
    rng, scale, left = street.rng, street.scale, 0.0
    foot = street.horizon + 8 * scale
    while left < street.right:
        right, top = left + rng.uniform(25, 90) * scale, street.horizon - rng.uniform(5, 110) * scale
        if rng.random() < 0.8:
            corners = [(left, foot), (left, top), (right, top), (right, foot)]
            draw_facade(street, corners, sky)
        left = right + rng.choice([0, 0, 15]) * scale
    for _ in range(rng.integers(0, 5)):
        draw_crown(street, (rng.uniform(0, street.right), street.horizon), rng.uniform(12, 35) * scale)


def draw_facade(street: Street, corners: list[Point], sky: Colour) -> None:
    """Draw a wall and its windows, which mirror the sky, are dark, or are lit."""
    rng = street.rng
    walls = [(140, 140, 140), (150, 85, 65), (205, 190, 160), (110, 130, 150), (95, 115, 90)]
    street.fill(corners, BUILDING, shade(rng, walls, 18), (6, 6, rng.uniform(2, 12), 3))
    ink = street.ink(BUILDING, shade(rng, [sky, (45, 45, 45), (230, 200, 120)], 10))
    (x0, y0), (_, top0), (x1, top1), (_, y1) = corners
    columns = int(np.clip(abs(x1 - x0) / (rng.uniform(12, 25) * street.scale), 1, 9))
    rows = int(np.clip(abs(y0 - top0) / (rng.uniform(14, 28) * street.scale), 1, 9))

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
    if street.detailed:
        things += signs_and_pedestrians(street)
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
    """Return a row of poles, 1 to 4 px wide (2 if detailed), with lamps or wires between them."""
    rng = street.rng
    across, height, wired = side * rng.uniform(1.05, 1.4), rng.uniform(1.1, 1.9), rng.random() < 0.6
    colour = shade(rng, [(70, 60, 55), (120, 120, 120), (165, 160, 150), (40, 42, 48)], 8)
    ink = street.ink(POLE, colour, (3, 3, 4, 4))
    depths = rng.uniform(0.8, 1.1) / np.cumprod(rng.uniform(1.4, 1.9, rng.integers(2, 6)))

    def stand(depth: float, nearer: float | None) -> None:
        foot, top = street.at(across, depth), street.at(across, depth, height)
        thick = int(np.clip(round(0.035 * street.width * depth), 2, 3 if street.detailed else 6))
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
    """Draw a car from behind or in front, 4 to 30 px wide at 256 px; its shadow belongs to the road."""
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


def signs_and_pedestrians(street: Street) -> list[Thing]:
    """Return signs beside the road, and pedestrians beside it and on it, alone or in groups."""
    rng = street.rng
    depths = rng.uniform(0.1, 0.6, rng.integers(3, 9))
    things: list[Thing] = [(d, partial(draw_sign, street, d)) for d in depths]
    for _ in range(rng.integers(3, 8)):
        depth = rng.uniform(0.08, 0.32)
        across = rng.choice([-1, 1]) * rng.choice(
            [rng.uniform(1.0, 1.8), rng.uniform(0.1, 0.9)], p=[0.7, 0.3]
        )
        for nearer in rng.uniform(0, 0.02, rng.integers(1, 4)):
            beside = across + rng.normal(0, 0.2)
            things.append((depth + nearer, partial(draw_pedestrian, street, beside, depth + nearer)))
    return things


def draw_sign(street: Street, depth: float) -> None:
    """Draw a disc, a triangle or a square of 6 to 16 px on a pole; some show their grey back."""
    rng, unit = street.rng, street.width * depth
    across, height = rng.choice([-1, 1]) * rng.uniform(1.02, 1.5), rng.uniform(0.5, 0.9)
    foot, (x, y) = street.at(across, depth), street.at(across, depth, height)
    pole = street.ink(POLE, shade(rng, [(120, 120, 120), (165, 160, 150), (70, 70, 75)], 8))
    street.pen.line([foot, (x, y)], fill=pole, width=int(rng.integers(2, 4)))
    radius = float(np.clip(unit * rng.uniform(0.06, 0.1), 6, 16))
    rims = [(170, 35, 35), (215, 215, 215), (130, 130, 130)]
    faces = [(215, 215, 210), (40, 60, 130), (230, 200, 120), (170, 35, 35), (130, 130, 130)]
    corners = int(rng.choice([3, 4, 24]))
    turn = (
        int(rng.integers(2)) * 180 // corners
    )  # a triangle stands on its tip, a square becomes a diamond
    for colours, part in ((rims, 1.0), (faces, 0.7)):
        ink = street.ink(SIGN, shade(rng, colours, 10), (2, 2, 3, 3))
        street.pen.regular_polygon((x, y, radius * part), corners, turn, fill=ink)


def draw_pedestrian(street: Street, across: float, depth: float) -> None:
    """Draw a walking or standing figure, 8 to 30 px high."""
    rng, (x, y) = street.rng, street.at(across, depth)
    high = float(np.clip(street.width * depth * rng.uniform(0.3, 0.4), 16, 60))
    coats = [(170, 35, 35), (40, 60, 130), (45, 45, 48), (150, 140, 120), (70, 110, 70), (215, 215, 215)]
    coat = street.ink(PEDESTRIAN, shade(rng, coats, 12), (2, 4, 6, 4))
    legs = street.ink(PEDESTRIAN, shade(rng, [(45, 50, 75), (40, 40, 42), (110, 100, 85)], 8))
    skin = street.ink(PEDESTRIAN, shade(rng, [(205, 165, 140), (110, 75, 55), (60, 45, 35)], 8))
    half, step, thick = (
        high * rng.uniform(0.11, 0.15),
        high * rng.uniform(0, 0.14),
        max(2, round(high / 10)),
    )
    for side in (-1, 1):
        foot, hip = (x + side * (step + 0.03 * high), y), (x + side * 0.05 * high, y - 0.5 * high)
        street.pen.line([foot, hip], fill=legs, width=thick)
    street.pen.ellipse([x - half, y - 0.88 * high, x + half, y - 0.38 * high], fill=coat)
    street.pen.ellipse([x - 0.08 * high, y - high, x + 0.08 * high, y - 0.82 * high], fill=skin)


if __name__ == "__main__":
    main()
