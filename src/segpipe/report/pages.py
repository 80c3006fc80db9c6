"""Pages made of sections, from templates; values put into them are text, never markup."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from matplotlib.figure import Figure as Drawing
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.common.files import replaces, target_of, write_text
from segpipe.report import grids
from segpipe.report.render import render

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Headline:
    """Scores in large type: label, score, and its interval if it has one."""

    kind: ClassVar = "headline"
    scores: Sequence[tuple[str, float | None, dict[str, float] | None]]


@dataclass(frozen=True)
class Table:
    """Rows of text. The first cell of a row is its heading, with a swatch if it has a colour."""

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    colours: dict[str, str] = field(default_factory=dict)  # by first cell
    prose: bool = False  # the cells hold words, not numbers


@dataclass(frozen=True)
class Figure:
    """A drawing and its description for people who cannot see it."""

    kind: ClassVar = "figure"
    name: str
    alt: str
    caption: str
    drawing: Drawing
    wide: bool = False  # it scrolls on a narrow screen, where it would be too small


@dataclass(frozen=True)
class Section:
    """A heading with its content."""

    kind: ClassVar = "section"
    name: str
    heading: str
    content: Sequence["Block"]


Block: TypeAlias = str | list[str] | Headline | Table | Figure | Section
"""A string is a paragraph, a list of strings is a bulleted list."""


def write_page(title: str, sections: Sequence[Section], folder: Path, markdown: str) -> None:
    """Write `index.html`, the same as a Markdown file, and `figures/`, replacing `folder` as a whole.

    A link to a folder stays, and its target is replaced.
    """
    with replaces(target_of(folder)) as partial:
        (partial / "figures").mkdir(parents=True)
        pictures = {figure.name: _save(figure, partial / "figures") for figure in _figures(sections)}
        context = {"title": title, "sections": sections, "figures": pictures}
        write_text(partial / "index.html", render(TEMPLATES / "page.html", context))
        write_text(partial / markdown, render(TEMPLATES / "page.md", context))


def require_own(folder: Path, markdown: str, content: str) -> None:
    """Raise UserError where a page would replace a folder of something other than `content`."""
    if not (folder / markdown).is_file() and (folder.is_file() or any(folder.glob("*"))):
        raise UserError(
            f"{folder} holds something other than {content}; give another --out, which is replaced"
        )
    if folder.name in ("", ".."):
        raise UserError(f"{folder}: no name; give a folder by its name, such as logs/page, for --out")


def require_own_table(table: Path, begins: tuple[bytes, ...], content: str) -> None:
    """Raise UserError where a table would replace something other than `content`, by how that begins."""
    if table.exists() and not (table.is_file() and table.read_bytes().startswith(begins)):
        raise UserError(
            f"{table} is no table of {content}, and would be overwritten; choose another --out, or "
            "remove that file"
        )


def _figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Section):
            yield from _figures(block.content)


def _save(figure: Figure, folder: Path) -> dict[str, Any]:
    """Save a PNG; return its size, and the PNG as a data address, so that a page needs no other file.

    The size is the page's; a drawing with more dots an inch than others has more pixels.
    """
    path = folder / f"{figure.name}.png"
    grids.save(figure.drawing, path)
    with Image.open(path) as picture:
        density = figure.drawing.dpi / grids.STYLE["figure.dpi"]
        width, height = (round(edge / density) for edge in picture.size)
    address = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"width": width, "height": height, "embedded": address}
