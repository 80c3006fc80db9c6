"""The saved model's file, seen from outside: a `.keras` archive that also holds `segpipe.json`.

That member is the model's card: what made it, and what it is for. Reading it takes no Keras.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import segpipe
from segpipe.errors import UserError, brief

CARD = "segpipe.json"
CARD_FORMAT = 2
"""Counts up when what the card says, or how the network wants its images, changes."""


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model.

    Raises:
        UserError: there is no such file, segpipe did not save it, or another version of it did.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(CARD))
        saved_by, found = card["segpipe"], card.get("format", 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes models/model.keras") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a model that segpipe saved ({brief(error)})") from None
    if found != CARD_FORMAT:
        raise UserError(
            f"{path}: saved by segpipe {saved_by} with a card of format {found}, and this is segpipe "
            f"{segpipe.__version__}, which reads format {CARD_FORMAT}; train it again, or use it with "
            f"segpipe {saved_by}"
        )
    return card
