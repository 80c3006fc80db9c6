"""Training on Keras' TensorFlow backend: one device, and batches by tf.data."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from segpipe.common import devices
from segpipe.common.errors import UserError
from segpipe.train import fusion
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Batching, Engine
from segpipe.train.params import NO_HOSTS, TrainParams
from segpipe.train.samples import Samples, steps_per_pass
from segpipe.train.sampling import cumulative


class TensorFlowEngine(Engine):
    """Training with TensorFlow."""

    unsupported = tf.errors.UnimplementedError

    def __init__(self) -> None:
        self._raised: list[Exception] = []  # by reading samples

    def gpus(self, params: TrainParams) -> int:
        """Return 1: only JAX trains on several devices or hosts."""
        if params.hosts != 1:
            raise UserError(
                f"train.hosts = {params.hosts} {NO_HOSTS}; set train.backend to jax, or train.hosts to 1"
            )
        if params.devices not in ("auto", 1):
            raise UserError(
                f"train.devices = {params.devices}, but TensorFlow trains on one device; set "
                "train.backend to jax (pip install -e '.[jax]'), or train.devices to 1"
            )
        return 1

    def set_up(self, params: TrainParams) -> str:
        """Set threads and determinism."""
        if params.threads:
            tf.config.threading.set_intra_op_parallelism_threads(params.threads)
        if params.deterministic:
            tf.config.experimental.enable_op_determinism()
        if gpus := tf.config.list_physical_devices("GPU"):
            tf.zeros(())  # makes the device now, while its messages are held back
            name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
            return f"running on {name}"
        # Grappler lets the parts of large gradient sums add up in any order, even with op determinism:
        # bits would differ from run to run. Speed is the same without it.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        devices.release_gpus()  # there may be one that this TensorFlow lacks the libraries for
        return devices.cpu_sentence(1)

    def jit_compile(self, wanted: bool | str) -> bool | str:
        """Leave XLA off on a CPU, where it halves the speed."""
        if wanted == "auto" and not tf.config.list_physical_devices("GPU"):
            return False
        return wanted

    def fused(self, network: keras.Model) -> keras.Model:
        """Fuse layers on a CPU in float32."""
        on_cpu = not tf.config.list_physical_devices("GPU")
        float32 = keras.config.dtype_policy().name == "float32"
        return fusion.fused(network) if on_cpu and float32 else network

    @contextlib.contextmanager
    def raises_own_errors(self) -> Iterator[None]:
        """Raise what reading samples raised in this block, and not the error TensorFlow makes of it."""
        self._raised.clear()
        try:
            yield
        except tf.errors.OpError:
            if self._raised:
                raise self._raised[0] from None
            raise

    def train_batches(self, samples: Samples, steps: range, batching: Batching) -> tf.data.Dataset:
        """Draw order and augmentation with TensorFlow's stateless random numbers."""
        batch_size, probabilities = batching.batch_size, batching.probabilities
        count, a_pass = len(samples.names), steps_per_pass(samples, batch_size)
        read, rgb = self.reader(samples), samples.bands == "rgb"
        bounds = None if probabilities is None else cumulative(probabilities)

        def of_pass(number: tf.Tensor) -> tf.data.Dataset:
            key = tf.stack([tf.constant(batching.seed, tf.int64), number])
            order_key, draw_key = tf.unstack(tf.random.split(tf.cast(key, tf.int32), 2))
            draws = tf.random.stateless_uniform([count, DRAWS], draw_key)
            if bounds is None:
                order = tf.random.experimental.stateless_shuffle(tf.range(count), order_key)
                draws = tf.gather(draws, order)
            else:
                values = tf.random.stateless_uniform([count], order_key, dtype=tf.float64)
                order = tf.searchsorted(bounds, values, side="right")
            numbers = tf.data.Dataset.from_tensor_slices((order, draws))
            return numbers.batch(batch_size, drop_remainder=True)

        def augmented(chosen: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return augment(*read(chosen), draws, batching.augment, rgb, batching.crop)

        passes = tf.data.Dataset.range(steps.start // a_pass, -(-steps.stop // a_pass))
        batches = passes.flat_map(of_pass).skip(steps.start % a_pass).take(len(steps))
        return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def validation_batches(self, samples: Samples, batch_size: int) -> tf.data.Dataset:
        """Take the samples in order."""
        batches = tf.data.Dataset.range(len(samples.names)).batch(batch_size)
        batches = batches.map(self.reader(samples), num_parallel_calls=tf.data.AUTOTUNE)
        return batches.prefetch(tf.data.AUTOTUNE)

    def reader(self, samples: Samples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Return `samples.take` as a part of a data set: from numbers to images and masks.

        Held as tensors, the arrays would be four times in memory: themselves, twice in `tf.constant`,
        and in the data set's graph. A gather from tensors would not be measurably faster.
        """

        def take(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            try:
                return samples.take(chosen)
            except Exception as error:
                self._raised.append(error)
                raise

        def read(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, masks = tf.numpy_function(take, [chosen], [tf.uint8, tf.uint8], stateful=False)
            images = tf.ensure_shape(images, [*chosen.shape, *samples.shape])
            return images, tf.ensure_shape(masks, [*chosen.shape, *samples.size])

        return read
