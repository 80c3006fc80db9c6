"""The saved model: a `.keras` file that is the same, to the byte, for the same weights."""

import json
import zipfile
from pathlib import Path

import keras

from segpipe.files import replaces

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold


def save_model(model: keras.Model, path: Path) -> None:
    """Save a model for inference, atomically: without optimizer, save date and zip timestamps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inference = keras.Model(model.inputs, model.outputs, name=model.name)
    dated = path.with_name(f".{path.stem}.dated.keras")
    try:
        inference.save(dated)
        with replaces(path) as partial:
            _rewrite(dated, partial)
    finally:
        dated.unlink(missing_ok=True)


def _rewrite(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as dated, zipfile.ZipFile(target, "w") as canonical:
        for name in sorted(dated.namelist()):
            content = dated.read(name)
            if name == "metadata.json":
                metadata = json.loads(content)
                del metadata["date_saved"]
                content = json.dumps(metadata).encode()
            canonical.writestr(zipfile.ZipInfo(name, _EPOCH), content)
