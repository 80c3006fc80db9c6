"""The class table: the class of each value, colour or label that masks are made of."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

IGNORE = 255  # the index of ignored pixels in every mask here: they count in neither loss nor score
REST = "rest"  # a value that stands for all that no other row and no ignored value names
BACKGROUND = ("background", "_background_")  # names of the class of pixels that no shape covers
MaskValue = int | str  # a number 0..255 or a colour `#rrggbb` in a mask file, or the label of a shape
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class SegmentationClass:
    """One class: its name, its value or values in the data, its colour in pictures as `#rrggbb`."""

    name: str
    value: MaskValue | tuple[MaskValue, ...]
    colour: str

    @property
    def values(self) -> tuple[MaskValue, ...]:
        """All values that are this class."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three integers, 0..255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class ClassTable:
    """Classes in the order of their indices, and the values that are ignored."""

    classes: tuple[SegmentationClass, ...]
    ignore: tuple[MaskValue, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where two classes share a name, value or colour, or a colour is malformed."""
        columns: dict[str, list] = {
            "name": self.names,
            "value": [str(v).lower() if is_colour(v) else v for v in self.values],
            "colour": [c.colour.lower() for c in self.classes],
        }
        for column, values in columns.items():
            twice = next((v for v in values if values.count(v) > 1), None)
            if twice is not None:
                raise ValueError(f"the {column} {twice!r} stands twice in classes and ignore")
        for c in self.classes:
            if not is_colour(c.colour):
                raise ValueError(f"the colour {c.colour!r} of {c.name!r} is not of the form '#rrggbb'")
        for index, label in self._labels:
            name = class_name(label)
            if name in self.names and self.names.index(name) != index:
                raise ValueError(f"the label {label!r} is the name of one class and a value of another")
        if REST in self.ignore:
            raise ValueError(
                "ignore holds 'rest'; give one class the value rest, or list values to ignore"
            )

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
        """All values that the table names: the classes', then the ignored ones."""
        return [value for value, _ in self._pairs()]

    @property
    def by_colour(self) -> bool:
        """Whether masks hold RGB colours alone."""
        return self.has_colours and not any(isinstance(value, int) for value in self.values)

    @property
    def has_colours(self) -> bool:
        """Whether masks may hold RGB colours."""
        return any(map(is_colour, self.values))

    @property
    def rest(self) -> int | None:
        """The index of the class that is all the rest."""
        return next((i for i, c in enumerate(self.classes) if REST in c.values), None)

    @property
    def uncovered(self) -> int | None:
        """The index of pixels that no shape covers: value 0, else the background, else the rest."""
        of_zero = next((index for value, index in self._pairs() if value == 0), None)
        named = next((self.names.index(name) for name in BACKGROUND if name in self.names), None)
        return next((index for index in (of_zero, named, self.rest) if index is not None), None)

    @property
    def file_values(self) -> list[int | str]:
        """The value of each class in masks that are written: its first number, or its first colour.

        A class of labels, or of all the rest, gets the lowest free number, or its colour in pictures.
        """
        if self.by_colour:
            return [next(filter(is_colour, c.values), c.colour) for c in self.classes]
        free = (number for number in range(256) if number not in self.values)
        numbers = ([v for v in c.values if isinstance(v, int)] for c in self.classes)
        return [own[0] if own else next(free) for own in numbers]

    @property
    def palette(self) -> np.ndarray:
        """RGB colour by index: uint8 [256, 3]. Ignored pixels are white."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = [c.rgb for c in self.classes]
        palette[IGNORE] = 255
        return palette

    def index_of(self, label: str) -> int | None:
        """Return the class index of a shape's label, 255 for an ignored one, None for an unknown one.

        A label belongs to the class of its name (`class_name`), or to the class that has it as a value.
        """
        name = class_name(label)
        if name in self.names:
            return self.names.index(name)
        named = (index for index, known in self._labels if class_name(known) == name)
        return next(named, self.rest)

    def unknown_values(self, mask: np.ndarray) -> dict[MaskValue, int]:
        """Return the pixel counts of values that the table lacks, the most frequent first.

        `mask` is uint8 [height, width] of numbers, or [height, width, 3] of colours.
        """
        if self.rest is not None:
            return {}
        codes, of_colours = (_codes(mask), True) if mask.ndim == 3 else (mask, False)
        unknown, counts = np.unique(codes[self._look_up(codes, of_colours) < 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")
        return {
            f"#{code:06x}" if of_colours else code: count
            for code, count in zip(unknown[most].tolist(), counts[most].tolist(), strict=True)
        }

    def to_indices(self, mask: np.ndarray) -> np.ndarray:
        """Map values to class indices 0..N-1, ignored ones to 255, unknown ones to the rest or to 255.

        `mask` is uint8 [height, width] of numbers, or [height, width, 3] of colours; the result is uint8
        [height, width].
        """
        if mask.ndim == 3:
            return self._indices(_codes(mask), True)
        return self._indices(np.arange(256), False).take(mask)

    def _indices(self, codes: np.ndarray, of_colours: bool) -> np.ndarray:
        indices = self._look_up(codes, of_colours)
        unknown = IGNORE if self.rest is None else self.rest
        return np.where(indices >= 0, indices, unknown).astype(np.uint8)

    def _look_up(self, codes: np.ndarray, of_colours: bool) -> np.ndarray:
        """Return the index of each code's class, 255 for ignored ones, -1 for unknown ones."""
        known, indices = self._sorted[of_colours]
        if not of_colours:
            index_of = np.full(256, -1, np.int16)
            index_of[known] = indices
            return index_of[codes]
        if not len(known):
            return np.full(codes.shape, -1)
        nearest = np.searchsorted(known, codes).clip(max=len(known) - 1)
        return np.where(known[nearest] == codes, indices[nearest], -1)

    @cached_property
    def _sorted(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Sorted codes with the indices of their classes: for numbers, and for colours."""
        numbers = sorted((v, i) for v, i in self._pairs() if isinstance(v, int))
        colours = sorted((int(str(v)[1:], 16), i) for v, i in self._pairs() if is_colour(v))
        columns = [np.array(pairs, np.int64).reshape(-1, 2).T for pairs in (numbers, colours)]
        (numbers_, of_numbers), (colours_, of_colours) = columns
        return (numbers_, of_numbers), (colours_, of_colours)

    @property
    def _labels(self) -> list[tuple[int, str]]:
        return [(index, str(value)) for value, index in self._pairs() if is_label(value)]

    def _pairs(self) -> Iterator[tuple[MaskValue, int]]:
        """Yield each value with the index of its class, the ignored ones last."""
        yield from ((value, index) for index, c in enumerate(self.classes) for value in c.values)
        yield from ((value, IGNORE) for value in self.ignore)

    def describe(self) -> str:
        """Return the table in one line, for error messages."""
        described = ", ".join(f"{' or '.join(map(str, c.values))} = {c.name}" for c in self.classes)
        return described + (f", ignored: {list(self.ignore)}" if self.ignore else "")

    def to_json(self) -> dict:
        """Return a plain form for the manifest; `from_json` reads it."""
        rows = [
            asdict(c) | ({"value": list(c.value)} if isinstance(c.value, tuple) else {})
            for c in self.classes
        ]
        return {"classes": rows, "ignore": list(self.ignore)}

    @classmethod
    def from_json(cls, content: dict) -> "ClassTable":
        """Return the table that `to_json` was called on."""
        rows = ((c["name"], c["value"], c["colour"]) for c in content["classes"])
        classes = (SegmentationClass(n, tuple(v) if isinstance(v, list) else v, c) for n, v, c in rows)
        return cls(tuple(classes), tuple(content["ignore"]))


def class_table(rows: Iterable[Any], ignore: Iterable[MaskValue]) -> ClassTable:
    """Return the table of rows that have a name, a value and a colour, and of values to ignore."""
    return ClassTable(tuple(SegmentationClass(c.name, c.value, c.colour) for c in rows), tuple(ignore))


def class_name(label: str) -> str:
    """Return a label as the name of a class: `_` for all but letters, digits, `-` and `_`.

    Letters of any script count, with their marks; equal texts in another Unicode form give one name.
    """
    letters = unicodedata.normalize("NFC", label.strip())
    return "".join(c if c in "-_" or _is_letter(c) else "_" for c in letters)


def _is_letter(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] in "LM" or kind in ("Nd", "Nl")


def is_colour(value: Any) -> bool:
    """Return whether a value of the table is a colour, `#rrggbb`."""
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def is_label(value: Any) -> bool:
    """Return whether a value of the table is the label of a shape."""
    return isinstance(value, str) and value.strip() not in ("", REST) and not value.startswith("#")


def _codes(mask: np.ndarray) -> np.ndarray:
    """Return RGB pixels as numbers 0xrrggbb: uint8 [..., 3] to int32 [...]."""
    red, green, blue = np.moveaxis(mask.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
