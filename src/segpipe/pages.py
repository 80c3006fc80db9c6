"""Pages for people from templates; whatever is put into one is text, never markup."""

import re
from pathlib import Path
from typing import Any

import jinja2

from segpipe.words import percent, score, signed, yaml_line

HERE = Path(__file__).parent
TEMPLATES = [HERE / "templates", HERE / "review" / "templates"]


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template: HTML escapes all values, Markdown those that pass `md`.

    Raises:
        jinja2.UndefinedError: the template names what the context lacks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": score,
        "signed": signed,
        "percent": percent,
        "yaml": yaml_line,
        "md": _markdown,
    }
    return environment.get_template(template).render(context)


def _markdown(text: object) -> str:
    """Text that neither ends its line or table cell nor becomes a link, picture or tag."""
    line = re.sub(r"\s", " ", str(text))
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+!|~$&" else letter for letter in line)
