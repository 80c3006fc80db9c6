"""Training on Keras' JAX backend, without TensorFlow: one or several devices, and batches by NumPy."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from segpipe.common import devices
from segpipe.common.errors import UserError
from segpipe.common.parallel import in_order
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Batching, Engine
from segpipe.train.params import TrainParams
from segpipe.train.samples import Samples, steps_per_pass
from segpipe.train.sampling import cumulative


class JaxEngine(Engine):
    """Training with JAX. Each batch is split among the devices; results equal those of one device."""

    unsupported = NotImplementedError

    def set_up(self, params: TrainParams) -> str:
        """Split batches among the devices. JAX reads threads and determinism from XLA_FLAGS."""
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
        self, samples: Samples, steps: range, batching: Batching
    ) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Draw order and augmentation with NumPy's random numbers, and augment on the accelerator.

        A thread reads two batches ahead, since a callback waits for the loss of each step.
        """
        batch_size = batching.batch_size
        a_pass = steps_per_pass(samples, batch_size)
        rgb, params, crop = samples.bands == "rgb", batching.augment, batching.crop
        augmented = jax.jit(
            lambda images, masks, draws: augment(images, masks, draws, params, rgb, crop)
        )
        is_shared = _share_out(batch_size)

        def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            number = -1
            for step in steps:
                if step // a_pass != number:
                    number = step // a_pass
                    order, draws = _of_pass(len(samples.names), number, batching)
                first = step % a_pass * batch_size
                part = _own_part(slice(first, first + batch_size), is_shared)
                yield order[part], draws[part]

        def read(part: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
            return *samples.take(part[0]), part[1]

        with ThreadPoolExecutor(1) as thread:
            for drawn in in_order(lambda part: thread.submit(read, part), parts(), 2):
                _share_out(batch_size)  # in each step: a validation may have come in between
                # Tensor cores would round coordinates to a tenth of a pixel.
                with jax.enable_x64(True), jax.default_matmul_precision("highest"):
                    batch = augmented(*drawn)
                yield batch

    def validation_batches(self, samples: Samples, batch_size: int) -> keras.utils.PyDataset:
        """Take the samples in order; on several devices the smaller batch comes first."""
        return _InOrder(samples, batch_size)


class _Shared(keras.distribution.DataParallel):
    """Gives each device an equal share of a batch, or the whole batch where `shares` is False.

    JAX does not check that hosts give equal batches where each gives the whole: `_own_part` makes them
    equal.
    """

    shares = True

    def get_data_layout(self, data_shape: tuple[int, ...]) -> keras.distribution.TensorLayout:
        """Return the layout of a pass's batches; Keras asks for it after it has read the first."""
        if self.shares:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def _share_out(smallest: int) -> bool:
    """Set whether the devices share the batches of a pass, and return it.

    They do if they divide the `smallest` batch; otherwise each host reads all of every batch.
    """
    shared = keras.distribution.distribution()
    if shared is None:
        return False
    shared.shares = smallest % shared.device_mesh.shape[0] == 0
    return shared.shares


def _own_part(batch: slice, is_shared: bool) -> slice:
    """Return the part of a batch that this host reads: an equal share, or all of it."""
    if not is_shared:
        return batch
    size = (batch.stop - batch.start) // jax.process_count()
    begin = batch.start + jax.process_index() * size
    return slice(begin, begin + size)


def _of_pass(count: int, number: int, batching: Batching) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of a pass, by its number, in their order, and the draws for each."""
    random = np.random.Generator(np.random.Philox(key=[batching.seed, number]))
    if batching.probabilities is None:
        order = random.permutation(count)
        return order, random.random((count, DRAWS), np.float32)[order]
    order = np.searchsorted(cumulative(batching.probabilities), random.random(count), side="right")
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
        part = _own_part(batch, _share_out((count - 1) % self.batch_size + 1))
        return self.samples.take(range(count)[part])
