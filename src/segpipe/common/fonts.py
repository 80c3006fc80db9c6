"""Fonts for pictures, and the letters that they have.

Figures are outs, so fonts that only one machine has are not used.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_MISSING = "\U0010ffff"  # no font has it: every one draws its sign for missing letters


@functools.cache
def dejavu(size: int = 12) -> Font:
    """Return the font that comes with matplotlib, and that its figures are drawn in."""
    import matplotlib as mpl  # half a second, which drawing with Pillow's own font need not wait for

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


@functools.cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


def font_for(texts: Iterable[str], size: int) -> Font:
    """Return Pillow's own font, or DejaVu where that lacks letters of the texts."""
    own = _own(size)
    return own if all(drawable(text, own) == text for text in texts) else dejavu(size)


def drawable(text: str, font: Font) -> str:
    """Return a text with `?` for every letter that a font lacks."""
    return "".join(letter if letter.isspace() or _has(font, letter) else "?" for letter in text)


def class_labels(names: Sequence[str], font: Font) -> dict[str, str]:
    """Return the label of each class: its name, or `class N` (from 0) where the font lacks letters."""
    return {
        name: name if drawable(name, font) == name else f"class {index}"
        for index, name in enumerate(names)
    }


def unnamed(names: Sequence[str], font: Font) -> str:
    """Return a sentence about the classes that figures call by number; empty if there are none."""
    labels = class_labels(names, font).items()
    numbered = ", ".join(f"{name} {label}" for name, label in labels if name != label)
    return f"Figures lack the letters of some classes; they call {numbered}." if numbered else ""


@functools.lru_cache(maxsize=1 << 16)
def _has(font: Font, letter: str) -> bool:
    if letter.isascii():
        return True
    mask, missing = font.getmask(letter), font.getmask(_MISSING)
    return (mask.size, bytes(mask)) != (missing.size, bytes(missing))
