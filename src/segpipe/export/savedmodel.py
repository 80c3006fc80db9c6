"""TensorFlow's SavedModel: a folder that holds the graph and its weights."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segpipe.common.modelfile import SAVED_MODEL_CARD
from segpipe.common.quiet import quiet
from segpipe.evaluate.masks import Predict
from segpipe.export.signature import CONFIDENCE, LOGITS, MASK, Graph, Images, Run, of_network


def write(model: keras.Model, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a model that takes any number of images, and its card beside the graph."""
    write_graph(of_network(model), card, images, path)


def write_graph(graph: Graph, card: dict[str, Any], images: Images, path: Path) -> None:
    """Write a graph, and a card beside it."""
    module = tf.Module()
    module.weights = [variable.value for variable in graph.network.variables]
    module.serve = graph.traced()
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


def load_whole(path: Path, threads: int) -> Run:
    """Load a whole predictor, as `load` does."""
    loaded = tf.saved_model.load(path)

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = loaded.serve(images)
        return outputs[MASK].numpy(), outputs[CONFIDENCE].numpy()

    return run
