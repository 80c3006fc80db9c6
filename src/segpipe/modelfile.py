"""The saved model's file, seen from outside: a `.keras` archive that also holds `segpipe.json`.

That member is the model's card: what made it, and what it is for. Reading it takes no Keras.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from segpipe.errors import UserError, brief

CARD = "segpipe.json"


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model.

    Raises:
        UserError: there is no such file, or segpipe did not save it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(CARD))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes models/model.keras") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a model that segpipe saved ({brief(error)})") from None
