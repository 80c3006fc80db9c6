"""The class table: the class of each value, or each colour, in a mask file."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

IGNORE = 255  # the index of ignored pixels in every mask here: they count in neither loss nor score
MaskValue = int | str  # a pixel of a mask file: a number 0..255, or a colour as `#rrggbb`
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class SegmentationClass:
    """One class: its name, its value in the mask files, its colour in pictures as `#rrggbb`."""

    name: str
    value: MaskValue
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three integers, 0..255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class ClassTable:
    """Classes in the order of their indices, and the file values that are ignored."""

    classes: tuple[SegmentationClass, ...]
    ignore: tuple[MaskValue, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where two classes share a name, value or colour, or a colour is malformed."""
        columns: dict[str, list] = {
            "name": self.names,
            "value": [v.lower() if isinstance(v, str) else v for v in self.values],
            "colour": [c.colour.lower() for c in self.classes],
        }
        for what, values in columns.items():
            twice = next((v for v in values if values.count(v) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} stands twice in classes and ignore")
        for c in self.classes:
            if not _COLOUR.fullmatch(c.colour):
                raise ValueError(f"the colour {c.colour!r} of {c.name!r} is not of the form '#rrggbb'")
        if len({isinstance(value, str) for value in self.values}) > 1:
            raise ValueError("classes and ignore hold both numbers and colours; masks hold one of them")

    def __len__(self) -> int:
        """Return the number of classes, without ignored values."""
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """The class names, in the order of their index."""
        return [c.name for c in self.classes]

    @property
    def colours(self) -> dict[str, str]:
        """The colours as `#rrggbb` by class name."""
        return {c.name: c.colour for c in self.classes}

    @property
    def values(self) -> list[MaskValue]:
        """The values that a mask may hold: the classes', then the ignored ones."""
        return [*(c.value for c in self.classes), *self.ignore]

    @property
    def by_colour(self) -> bool:
        """Whether masks hold RGB colours, not numbers."""
        return isinstance(self.values[0], str)

    @property
    def palette(self) -> np.ndarray:
        """RGB colour by index: uint8 [256, 3]. Ignored pixels are white."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = [c.rgb for c in self.classes]
        palette[IGNORE] = 255
        return palette

    def unknown_values(self, mask: np.ndarray) -> dict[MaskValue, int]:
        """Return the pixel counts of values that the table lacks, the most frequent first.

        `mask` is uint8 [height, width], or [height, width, 3] where values are colours.
        """
        codes = _codes(mask) if self.by_colour else mask
        unknown, counts = np.unique(codes[self._found(codes) < 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")
        return {
            f"#{code:06x}" if self.by_colour else code: count
            for code, count in zip(unknown[most].tolist(), counts[most].tolist(), strict=True)
        }

    def to_indices(self, mask: np.ndarray) -> np.ndarray:
        """Map file values to class indices 0..N-1, ignored and unknown values to 255.

        `mask` is uint8 [height, width], or [height, width, 3] where values are colours; the result is
        uint8 [height, width].
        """
        if self.by_colour:
            return self._indices(_codes(mask))
        return self._indices(np.arange(256)).take(mask)

    def _indices(self, codes: np.ndarray) -> np.ndarray:
        found = self._found(codes)
        return np.where((found >= 0) & (found < len(self)), found, IGNORE).astype(np.uint8)

    def _found(self, codes: np.ndarray) -> np.ndarray:
        """Return the position of each code in `values`, -1 for others."""
        known, order = self._sorted
        if not self.by_colour:
            position_of = np.full(256, -1, np.int16)
            position_of[known] = order
            return position_of[codes]
        nearest = np.searchsorted(known, codes).clip(max=len(known) - 1)
        return np.where(known[nearest] == codes, order[nearest], -1)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        codes = np.array([int(v[1:], 16) if isinstance(v, str) else v for v in self.values])
        order = np.argsort(codes)
        return codes[order], order

    def describe(self) -> str:
        """Return the table in one line, for error messages."""
        described = ", ".join(f"{c.value} = {c.name}" for c in self.classes)
        return described + (f", ignored: {list(self.ignore)}" if self.ignore else "")

    def to_json(self) -> dict:
        """Return a plain form for the manifest; `from_json` reads it."""
        return {"classes": [asdict(c) for c in self.classes], "ignore": list(self.ignore)}

    @classmethod
    def from_json(cls, content: dict) -> "ClassTable":
        """Return the table that `to_json` was called on."""
        classes = tuple(SegmentationClass(**c) for c in content["classes"])
        return cls(classes, tuple(content["ignore"]))


def class_table(rows: Iterable[Any], ignore: Iterable[MaskValue]) -> ClassTable:
    """Return the table of rows that have a name, a value and a colour, and of values to ignore."""
    return ClassTable(tuple(SegmentationClass(c.name, c.value, c.colour) for c in rows), tuple(ignore))


def _codes(mask: np.ndarray) -> np.ndarray:
    """Return RGB pixels as numbers 0xrrggbb: uint8 [..., 3] to int32 [...]."""
    red, green, blue = np.moveaxis(mask.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
