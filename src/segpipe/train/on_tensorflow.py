"""Training on Keras' TensorFlow backend: its devices, and batches by tf.data."""

import keras
import tensorflow as tf

from segpipe.common import devices
from segpipe.train import fusion, mirrored
from segpipe.train.mirrored import over_devices, statistics_over_devices, validation_batches
from segpipe.train.params import TrainParams
from segpipe.train.pipeline import own_errors, train_batches

__all__ = [
    "Unsupported",
    "fused",
    "jit_compile",
    "over_devices",
    "own_errors",
    "prepare",
    "statistics_over_devices",
    "train_batches",
    "validation_batches",
]

Unsupported = tf.errors.UnimplementedError
"""What an operation raises that cannot be deterministic."""


def prepare(params: TrainParams) -> str:
    """Have TensorFlow compute as the params ask, before it computes anything; say on what, in words.

    Raises:
        UserError: the params ask for what several devices cannot do.
    """
    if params.threads:
        tf.config.threading.set_intra_op_parallelism_threads(params.threads)
    if params.deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    number = max(len(gpus), 1) if params.devices == "auto" else params.devices
    if number > 1:
        mirrored.use(number, params, "GPU" if gpus else "CPU")
    if not gpus:
        # Grappler lets large sums of gradients add up in whatever order their parts come: to other bits
        # each time. Op determinism does not keep it from that. Speed is the same without it.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        devices.let_go()  # there may be one that this TensorFlow lacks the libraries for
        return devices.on_cpu(number)
    used = gpus[:number]
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in used]
    return f"running on {', '.join(names)}"


def jit_compile(wanted: bool | str) -> bool | str:
    """Keras' `jit_compile` for `train.jit`: XLA halves this model's speed on a CPU."""
    if wanted == "auto" and not tf.config.list_physical_devices("GPU"):
        return False
    return wanted


def fused(network: keras.Model) -> keras.Model:
    """What to train in a network's place: on a CPU in float32 the same, but faster."""
    on_cpu = not tf.config.list_physical_devices("GPU")
    float32 = keras.config.dtype_policy().name == "float32"
    return fusion.fused(network) if on_cpu and float32 and mirrored.number() == 1 else network
