"""TensorFlow's SavedModel: a folder that holds the graph and its weights."""

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from segpipe.common.modelfile import SAVED_MODEL_CARD
from segpipe.common.quiet import quiet
from segpipe.evaluate.masks import Predict
from segpipe.export.signature import LOGITS, Images, named, traced


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that takes any number of images, and its card beside the graph."""
    network, module = named(model), tf.Module()
    module.weights = [variable.value for variable in network.variables]
    module.serve = traced(network)
    with quiet():  # Keras' own export would save each weight twice
        tf.saved_model.save(module, path, {"serving_default": module.serve})
    (path / "fingerprint.pb").unlink()  # a random number that no loader needs
    card_path = path / SAVED_MODEL_CARD
    card_path.parent.mkdir()
    card_path.write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8", newline="\n")


def load(path: Path, threads: int) -> Predict:
    """Load an export; TensorFlow uses all cores, whatever `threads` says."""
    loaded = tf.saved_model.load(path)
    return lambda images: loaded.serve(images)[LOGITS].numpy()
