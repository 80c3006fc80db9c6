"""Training on Keras' JAX backend, without TensorFlow: one or several devices, and batches by NumPy."""

import math
from collections.abc import Iterator

import jax
import keras
import numpy as np

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
        used = jax.devices()[: None if params.devices == "auto" else params.devices]
        if len(used) > 1:
            names = keras.distribution.list_devices()[: len(used)]
            keras.distribution.set_distribution(_Shared(devices=names, auto_shard_dataset=False))
        if used[0].platform != "gpu":
            if devices.let_go() and len(used) > 1:
                raise UserError(
                    f"train.devices = {params.devices}: this JAX computes on the CPU, not on the GPUs; "
                    "pip install 'jax[cuda13]', or set train.devices to 1"
                )
            return devices.on_cpu(len(used))
        return f"running on {', '.join(device.device_kind for device in used)}"

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
            some = slice(first, first + batch_size)
            # Tensor cores would round coordinates to a tenth of a pixel.
            with jax.enable_x64(True), jax.default_matmul_precision("highest"):
                batch = augmented(*samples.take(order[some]), draws[some])
            yield batch

    def validation_batches(self, samples: Samples, batch_size: int) -> keras.utils.PyDataset:
        """Take the samples in order; on several devices the smaller batch comes first."""
        return _InOrder(samples, batch_size)


class _Shared(keras.distribution.DataParallel):
    """Gives each device an equal share of a batch, or the whole batch if they do not divide it."""

    def get_data_layout(self, data_shape: tuple[int, ...]) -> keras.distribution.TensorLayout:
        """Return the layout of a batch."""
        if data_shape[0] % self.device_mesh.shape[0] == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


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
        some = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.samples.take(range(len(self.samples.names))[some])
