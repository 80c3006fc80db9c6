"""Fills templates; apart from the pages, since matplotlib takes a second and a check draws nothing."""

from pathlib import Path
from typing import Any

import jinja2

from segpipe.common.markdown import escaped
from segpipe.common.words import score
from segpipe.report.words import signed, yaml_line


def render(template: Path, context: dict[str, Any]) -> str:
    """Fill a template. HTML escapes every value, Markdown those that pass the filter `md`.

    Raises jinja2.UndefinedError where the context lacks a name of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"score": score, "signed": signed, "yaml": yaml_line, "md": escaped}
    return environment.get_template(template.name).render(context)
