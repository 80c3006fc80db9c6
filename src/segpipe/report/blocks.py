"""What a report is made of: text, tables and figures in sections; the templates say how they look."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Points:
    """A list."""

    kind: ClassVar = "points"
    points: Sequence[str]


@dataclass(frozen=True)
class Headline:
    """The scores in large type: label, score, and the interval where there is one."""

    kind: ClassVar = "headline"
    scores: Sequence[tuple[str, float | None, dict[str, float] | None]]


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of a row is its heading, with a swatch where it has a colour."""

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    colours: dict[str, str] = field(default_factory=dict)
    """By first cell."""
    prose: bool = False
    """Whether the cells are words and not numbers."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure and the words that stand for it."""

    kind: ClassVar = "figure"
    name: str
    alt: str
    caption: str
    drawing: Drawing
    wide: bool = False
    """Whether it is too wide for a narrow screen, and scrolls there."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    kind: ClassVar = "section"
    name: str
    heading: str
    content: Sequence["Block"]


Block: TypeAlias = Text | Points | Headline | Table | Figure | Section
