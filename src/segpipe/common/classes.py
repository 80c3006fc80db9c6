"""The class table: what each value, or each colour, in a mask file means."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

IGNORE = 255
"""The index, in every mask inside the pipeline, of pixels that count in neither loss nor score."""


MaskValue = int | str
"""What a mask file holds at a pixel: a number 0..255, or a colour as `#rrggbb`."""

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
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return red, green, blue


@dataclass(frozen=True)
class ClassTable:
    """Classes in the order of their index, and the file values that are ignored."""

    classes: tuple[SegmentationClass, ...]
    ignore: tuple[MaskValue, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where two classes cannot be told apart, or a colour is no colour."""
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
        """The number of classes, ignored values not counted."""
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
        """All that a mask may hold: the classes' values, then the ignored ones."""
        return [*(c.value for c in self.classes), *self.ignore]

    @property
    def by_colour(self) -> bool:
        """Whether masks are read as RGB colours, and not as numbers."""
        return isinstance(self.values[0], str)

    @property
    def palette(self) -> np.ndarray:
        """RGB colour by index: uint8 [256, 3]. Ignored pixels are white."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = [c.rgb for c in self.classes]
        palette[IGNORE] = 255
        return palette

    def unknown_values(self, mask: np.ndarray) -> dict[MaskValue, int]:
        """What `mask` holds and the table lacks, with pixel counts, the most frequent first.

        Args:
            mask: uint8 [height, width], or [height, width, 3] where values are colours.
        """
        codes = _codes(mask) if self.by_colour else mask
        unknown, counts = np.unique(codes[self._found(codes) < 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")
        return {
            f"#{code:06x}" if self.by_colour else code: count
            for code, count in zip(unknown[most].tolist(), counts[most].tolist(), strict=True)
        }

    def to_indices(self, mask: np.ndarray) -> np.ndarray:
        """Map what mask files hold to class indices 0..N-1, ignored and unknown values to 255.

        Args:
            mask: uint8 [height, width], or [height, width, 3] where values are colours.

        Returns:
            uint8 [height, width].
        """
        if self.by_colour:
            return self._indices(_codes(mask))
        return self._indices(np.arange(256)).take(mask)

    def _indices(self, codes: np.ndarray) -> np.ndarray:
        found = self._found(codes)
        return np.where((found >= 0) & (found < len(self)), found, IGNORE).astype(np.uint8)

    def _found(self, codes: np.ndarray) -> np.ndarray:
        """The position of each code in `values`, -1 where it is not there."""
        known, order = self._sorted
        if not self.by_colour:
            position_of = np.full(256, -1, np.int16)
            position_of[known] = order
            return position_of[codes]
        nearest = np.searchsorted(known, codes).clip(max=len(known) - 1)
        return np.where(known[nearest] == codes, order[nearest], -1)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        codes = np.array([_code(value) for value in self.values])
        order = np.argsort(codes)
        return codes[order], order

    def describe(self) -> str:
        """The table in one line, for error messages."""
        described = ", ".join(f"{c.value} = {c.name}" for c in self.classes)
        return described + (f", ignored: {list(self.ignore)}" if self.ignore else "")

    def to_json(self) -> dict:
        """A plain form for the manifest; `from_json` reads it."""
        return {
            "classes": [{"name": c.name, "value": c.value, "colour": c.colour} for c in self.classes],
            "ignore": list(self.ignore),
        }

    @classmethod
    def from_json(cls, content: dict) -> "ClassTable":
        """The inverse of `to_json`."""
        classes = tuple(SegmentationClass(**c) for c in content["classes"])
        return cls(classes, tuple(content["ignore"]))


def class_table(rows: Iterable[Any], ignore: Iterable[MaskValue]) -> ClassTable:
    """The table of rows that have a name, a value and a colour, and of the values to ignore."""
    return ClassTable(tuple(SegmentationClass(c.name, c.value, c.colour) for c in rows), tuple(ignore))


def _code(value: MaskValue) -> int:
    """One number for a value: a colour's is 0xrrggbb."""
    return int(value[1:], 16) if isinstance(value, str) else value


def _codes(mask: np.ndarray) -> np.ndarray:
    """The codes of RGB pixels: uint8 [..., 3] to int32 [...]."""
    red, green, blue = np.moveaxis(mask.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
