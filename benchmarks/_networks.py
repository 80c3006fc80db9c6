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
    """The network of some params, its encoder as if it was pretrained, compiled; without class weights.

    Args:
        params: what is trained and how.
        size: height and width of the input; by default the params'.
    """
    encoder, train = params.model.encoder, params.train
    source = Backbone(encoder.name, encoder.alpha, Path("random"))
    inner = backbone(encoder.name, size or params.data.size, encoder.alpha)
    classes = len(class_table(params.data))
    made = assemble(source, inner, params.model, classes)
    first, *_ = phases(train, is_trainable(encoder, source))
    variables = made.trainable_variables
    made.compile(
        build_optimizer(variables, depths(made.get_layer("encoder")), train, first, steps=100),
        loss=segmentation_loss(train.loss),
        metrics=[RunningScores(classes)],
        jit_compile=backend().jit_compile(train.jit),
    )
    return made
