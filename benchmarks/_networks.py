"""Networks as the stage `train` makes them, with random weights: what is computed is the same."""

import sys
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe import recipes
from segpipe.config import Params, class_table, load_params
from segpipe.model.encoder import backbone, depths
from segpipe.model.losses import segmentation_loss
from segpipe.nested import changed
from segpipe.network import assemble, is_trainable
from segpipe.pretrained import Backbone
from segpipe.training.loop import backend
from segpipe.training.optimizer import build_optimizer
from segpipe.training.phases import phases
from segpipe.training.scores import RunningScores

ROOT = Path(__file__).resolve().parents[1]


def of_recipe(name: str) -> Params:
    """The committed params, with a recipe's."""
    committed = load_params(ROOT / "params.yaml").model_dump(mode="json")
    return Params.model_validate(changed(committed, recipes.settings(name, ROOT / "experiments")))


def network(params: Params, size: tuple[int, int] | None = None) -> keras.Model:
    """The network of some params, its encoder as if it was pretrained.

    Args:
        params: the encoder and the decoder, and how many classes.
        size: height and width of the input; by default the params'.
    """
    encoder = params.model.encoder
    inner = backbone(encoder.name, size or params.data.size, encoder.alpha)
    return assemble(_source(params), inner, params.model, len(class_table(params.data)))


def learner(params: Params, size: tuple[int, int] | None = None) -> keras.Model:
    """What `train` trains in the network's place, compiled; no class weights, no deep supervision."""
    train, made = params.train, network(params, size)
    of_encoder = depths(made.get_layer("encoder"))
    first, *_ = phases(train, is_trainable(params.model.encoder, _source(params)))
    trained = backend().fused(made)
    trained.compile(
        build_optimizer(trained.trainable_variables, of_encoder, train, first, steps=100),
        loss=segmentation_loss(train.loss),
        metrics=[RunningScores(len(class_table(params.data)))],
        jit_compile=backend().jit_compile(train.jit),
    )
    return trained


def _source(params: Params) -> Backbone:
    return Backbone(params.model.encoder.name, params.model.encoder.alpha, Path("random"))
