"""The optimizer that the params ask for."""

import keras

from segpipe.config import TrainParams


def build_optimizer(network: keras.Model, params: TrainParams, steps: int) -> keras.Optimizer:
    """An optimizer with its slots made, for a run of `params.epochs` epochs of `steps` steps.

    Weight decay is decoupled (https://arxiv.org/abs/1711.05101) and leaves out biases and BatchNorm's
    scales and shifts. Clipping is by the norm of all gradients together.
    """
    settings = {
        "learning_rate": learning_rate(params, steps),
        "weight_decay": params.weight_decay or None,  # Keras multiplies every weight by 1 for a 0
        "global_clipnorm": params.clip_norm or None,
        "use_ema": params.ema > 0,
        "ema_momentum": params.ema,
    }
    if params.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **settings)
    else:  # Keras decouples Adam's weight decay, too, which makes it AdamW
        optimizer = keras.optimizers.Adam(**settings)
    if params.weight_decay:
        vectors = [v for v in network.trainable_variables if len(v.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=vectors)
    # Built before the first step, or TensorFlow traces the step twice: once to create variables.
    optimizer.build(network.trainable_variables)
    return optimizer


def learning_rate(params: TrainParams, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate by step: up from 0 in a straight line, then constant or down to 0 by cosine.

    Source of the cosine: https://arxiv.org/abs/1608.03983
    """
    warmup = params.warmup_epochs * steps
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else params.learning_rate,
        decay_steps=params.epochs * steps - warmup,
        alpha=0.0 if params.schedule == "cosine" else 1.0,
        warmup_target=params.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
