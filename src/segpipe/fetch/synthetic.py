"""Drawings of furry animals on textured ground, with trimaps: a data set that needs no network.

A sample depends only on the seed, its split and its number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from segpipe.common.codec import encode_png
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.sample import Sample, Split

PET, BACKGROUND, BORDER = 1, 2, 3  # mask values, those of Oxford-IIIT Pet

_OVERSAMPLING = 2


def samples(params: SyntheticParams) -> Iterator[Sample]:
    """Yield `params.test` and then `params.train` samples."""
    counts: dict[Split, int] = {"test": params.test, "train": params.train}
    for split, count in counts.items():
        for number in range(count):
            name = f"{split}-{number:06d}"
            drawing = Drawing(params.seed, split, number, params.size)
            yield Sample(name, split, f"{name} (image)", f"{name} (mask)", drawing)


@dataclass(frozen=True)
class Drawing:
    """A sample that is drawn where it is read."""

    seed: int
    split: Split
    number: int
    size: int
    needs_no_file: ClassVar[bool] = True

    def read(self) -> tuple[bytes, bytes]:
        """Return image and mask as PNG."""
        rng = np.random.default_rng([self.seed, self.split == "train", self.number])
        image, mask = draw(rng, self.size)
        return encode_png(image), encode_png(mask)


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture: ground, one or two animals, sometimes something in front of them.

    All chance comes from `rng`. Height and width vary by a quarter around `size` pixels. Returns RGB
    uint8 [height, width, 3] and mask values uint8 [height, width].
    """
    height, width = rng.integers(round(size * 0.75), round(size * 1.25) + 1, 2) * _OVERSAMPLING
    scene = _texture(rng, height, width, contrast=60)
    animals = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 3)):
        silhouette = _silhouette(rng, height, width)
        scene = np.where(silhouette[..., None], _coat(rng, height, width), scene)
        animals |= silhouette
    if rng.random() < 0.3:
        post = _post(rng, height, width)
        scene = np.where(post[..., None], _texture(rng, height, width, contrast=20), scene)
        animals &= ~post
    left, right = rng.uniform(0.8, 1.15, 2)
    light = np.linspace(left, right, width)[None, :, None]
    picture = Image.fromarray(np.clip(scene * light, 0, 255).astype(np.uint8))
    half = (int(width) // _OVERSAMPLING, int(height) // _OVERSAMPLING)
    image = np.asarray(picture.resize(half, Image.Resampling.BOX))
    return image, _trimap(animals, half, round(size / 32))


def _trimap(animals: np.ndarray, size: tuple[int, int], reach: int) -> np.ndarray:
    """Return pet, background, and a band of `reach` pixels to both sides of the silhouette's edge."""
    shape = Image.fromarray(animals.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    shape = shape.point(lambda value: 255 if value >= 128 else 0)
    inner = outer = shape
    for _ in range(max(reach, 1)):  # one wide filter gives the same, but slower
        inner, outer = inner.filter(ImageFilter.MinFilter(3)), outer.filter(ImageFilter.MaxFilter(3))
    band = np.where(np.asarray(outer) > 0, BORDER, BACKGROUND)
    return np.where(np.asarray(inner) > 0, PET, band).astype(np.uint8)


def _silhouette(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw body, head, ears, legs and tail in a random pose, with a furry outline: bool [H, W]."""
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    unit = min(height, width) * rng.uniform(0.18, 0.3)
    centre = np.array([width, height]) * rng.uniform(0.35, 0.65, 2)
    facing = rng.choice([-1, 1])
    length, girth = unit * rng.uniform(1.2, 1.6), unit * rng.uniform(0.75, 1.0)

    def blob(x: float, y: float, rx: float, ry: float) -> None:
        pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=255)

    x, y = centre
    blob(x, y, length, girth)
    head_x, head_y = x + facing * length * 0.95, y - unit * rng.uniform(0.3, 0.9)
    head = unit * rng.uniform(0.55, 0.75)
    blob(head_x, head_y, head, head)
    for side in (-0.6, 0.6):
        ear_x = head_x + side * head
        tip = (ear_x + side * head * 0.3, head_y - head * rng.uniform(1.4, 1.8))
        pen.polygon([(ear_x - head * 0.4, head_y), (ear_x + head * 0.4, head_y), tip], fill=255)
    stroke = max(2, round(unit * 0.35))
    for place in (-0.7, -0.3, 0.3, 0.7):
        foot = (x + place * length + rng.normal(0, unit * 0.15), y + girth + unit * 0.6)
        pen.line([(x + place * length, y), foot], fill=255, width=stroke)
    tail = (x - facing * (length + unit * 0.8), y - unit * rng.uniform(-0.3, 1.0))
    pen.line([(x - facing * length * 0.8, y), tail], fill=255, width=stroke)

    turned = canvas.rotate(rng.uniform(-35, 35), Image.Resampling.BILINEAR, center=(x, y))
    soft = turned.filter(ImageFilter.GaussianBlur(float(unit) * 0.1))
    fur = _noise(rng, height, width, cell=3) * 35
    return np.asarray(soft, np.float64) + fur > 128


def _post(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a slanted bar from top to bottom: bool [H, W]."""
    canvas = Image.new("1", (width, height))
    top, bottom = rng.uniform(0.2, 0.8, 2) * width
    thickness = round(width * rng.uniform(0.06, 0.12))
    ImageDraw.Draw(canvas).line([(top, -1), (bottom, height + 1)], fill=1, width=thickness)
    return np.asarray(canvas)


def _coat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw fur: from black over brown and grey to white, patched and grainy: float64 [H, W, 3]."""
    warmth = rng.uniform(0, 1) * np.array([25, 0, -35])
    patches = 25 * _noise(rng, height, width, cell=min(height, width) / 6)
    grain = 30 * _noise(rng, height, width, cell=3)
    return rng.uniform(40, 210) + warmth + (patches + grain)[..., None]


def _texture(rng: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Draw a random colour with coarse, fine and striped variation: float64 [H, W, 3], about 0..255."""
    rows, columns = np.mgrid[:height, :width] / min(height, width)
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(4, 25)
    stripes = np.sin(2 * np.pi * frequency * (rows * np.sin(angle) + columns * np.cos(angle)))
    pattern = _noise(rng, height, width, cell=min(height, width) / 4)
    pattern = pattern + 0.5 * _noise(rng, height, width, cell=min(height, width) / 16)
    pattern = pattern + 0.4 * rng.uniform(0, 1) * stripes
    tint = contrast * rng.uniform(0.5, 1, 3)
    return rng.uniform(30, 225, 3) + tint * pattern[..., None]


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Draw smooth noise of about unit variance whose grain is `cell` pixels: float64 [H, W]."""
    grid = rng.normal(0, 1, (round(height / cell) + 2, round(width / cell) + 2))
    smooth = Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float64)
