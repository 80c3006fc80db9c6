"""Training on Keras' TensorFlow backend: its devices, and batches by tf.data.

Several devices are a `MirroredStrategy`, which holds from `prepare` on. Keras has each of them take the
loss, BatchNorm's statistics and the gradients' norm of its share of a batch; here they are the batch's.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from segpipe import devices
from segpipe.config import TrainParams
from segpipe.data import pipeline
from segpipe.data.arrays import Arrays
from segpipe.data.pipeline import train_batches
from segpipe.errors import UserError
from segpipe.model.losses import Loss

__all__ = [
    "Unsupported",
    "jit_compile",
    "over_devices",
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
        _use(number, params, "GPU" if gpus else "CPU")
    if not gpus:
        # Grappler lets large sums of gradients add up in whatever order their parts come: to other bits
        # each time. Op determinism does not keep it from that. Speed is the same without it.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        devices.let_go()  # there may be one that this TensorFlow lacks the libraries for
        return devices.on_cpu(number)
    used = gpus[:number]
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in used]
    return f"running on {', '.join(names)}"


def _use(number: int, params: TrainParams, kind: str) -> None:
    """Have all that is made from now on live on several devices."""
    for key, refused, instead in (
        ("precision", params.precision == "float16", "bfloat16"),  # Keras scales the loss of one device
        ("jit", params.jit is True, "auto"),
        ("steps_per_execution", params.steps_per_execution > 1, "1"),
    ):
        if refused:
            raise UserError(
                f"train.{key} = {getattr(params, key)} works with TensorFlow on one device, and not "
                f"on {number}; set it to {instead}, train.backend to jax or train.devices to 1"
            )
    if kind == "CPU":
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(cpu, parts)
    strategy = tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(number)])
    tf.distribute.experimental_set_strategy(strategy)


def _number() -> int:
    """On how many devices training runs."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def jit_compile(wanted: bool | str) -> bool | str:
    """Keras' `jit_compile` for `train.jit`: XLA halves this model's speed on a CPU."""
    if wanted == "auto" and not tf.config.list_physical_devices("GPU"):
        return False
    return wanted


class _SumsFirst:
    """Mixed into an optimizer: gradients are summed over devices before they are clipped, not after."""

    def apply(self, grads: list[tf.Tensor], trainable_variables: Any = None) -> None:
        """Sum, then do what the optimizer does."""
        context = tf.distribute.get_replica_context()
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        super().apply(summed, trainable_variables)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: list) -> list:
        return grads_and_vars


def over_devices(optimizer: keras.Optimizer, loss: Loss) -> tuple[keras.Optimizer, Loss]:
    """What has several devices train as one does: an optimizer and a loss that know of all of them.

    The loss of a share is that of the whole batch, divided by the number of devices, over which all is
    summed. No mean of the shares' own would do: the pixels that count lie unevenly among them, and Dice
    and Lovász are no sums over pixels.
    """
    number = _number()
    if number == 1:
        return optimizer, loss
    optimizer.__class__ = type("SumsFirst", (_SumsFirst, type(optimizer)), {})
    return optimizer, lambda mask, logits: loss(_of_all(mask), _of_all(logits)) / number


def _of_all(share: tf.Tensor) -> tf.Tensor:
    """The whole batch, of each device's share of it."""
    context = tf.distribute.get_replica_context()
    if context is None:  # Keras looks at shapes alone
        return share
    gathered = context.all_gather(tf.cast(share, tf.float32), 0)  # which knows no uint8
    return tf.ensure_shape(gathered, [None, *share.shape[1:]])


@contextlib.contextmanager
def statistics_over_devices(learner: keras.Model) -> Iterator[None]:
    """Have BatchNorm see the batches of all devices for a while. A saved layer must not say so."""
    norms = [n for n in learner._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.synchronized = _number() > 1
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronized = False


def validation_batches(
    arrays: Arrays, batch_size: int
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Every sample once, in order; the last batch may be smaller.

    Several devices that divide the samples get equal shares of each batch. Others get all of it, each:
    an empty share stops TensorFlow on a CPU, and what is counted as often as all else changes no score.
    With several all come again and again, because Keras asks for one after the last.
    """
    batches, number = pipeline.validation_batches(arrays, batch_size), _number()
    if number == 1:
        return batches

    def shares(images: tf.Tensor, masks: tf.Tensor) -> tf.data.Dataset:
        samples = tf.data.Dataset.from_tensor_slices((images, masks))
        size = tf.shape(images, tf.int64)[0]
        if len(arrays.names) % number:
            return samples.batch(size).repeat(number)
        return samples.batch(size // number)

    shared = batches.flat_map(shares).repeat()
    return tf.distribute.get_strategy().distribute_datasets_from_function(lambda context: shared)
