"""Training on Keras' JAX backend, which needs no TensorFlow: its devices, and batches by NumPy.

Over several devices JAX computes as over one: a batch lies on all of them, and the results are the same.
"""

import contextlib
import math
from collections.abc import Iterator

import jax
import keras
import numpy as np

from segpipe.common import devices
from segpipe.common.errors import UserError
from segpipe.train.arrays import Samples, steps_per_pass
from segpipe.train.augment import DRAWS, augment
from segpipe.train.losses import Loss
from segpipe.train.params import AugmentParams, TrainParams

Unsupported = NotImplementedError
"""What an operation raises that cannot be deterministic."""

own_errors = contextlib.nullcontext
"""JAX lets through what reading samples raises."""


def prepare(params: TrainParams) -> str:
    """Say on what JAX computes, in words; it takes no other params.

    Raises:
        UserError: `train.threads` or `train.deterministic` is set, which JAX reads from XLA_FLAGS.
    """
    if params.threads or params.deterministic:
        raise UserError(
            "train.threads and train.deterministic work with TensorFlow alone; set them to 0 and false"
        )
    if params.devices != "auto" and params.devices > 1:
        jax.config.update("jax_num_cpu_devices", params.devices)  # a GPU comes before all of them
    used = jax.devices()[: None if params.devices == "auto" else params.devices]
    if len(used) > 1:
        names = keras.distribution.list_devices()[: len(used)]
        keras.distribution.set_distribution(_Shared(devices=names, auto_shard_dataset=False))
    if used[0].platform != "gpu":
        devices.let_go()
        return devices.on_cpu(len(used))
    return f"running on {', '.join(device.device_kind for device in used)}"


class _Shared(keras.distribution.DataParallel):
    """Equal shares of a batch, or all of it to each device where there are none."""

    def get_data_layout(self, data_shape: tuple[int, ...]) -> keras.distribution.TensorLayout:
        """Of a batch, and of those that follow it."""
        if data_shape[0] % self.device_mesh.shape[0] == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def jit_compile(wanted: bool | str) -> bool | str:
    """Keras' `jit_compile` for `train.jit`."""
    return wanted


def fused(network: keras.Model) -> keras.Model:
    """What to train in a network's place: itself, as XLA fuses what can be."""
    return network


def over_devices(optimizer: keras.Optimizer, loss: Loss) -> tuple[keras.Optimizer, Loss]:
    """What has several devices train as one does: with JAX, any optimizer and loss."""
    return optimizer, loss


def statistics_over_devices(learner: keras.Model) -> contextlib.nullcontext:
    """Have BatchNorm see the batches of all devices for a while: with JAX it always does."""
    return contextlib.nullcontext()


def train_batches(
    samples: Samples, batch_size: int, steps: range, seed: int, params: AugmentParams
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """As `segpipe.train.pipeline.train_batches`, but augmented on the accelerator.

    The random numbers are others.
    """
    a_pass = steps_per_pass(samples, batch_size)
    changed = jax.jit(lambda images, masks, draws: augment(images, masks, draws, params))
    number = -1
    for step in steps:
        if step // a_pass != number:
            number = step // a_pass
            order, draws = _of_pass(len(samples.names), seed, number)
        chosen = order[step % a_pass * batch_size :][:batch_size]
        # Tensor cores would round coordinates to a tenth of a pixel.
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            batch = changed(*samples.take(chosen), draws[chosen])
        yield batch


def _of_pass(count: int, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of a pass, and the draws of its samples."""
    random = np.random.Generator(np.random.Philox(key=[seed, number]))
    return random.permutation(count), random.random((count, DRAWS), np.float32)


def validation_batches(samples: Samples, batch_size: int) -> keras.utils.PyDataset:
    """Every sample once, in order; the last batch may be smaller.

    With several devices it comes first: Keras lays all batches out as the first.
    """
    return _InOrder(samples, batch_size)


class _InOrder(keras.utils.PyDataset):
    def __init__(self, samples: Samples, batch_size: int) -> None:
        super().__init__()
        self.samples, self.batch_size = samples, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.samples.names) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if keras.distribution.distribution():
            index = len(self) - 1 - index
        some = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.samples.take(range(len(self.samples.names))[some])
