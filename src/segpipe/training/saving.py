"""The saved model: a `.keras` file that is the same, to the byte, for the same weights."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from segpipe.files import replaces
from segpipe.modelfile import CARD, write_member


def save_model(model: keras.Model, path: Path, card: dict[str, Any]) -> None:
    """Save a model and its card for inference, atomically: no optimizer, save date or zip timestamps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inference = keras.Model(model.inputs, model.outputs, name=model.name)
    dated = path.with_name(f".{path.stem}.partial.keras")
    try:
        inference.save(dated)
        with replaces(path) as partial:
            _rewrite(dated, partial, card)
    finally:
        dated.unlink(missing_ok=True)


def _rewrite(source: Path, target: Path, card: dict[str, Any]) -> None:
    with zipfile.ZipFile(source) as dated, zipfile.ZipFile(target, "w") as canonical:
        for name in sorted(dated.namelist()):
            content = dated.read(name)
            if name.endswith(".json"):
                content = json.dumps(_timeless(json.loads(content), {})).encode()
            write_member(canonical, name, content)
        write_member(canonical, CARD, json.dumps(card, ensure_ascii=False))


def _timeless(config: Any, numbers: dict[int, int]) -> Any:
    """Keras' description without the save date, and with ids counted where Keras has addresses."""
    if isinstance(config, list):
        return [_timeless(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    timeless = {}
    for key, value in config.items():
        if key == "shared_object_id":
            timeless[key] = numbers.setdefault(value, len(numbers))
        elif key != "date_saved":
            timeless[key] = _timeless(value, numbers)
    return timeless
