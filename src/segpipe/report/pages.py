"""Pages for people from templates; whatever is put into one is text, never markup."""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from segpipe.common.files import replaces, write_text
from segpipe.report import grids
from segpipe.report.blocks import Block, Figure, Section
from segpipe.report.words import score, signed, yaml_line

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A figure's PNG."""

    path: Path
    width: int
    height: int

    @property
    def embedded(self) -> str:
        """The PNG as a data address, so that the page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def write_page(title: str, sections: Sequence[Section], folder: Path, markdown: str) -> None:
    """Write sections as `index.html`, as Markdown, and their figures, replacing `folder` as a whole.

    Args:
        title: the page's heading.
        sections: what it holds.
        folder: where to.
        markdown: the name of the Markdown file, which links `figures/`.
    """
    with replaces(folder) as partial:
        (partial / "figures").mkdir(parents=True)
        pictures = {figure.name: _save(figure, partial / "figures") for figure in _figures(sections)}
        context = {"title": title, "sections": sections, "figures": pictures}
        write_text(partial / "index.html", render(_TEMPLATES / "page.html", context))
        write_text(partial / markdown, render(_TEMPLATES / "page.md", context))


def render(template: Path, context: dict[str, Any]) -> str:
    """Fill a template: HTML escapes all values, Markdown those that pass `md`.

    Raises:
        jinja2.UndefinedError: the template names what the context lacks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": score,
        "signed": signed,
        "yaml": yaml_line,
        "md": _markdown,
    }
    return environment.get_template(template.name).render(context)


def _figures(blocks: Iterable[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Section):
            yield from _figures(block.content)


def _save(figure: Figure, folder: Path) -> Picture:
    path = folder / f"{figure.name}.png"
    grids.save(figure.drawing, path)
    with Image.open(path) as picture:
        return Picture(path, *picture.size)


def _markdown(text: object) -> str:
    """Text that neither ends its line or table cell nor becomes a link, picture or tag."""
    line = re.sub(r"\s", " ", str(text))
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+!|~$&" else letter for letter in line)
