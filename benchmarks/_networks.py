"""Networks as the stage `train` makes them, with random weights: what is computed is the same."""

import sys
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common.nested import changed
from segpipe.model.backbone import backbone, depths
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble, is_trainable
from segpipe.params import recipes
from segpipe.params.load import Params, load_params
from segpipe.train.engine import current_engine
from segpipe.train.losses import segmentation_loss
from segpipe.train.optimizer import build_optimizer, phases
from segpipe.train.scores import RunningScores

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
    inner = backbone(encoder.name, size or params.data.image_size, encoder.alpha)
    return assemble(_source(params), inner, params.model, len(params.data.classes))


def learner(params: Params, size: tuple[int, int] | None = None) -> keras.Model:
    """What `train` trains in the network's place, compiled; no class weights."""
    train, made = params.train, network(params, size)
    of_encoder = depths(made.get_layer("encoder"))
    first, *_ = phases(train, is_trainable(params.model.encoder, _source(params)))
    engine = current_engine()
    trained = engine.fused(made)
    trained.compile(
        build_optimizer(trained.trainable_variables, of_encoder, train, first, steps=100),
        loss=segmentation_loss(train.loss),
        metrics=[RunningScores(len(params.data.classes))],
        jit_compile=engine.jit_compile(train.jit),
    )
    return trained


def _source(params: Params) -> Backbone:
    return Backbone(params.model.encoder.name, params.model.encoder.alpha, Path("random"))
