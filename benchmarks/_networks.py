"""Networks as the stage `train` makes them, with random weights, which change no speed."""

import sys
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common.nested import changed
from segpipe.model.backbone import backbone, depths
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble, is_trainable
from segpipe.params import recipes
from segpipe.params.load import Params
from segpipe.train.engine import current_engine
from segpipe.train.losses import segmentation_loss
from segpipe.train.optimizer import build_optimizer, phases
from segpipe.train.scores import RunningScores

ROOT = Path(__file__).resolve().parents[1]
SIZE = 128


def of_recipe(name: str) -> Params:
    """Return the params of a recipe, at the size that all benchmarks have: the tutorial's."""
    values = recipes.settings(name, ROOT / "experiments") | {"data.image_size": SIZE}
    return Params.model_validate(changed(recipes.committed(ROOT / "params.yaml"), values))


def network(params: Params, size: tuple[int, int] | None = None) -> keras.Model:
    """Return the network of some params, its encoder treated as pretrained.

    Args:
        params: they give encoder, decoder and number of classes.
        size: height and width of the input; by default the params'.
    """
    encoder = params.model.encoder
    inner = backbone(encoder.name, size or params.data.image_size, encoder.alpha)
    return assemble(_source(params), inner, params.model, len(params.data.classes))


def learner(params: Params, size: tuple[int, int] | None = None) -> keras.Model:
    """Return the compiled model that `train` fits, without class weights."""
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
