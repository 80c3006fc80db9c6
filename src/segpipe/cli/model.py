"""Commands on a model."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from segpipe.modelfile import read_card


def info(
    model: Annotated[Path, typer.Argument(help="A model that segpipe saved.")] = Path(
        "models/model.keras"
    ),
) -> None:
    """Show what made a model: scores, classes, params, data, libraries (as YAML)."""
    print(yaml.safe_dump(read_card(model), sort_keys=False, allow_unicode=True), end="")
