"""Saving the model: equal weights give a `.keras` file of equal bytes."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from segpipe.common.files import replaces
from segpipe.common.modelfile import CARD, write_member


def save_model(model: keras.Model, path: Path, card: dict[str, Any]) -> None:
    """Save a model and its card for inference, atomically: no optimizer, save date or zip timestamps.

    The saved model computes in float32, whatever precision it was trained in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    inference = in_float32(model)
    dated = path.with_name(f".{path.stem}.partial.keras")
    try:
        inference.save(dated)
        with replaces(path) as partial:
            _rewrite(dated, partial, card)
    finally:
        dated.unlink(missing_ok=True)


def in_float32(model: keras.Model) -> keras.Model:
    """Return a model without optimizer whose layers compute in float32; the same layers if they do."""
    model = keras.Model(model.inputs, model.outputs, name=model.name)
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def plain(part: keras.Operation) -> keras.Operation:
        if isinstance(part, keras.Sequential):  # Keras' clone would keep its input in 16 bits
            return keras.Sequential([plain(layer) for layer in part.layers], name=part.name)
        if isinstance(part, keras.Model):
            return keras.models.clone_model(part, clone_function=plain)
        precision = {"dtype": "float32"} if isinstance(part, keras.Layer) else {}
        return type(part).from_config(part.get_config() | precision)

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # for the models themselves, which have no config
    try:
        converted: keras.Model = plain(model)
    finally:
        keras.config.set_dtype_policy(policy)
    converted.set_weights(model.get_weights())
    return converted


def _rewrite(source: Path, target: Path, card: dict[str, Any]) -> None:
    with zipfile.ZipFile(source) as dated, zipfile.ZipFile(target, "w") as canonical:
        for name in sorted(dated.namelist()):
            content = dated.read(name)
            if name.endswith(".json"):
                content = json.dumps(_timeless(json.loads(content), {})).encode()
            write_member(canonical, name, content)
        write_member(canonical, CARD, json.dumps(card, ensure_ascii=False))


def _timeless(config: Any, numbers: dict[int, int]) -> Any:
    """Return Keras' description without the save date, its ids counted instead of memory addresses."""
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
