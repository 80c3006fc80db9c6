"""Training on Keras' JAX backend, without TensorFlow: one or several devices, and batches by NumPy."""

import math
from collections.abc import Iterator

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from segpipe.common import devices
from segpipe.common.errors import UserError
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Engine
from segpipe.train.params import AugmentParams, TrainParams
from segpipe.train.samples import Samples, steps_per_pass
from segpipe.train.sampling import cumulative


class JaxEngine(Engine):
    """Training with JAX. A batch is shared out over the devices, and results are those of one device."""

    unsupported = NotImplementedError

    def set_up(self, params: TrainParams) -> str:
        """Share batches out over the devices; threads and determinism JAX reads from XLA_FLAGS."""
        if params.threads or params.deterministic:
            raise UserError(
                "train.threads and train.deterministic need TensorFlow; set them to 0 and false"
            )
        if params.devices != "auto" and params.devices > 1:
            jax.config.update("jax_num_cpu_devices", params.devices)  # used where there is no GPU
        hosts = jax.process_count()
        used = jax.devices()[: None if params.devices == "auto" else hosts * params.devices]
        if len(used) > 1:
            names = keras.distribution.list_devices()[: len(used)]
            keras.distribution.set_distribution(_Shared(devices=names, auto_shard_dataset=False))
        if hosts > 1:  # the first exchange must be met within half a minute, all others may take longer
            multihost_utils.sync_global_devices("the hosts have met")
        of_hosts = f" of {hosts} hosts" if hosts > 1 else ""
        if used[0].platform != "gpu":
            if devices.release_gpus() and len(used) > 1:
                raise UserError(
                    f"train.devices = {params.devices}: this JAX computes on the CPU, not on the GPUs; "
                    "pip install 'jax[cuda13]', or set train.devices to 1"
                )
            return devices.cpu_sentence(len(used)) + of_hosts
        return f"running on {', '.join(device.device_kind for device in used)}{of_hosts}"

    def train_batches(
        self,
        samples: Samples,
        batch_size: int,
        steps: range,
        seed: int,
        params: AugmentParams,
        crop: tuple[int, int] | None = None,
        probabilities: np.ndarray | None = None,
    ) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Draw order and augmentation with NumPy's random numbers, and augment on the accelerator."""
        a_pass = steps_per_pass(samples, batch_size)
        rgb = samples.bands == "rgb"
        augmented = jax.jit(
            lambda images, masks, draws: augment(images, masks, draws, params, rgb, crop)
        )
        number = -1
        for step in steps:
            if step // a_pass != number:
                number = step // a_pass
                order, draws = _of_pass(len(samples.names), seed, number, probabilities)
            first = step % a_pass * batch_size
            some = _own_part(slice(first, first + batch_size), batch_size)
            # Tensor cores would round coordinates to a tenth of a pixel.
            with jax.enable_x64(True), jax.default_matmul_precision("highest"):
                batch = augmented(*samples.take(order[some]), draws[some])
            yield batch

    def validation_batches(self, samples: Samples, batch_size: int) -> keras.utils.PyDataset:
        """Take the samples in order; on several devices the smaller batch comes first."""
        return _InOrder(samples, batch_size)


class _Shared(keras.distribution.DataParallel):
    """Gives each device an equal share of a batch, or the whole batch where `shares` is False.

    JAX does not check that hosts give equal batches where each gives the whole: `_own_part` decides.
    """

    shares = True

    def get_data_layout(self, data_shape: tuple[int, ...]) -> keras.distribution.TensorLayout:
        """Return the layout of a pass's batches; Keras asks for it after it has read the first."""
        if self.shares:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def _own_part(batch: slice, smallest: int) -> slice:
    """Return the part of a batch that this host reads, and set how the devices share the pass.

    Each reads an equal share. If the devices do not divide the `smallest` batch of a pass, each host
    reads all of every batch.
    """
    shared = keras.distribution.distribution()
    if shared is None:
        return batch
    shared.shares = smallest % shared.device_mesh.shape[0] == 0
    if not shared.shares:
        return batch
    size = (batch.stop - batch.start) // jax.process_count()
    begin = batch.start + jax.process_index() * size
    return slice(begin, begin + size)


def _of_pass(
    count: int, seed: int, number: int, probabilities: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of a pass in their order, and the draws for each."""
    random = np.random.Generator(np.random.Philox(key=[seed, number]))
    if probabilities is None:
        order = random.permutation(count)
        return order, random.random((count, DRAWS), np.float32)[order]
    order = np.searchsorted(cumulative(probabilities), random.random(count), side="right")
    return order, random.random((count, DRAWS), np.float32)


class _InOrder(keras.utils.PyDataset):
    def __init__(self, samples: Samples, batch_size: int) -> None:
        super().__init__()
        self.samples, self.batch_size = samples, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.samples.names) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if keras.distribution.distribution():  # Keras lays all batches out as the first
            index = len(self) - 1 - index
        count, begin = len(self.samples.names), index * self.batch_size
        batch = slice(begin, min(count, begin + self.batch_size))
        some = _own_part(batch, (count - 1) % self.batch_size + 1)
        return self.samples.take(range(count)[some])
