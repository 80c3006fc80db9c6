"""Pages for people from templates; whatever is put into one is text, never markup."""

from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template of `templates/`: HTML escapes all values, Markdown those that pass `md`.

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
    environment.filters |= {"score": _score, "percent": _percent, "md": _markdown}
    return environment.get_template(template).render(context)


def _score(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _markdown(text: object) -> str:
    """Text that neither ends its table cell nor becomes a link, picture or tag."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+!|~$&" else letter for letter in str(text))
