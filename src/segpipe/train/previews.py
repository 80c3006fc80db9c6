"""Pictures of the predictions for a few validation images, drawn during training."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from segpipe.common.bands import displayed
from segpipe.common.classes import ClassTable
from segpipe.common.files import replaces
from segpipe.common.fonts import Font, class_labels, drawable, font_for
from segpipe.train.samples import Arrays

Preview = Callable[[int, np.ndarray], None]
"""Takes an epoch (0: before training) and its predicted masks, uint8 [n, H, W], and draws them."""

Sheet = Callable[[Arrays, np.ndarray, ClassTable, str], Image.Image]
"""Draws samples with their predicted masks, under a heading."""

_HEADINGS = ("image", "truth", "prediction")
LINE, GAP, _LEAST = 18, 4, 128
"""Pixels: a line of text, a gap, and the shorter edge to which small pictures are enlarged."""


def sheet(shown: Arrays, predictions: np.ndarray, table: ClassTable, title: str) -> Image.Image:
    """Draw a row for each sample, with its image, true and predicted mask, and a legend below.

    Args:
        shown: the samples.
        predictions: class indices, uint8 [n, H, W].
        table: names and colours of the classes.
        title: the heading.
    """
    height, width = shown.size
    factor = -(-_LEAST // min(height, width))
    row, column = height * factor + LINE + GAP, width * factor + GAP
    font = font_for([*table.names, *shown.names], 12)
    below = legend(table, [*shown.masks, *predictions], 3 * column, font)
    picture, pen = blank_sheet(title, column, row * len(shown.names), below, font)
    samples = zip(shown.names, shown.images, shown.masks, predictions, strict=True)
    for number, (name, image, truth, prediction) in enumerate(samples):
        y = 2 * LINE + number * row
        layers = displayed(image), table.palette[truth], table.palette[prediction]
        for position, pixels in enumerate(layers):
            enlarged = pixels.repeat(factor, 0).repeat(factor, 1)
            picture.paste(Image.fromarray(enlarged), (position * column, y))
        pen.text((GAP, y + height * factor), drawable(name, font), "black", font)
    return picture


def blank_sheet(
    title: str, column: int, height: int, below: Image.Image, font: Font
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a sheet to draw on, and a pen: title and headings, `height` free pixels, the legend.

    The free part begins `2 * LINE` pixels from the top; its three columns are `column` pixels wide.
    """
    picture = Image.new("RGB", (3 * column, 2 * LINE + height + below.height), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((GAP, 0), title, "black", font)
    for number, heading in enumerate(_HEADINGS):
        pen.text((number * column + GAP, LINE), heading, "black", font)
    picture.paste(below, (0, 2 * LINE + height))
    return picture, pen


def drawer(
    shown: Arrays, table: ClassTable, kept: Path, folder: Path, draws_sheet: Sheet = sheet
) -> Preview:
    """Return a function that draws the predictions for some samples as `epoch-NNN.png`.

    Args:
        shown: the samples.
        table: names and colours of the classes.
        kept: a folder that survives a kill; its pictures of earlier epochs are copied to `folder`.
        folder: the results' folder.
        draws_sheet: draws a picture; by default a row for each sample.
    """
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copytree(kept, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)

    def draw(epoch: int, predictions: np.ndarray) -> None:
        path = kept / f"epoch-{epoch:03d}.png"
        title = f"after epoch {epoch}" if epoch else "before training"
        with replaces(path) as partial:
            draws_sheet(shown, predictions, table, title).save(partial, "PNG")
        shutil.copy2(path, folder)

    return draw


def legend(table: ClassTable, masks: Sequence[np.ndarray], width: int, font: Font) -> Image.Image:
    """Draw the colours and names of the classes in the masks; they wrap at `width`."""
    labels, x, y = class_labels(table.names, font), GAP, 0
    present = {*np.unique(masks).tolist()}
    places = []
    for row in (row for index, row in enumerate(table.classes) if index in present):
        length = int(font.getlength(labels[row.name])) + 2 * LINE
        if x + length > width and x > GAP:
            x, y = GAP, y + LINE
        places.append((row, x, y))
        x += length
    picture = Image.new("RGB", (width, y + LINE), "white")
    pen = ImageDraw.Draw(picture)
    for row, x, y in places:
        pen.rectangle((x, y + 3, x + 11, y + 14), row.rgb, "#888888")
        pen.text((x + 16, y), labels[row.name], "black", font)
    return picture
