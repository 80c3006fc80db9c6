"""One training run, from records and an encoder to the best model and its history."""

import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from segpipe.config import EncoderParams, ModelParams, Params, TrainParams
from segpipe.data import pipeline
from segpipe.files import name_hash
from segpipe.model.encoder import set_trainable, tap
from segpipe.model.losses import cross_entropy
from segpipe.model.unet import unet
from segpipe.pretrained import Backbone
from segpipe.training.callbacks import BestWeights, History, LiveLog, Preview, Previews, open_live_log
from segpipe.training.scores import RunningScores


@dataclass(frozen=True)
class Samples:
    """The fixed validation samples of the previews: images, true masks and names."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Run:
    """What a training run gives: the model of the best epoch, and one row an epoch."""

    model: keras.Model
    history: list[dict[str, float]]
    best_epoch: int
    best_mean_iou: float


def describe_device() -> str:
    """What TensorFlow will run on, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "no GPU found: running on the CPU"
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    return f"running on {', '.join(names)}"


def build_model(
    backbone: Backbone, params: ModelParams, image_size: int, classes: int, seed: int
) -> keras.Model:
    """The U-Net on a backbone, weights drawn from `seed` or pretrained, ready to train."""
    keras.utils.set_random_seed(seed)
    encoder = tap(backbone.build(image_size), params.encoder.layers)
    set_trainable(encoder, is_trainable(params.encoder, backbone), backbone.pretrained)
    return unet(encoder, params.decoder.filters, classes)


def preview_samples(validation: pipeline.Arrays, count: int) -> Samples:
    """The same few samples every time: the first by hash of the name."""
    first = sorted(range(len(validation.names)), key=lambda i: name_hash(validation.names[i]))[:count]
    names = [validation.names[i] for i in first]
    return Samples(validation.images[first], validation.masks[first], names)


def train(
    network: keras.Model,
    data: tuple[pipeline.Arrays, pipeline.Arrays],
    params: TrainParams,
    seed: int,
    classes: int,
    previews: tuple[np.ndarray, Preview],
    log_folder: Path,
) -> Run:
    """Fit a network and return it with the weights of the best validation mean IoU.

    Args:
        network: uint8 images to logits.
        data: training and validation split.
        params: the section `train`.
        seed: decides order and augmentation; the network's weights were drawn before.
        classes: number of classes.
        previews: images to predict, and what draws the predictions.
        log_folder: for the live log, which is no result.

    Raises:
        UserError: the batch is larger than the training split.
    """
    training, validation = data
    batches, steps = pipeline.train_batches(
        training, params.batch_size, params.epochs, seed, params.flip
    )
    optimizer = keras.optimizers.Adam(params.learning_rate)
    # Built before the first step, or TensorFlow traces the step twice: once to create variables.
    optimizer.build(network.trainable_variables)
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    network.compile(
        optimizer,
        loss=cross_entropy,
        metrics=[RunningScores(classes)],
        jit_compile="auto" if on_gpu else False,  # XLA halves this model's speed on a CPU
    )
    history, best = History(), BestWeights()
    images, draw = previews
    with open_live_log(log_folder) as live:
        network.fit(
            batches,
            epochs=params.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the data set has its own order
            verbose=1 if sys.stdout.isatty() else 2,  # a bar for a person, a line an epoch for a log
            validation_data=pipeline.validation_batches(validation, params.batch_size),
            callbacks=[history, Previews(images, params.previews.every, draw), LiveLog(live), best],
        )
    return Run(network, history.rows, best.epoch, best.best)


def resolved(params: Params, backbone: Backbone) -> dict:
    """The params that made the model, with `auto` resolved and no path of this machine."""
    return {
        "seed": params.seed,
        "model": {
            "encoder": {
                "name": backbone.name,
                "alpha": backbone.alpha,
                "pretrained": backbone.pretrained,
                "layers": list(params.model.encoder.layers),
                "trainable": is_trainable(params.model.encoder, backbone),
            },
            "decoder": params.model.decoder.model_dump(mode="json"),
        },
        "train": params.train.model_dump(mode="json"),
    }


def is_trainable(params: EncoderParams, backbone: Backbone) -> bool:
    """What `model.encoder.trainable` comes to: `auto` trains only what is not pretrained."""
    return not backbone.pretrained if params.trainable == "auto" else params.trainable
