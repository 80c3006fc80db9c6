"""Several devices with TensorFlow: a `MirroredStrategy`, which holds from `use` on.

Keras has each of them take the loss, BatchNorm's statistics and the gradients' norm of its share of a
batch; here they are the batch's.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from segpipe.common.errors import UserError
from segpipe.train import pipeline
from segpipe.train.arrays import Samples
from segpipe.train.losses import Loss
from segpipe.train.params import TrainParams


def use(count: int, params: TrainParams, kind: str) -> None:
    """Have all that is made from now on live on several devices."""
    for key, refused, instead in (
        ("precision", params.precision == "float16", "bfloat16"),  # Keras scales the loss of one device
        ("jit", params.jit is True, "auto"),
        ("steps_per_execution", params.steps_per_execution > 1, "1"),
    ):
        if refused:
            raise UserError(
                f"train.{key} = {getattr(params, key)} works with TensorFlow on one device, and not "
                f"on {count}; set it to {instead}, train.backend to jax or train.devices to 1"
            )
    if kind == "CPU":
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    strategy = tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)])
    tf.distribute.experimental_set_strategy(strategy)


def number() -> int:
    """On how many devices training runs."""
    return tf.distribute.get_strategy().num_replicas_in_sync


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
    count = number()
    if count == 1:
        return optimizer, loss
    optimizer.__class__ = type("SumsFirst", (_SumsFirst, type(optimizer)), {})
    return optimizer, lambda mask, logits: loss(_of_all(mask), _of_all(logits)) / count


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
        norm.synchronized = number() > 1
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronized = False


def validation_batches(
    samples: Samples, batch_size: int
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Every sample once, in order; the last batch may be smaller.

    Several devices that divide the samples get equal shares of each batch. Others get all of it, each:
    an empty share stops TensorFlow on a CPU, and what is counted as often as all else changes no score.
    With several all come again and again, because Keras asks for one after the last.
    """
    batches, count = pipeline.validation_batches(samples, batch_size), number()
    if count == 1:
        return batches

    def shares(images: tf.Tensor, masks: tf.Tensor) -> tf.data.Dataset:
        batch = tf.data.Dataset.from_tensor_slices((images, masks))
        size = tf.shape(images, tf.int64)[0]
        if len(samples.names) % count:
            return batch.batch(size).repeat(count)
        return batch.batch(size // count)

    shared = batches.flat_map(shares).repeat()
    return tf.distribute.get_strategy().distribute_datasets_from_function(lambda context: shared)
