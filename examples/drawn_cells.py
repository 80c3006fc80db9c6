"""Draw a data set of cells under a fluorescence microscope: large pictures with one band of 12 bits.

    python examples/drawn_cells.py my_cells --train 12 --test 6 --size 2000 --seed 0
    segpipe init-data my_cells --write

Cells are 8 to 16 px wide and cover 2 to 6 % of the pixels, and a smaller copy of a large picture loses
them. No grey level tells them from the background: dim cells are darker than the haze elsewhere, and hot
pixels, specks, rods, fibres and blobs out of focus are as bright as cells.

A picture depends only on the seed, its split and its number.
"""

from functools import partial
from pathlib import Path

import _pairs
import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("background", "cell")
"""Class names, indexed by the value in the masks."""
WHITE = 4095
"""The highest number of 12 bits."""

_DEBRIS = {
    "specks": (100, (0.8, 2.2), (1, 1.5), (0.3, 0.5)),
    "rods": (30, (1.2, 2.4), (4, 9), (0.3, 0.5)),
    "clumps": (15, (11, 16), (1, 1.6), (0.05, 0.2)),
    "cells out of focus": (15, (14, 28), (1, 1.3), (0.25, 0.6)),
    "patches": (4, (40, 120), (1, 1.5), (0.3, 0.7)),
}
"""Mean number on a million pixels; then the ranges of the short radius in pixels, and of the long radius
and the edge's softness as multiples of it."""
_HOT_PIXELS, _FIBRES = 120, 4
"""Numbers on a million pixels."""
_OFFSET = 100
"""What the camera shows in the dark."""
_GAIN = 2.5
"""Numbers per photon."""
_READ_NOISE = 6


def main() -> None:
    """Draw a data set in the layout `pairs`."""
    parser = _pairs.parser(__doc__, train=12, test=6)
    parser.add_argument("--size", type=int, default=2000, help="the edge of the pictures in pixels")
    arguments = parser.parse_args()
    write(arguments.out, arguments.train, arguments.test, arguments.seed, arguments.size)
    print(_pairs.written(arguments))


def write(out: Path, train: int, test: int, seed: int, size: int) -> None:
    """Write a data set in the layout `pairs`."""
    counts = {"train": train, "test": test}
    _pairs.write(out, counts, seed, CLASSES, partial(draw, size=size), save)


def save(image: np.ndarray, path: Path) -> None:
    """Save a picture as TIFF."""
    tifffile.imwrite(f"{path}.tif", image, photometric="minisblack", metadata=None)


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture.

    Args:
        rng: the only source of random numbers.
        size: height and width.

    Returns:
        0 to 4095, uint16 [H, W], and class values, uint8 [H, W].
    """
    light = haze(rng, size)
    mask = np.zeros((size, size), np.uint8)
    draw_debris(rng, light)
    draw_cells(rng, light, mask)
    light *= illumination(rng, size)
    numbers = _OFFSET + rng.poisson(light / _GAIN).astype(np.float32) * _GAIN
    numbers += rng.standard_normal(light.shape, np.float32) * _READ_NOISE
    rows, columns = rng.integers(0, size, (2, int(_HOT_PIXELS * size * size / 1e6)))
    numbers[rows, columns] += rng.uniform(200, 4000, len(rows))
    return np.clip(np.rint(numbers), 0, WHITE).astype(np.uint16), mask


def haze(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return light from above and below the focus, in wide patches: float32 [H, W]."""
    light = np.full((size, size), rng.uniform(60, 160), np.float32)
    for grain, strength in ((500, rng.uniform(60, 220)), (120, rng.uniform(10, 50))):
        count = size // grain + 3
        values = rng.gamma(1, strength, (count, count)).astype(np.float32)
        whole = Image.fromarray(values).resize((count * grain,) * 2, Image.Resampling.BICUBIC)
        left, top = (int(rng.integers(grain)) for _ in range(2))
        light += np.maximum(np.asarray(whole)[top : top + size, left : left + size], 0)
    return light


def illumination(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the share of light at each pixel: less toward the edges, and not centred."""
    x, y = (np.linspace(-1, 1, size, dtype=np.float32) - rng.uniform(-0.4, 0.4) for _ in range(2))
    return 1 - np.float32(rng.uniform(0.1, 0.3)) * np.minimum(x[None] ** 2 + y[:, None] ** 2, 2)


def draw_cells(rng: np.random.Generator, light: np.ndarray, mask: np.ndarray) -> None:
    """Add cells, half of them in clusters, until they cover a share of the pixels."""
    size = len(mask)
    wanted, covered = rng.uniform(0.025, 0.055) * size * size, 0
    while covered < wanted:
        middle, alone = rng.uniform(0, size, 2), rng.random() < 0.85
        softness = rng.uniform(0.6, 1.6)
        for x, y in middle + rng.normal(0, 18, (1 if alone else int(rng.integers(4, 10)), 2)):
            radii = rng.uniform(4, 6.4) * np.array([1, rng.uniform(1, 1.25)])
            peak = float(np.clip(rng.lognormal(5.2, 0.7), 70, 1800))
            place, shape, far = blob(rng, size, (x, y), radii, softness)
            inside = far < 1
            covered += int((inside & (mask[place] == 0)).sum())
            mask[place][inside] = 1
            rim = rng.uniform(-0.6, 0.3)  # darker than the middle, or brighter
            light[place] += peak * shape * (1 + rim * np.minimum(far, 1) ** 2)


def draw_debris(rng: np.random.Generator, light: np.ndarray) -> None:
    """Add what is no cell."""
    size = len(light)
    millions = size * size / 1e6
    for number, short, longer, soft in _DEBRIS.values():
        for _ in range(rng.poisson(number * rng.uniform(0.4, 1.6) * millions)):
            radii = rng.uniform(*short) * np.array([1, rng.uniform(*longer)])
            centre = rng.uniform(-radii[1], size + radii[1], 2)
            place, shape, _ = blob(rng, size, centre, radii, radii[0] * rng.uniform(*soft))
            light[place] += rng.lognormal(5.2, 0.6) * shape
    fibres = Image.new("L", (size, size))
    pen = ImageDraw.Draw(fibres)
    for _ in range(rng.poisson(_FIBRES * millions)):
        turns = np.cumsum(rng.normal(0, 0.15, 60)) + rng.uniform(0, 2 * np.pi)
        points = rng.uniform(0, size, 2) + np.cumsum(6 * np.stack([np.cos(turns), np.sin(turns)], 1), 0)
        pen.line([tuple(point) for point in points.tolist()], int(rng.integers(40, 160)), 3)
    light += 2 * np.asarray(fibres.filter(ImageFilter.GaussianBlur(1)), np.float32)


def blob(
    rng: np.random.Generator, size: int, centre: np.ndarray, radii: np.ndarray, softness: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return a turned ellipse with a soft edge.

    Returns:
        Where it lies in a picture, how bright it is there (0 to 1), and each pixel's distance from its
        centre (1 on its outline).
    """
    reach = float(max(radii)) + 5 * softness
    x, y = centre
    low = np.clip([y - reach, x - reach], 0, size).astype(int)
    high = np.clip([y + reach + 1, x + reach + 1], 0, size).astype(int)
    place = slice(low[0], high[0]), slice(low[1], high[1])
    rows, columns = np.ogrid[place]
    angle = rng.uniform(0, np.pi)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    far = np.hypot(along / radii[0], across / radii[1])
    edge = np.clip((far - 1) * min(radii) / softness, -30, 30)
    return place, (1 / (1 + np.exp(2 * edge))).astype(np.float32), far


if __name__ == "__main__":
    main()
