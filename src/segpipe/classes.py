"""The class table: what each value in a mask file means."""

import re
from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""The index, in every mask inside the pipeline, of pixels that count in neither loss nor score."""


@dataclass(frozen=True)
class SegmentationClass:
    """One class: its name, its value in the mask files, its colour as `#rrggbb`."""

    name: str
    value: int
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
    ignore: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where two classes cannot be told apart, or a colour is no colour."""
        columns: dict[str, list] = {
            "name": self.names,
            "value": [*(c.value for c in self.classes), *self.ignore],
            "colour": [c.colour.lower() for c in self.classes],
        }
        for what, values in columns.items():
            twice = next((v for v in values if values.count(v) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} stands twice in classes and ignore")
        for c in self.classes:
            if not re.fullmatch(r"#[0-9a-fA-F]{6}", c.colour):
                raise ValueError(f"the colour {c.colour!r} of {c.name!r} is not of the form '#rrggbb'")

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
    def palette(self) -> np.ndarray:
        """RGB colour by index: uint8 [256, 3]. Ignored pixels are white."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = [c.rgb for c in self.classes]
        palette[IGNORE] = 255
        return palette

    def unknown_values(self, mask: np.ndarray) -> dict[int, int]:
        """File values in `mask` (integer array) that the table lacks, with their pixel counts."""
        known = {*self.ignore, *(c.value for c in self.classes)}
        values, counts = np.unique(mask, return_counts=True)
        found = zip(values.tolist(), counts.tolist(), strict=True)
        return {value: count for value, count in found if value not in known}

    def to_indices(self, mask: np.ndarray) -> np.ndarray:
        """Map file values (uint8) to class indices 0..N-1, ignored ones to 255 (uint8)."""
        lookup = np.full(256, IGNORE, np.uint8)
        for index, c in enumerate(self.classes):
            lookup[c.value] = index
        return lookup[mask]

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
