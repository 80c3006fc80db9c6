"""Pages for people from templates; whatever is put into one is text, never markup."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2

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
        "score": _score,
        "signed": _signed,
        "percent": _percent,
        "yaml": _yaml,
        "md": _markdown,
    }
    return environment.get_template(template).render(context)


def _score(value: Any) -> str:
    if value is None:
        return "absent"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _signed(difference: float | None) -> str:
    if difference is None:
        return ""
    return f"{difference:+.4f}" if isinstance(difference, float) else f"{difference:+d}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _yaml(value: Any) -> str:
    """A param as `params.yaml` says it, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _markdown(text: object) -> str:
    """Text that neither ends its line or table cell nor becomes a link, picture or tag."""
    line = re.sub(r"\s", " ", str(text))
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()<>#+!|~$&" else letter for letter in line)
