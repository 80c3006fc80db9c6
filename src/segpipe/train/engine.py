"""The parts of training that differ by Keras' backend: devices, compilation, batches.

`Engine` has the defaults; `on_tensorflow` and `on_jax` each have a subclass.
"""

import abc
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from segpipe.common.errors import UserError
from segpipe.train.params import AugmentParams, TrainParams
from segpipe.train.samples import Samples

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras' dtype policies by the values of `train.precision`."""


@dataclass(frozen=True)
class Batching:
    """How training batches are drawn from the samples; equal values give equal batches."""

    batch_size: int
    seed: int
    augment: AugmentParams
    crop: tuple[int, int] | None = None  # (height, width) of what is cut out of each sample
    probabilities: np.ndarray | None = None  # of the samples in a draw, float64 [n]; None: each once


class Engine(abc.ABC):
    """Training on one of Keras' backends."""

    unsupported: type[Exception]
    """The error of an operation that has no deterministic form."""

    def gpus(self, params: TrainParams) -> Literal["auto"] | int:
        """Return how many GPUs to take, as `devices.take_gpus` expects it.

        Raises:
            UserError: training cannot run on so many devices.
        """
        return params.devices

    def prepare(self, params: TrainParams) -> str:
        """Set up Keras and its backend before they compute anything; return the device in words.

        Raises:
            UserError: the backend lacks what the params ask for.
        """
        keras.config.set_dtype_policy(POLICIES[params.resolved_precision])
        return self.set_up(params)

    @abc.abstractmethod
    def set_up(self, params: TrainParams) -> str:
        """Set up the backend for `prepare`."""

    def jit_compile(self, wanted: bool | str) -> bool | str:
        """Return Keras' `jit_compile` for `train.jit`."""
        return wanted

    def fused(self, network: keras.Model) -> keras.Model:
        """Return the model to train: `network`, or a faster one with the same variables and results."""
        return network

    def raises_own_errors(self) -> contextlib.AbstractContextManager:
        """Return a context in which errors of reading samples come through as they were raised."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def train_batches(self, samples: Samples, steps: range, batching: Batching) -> Iterable[Any]:
        """Return the batches of some steps, counted from 0 at the run's beginning.

        Each is a pair of images, uint8 [batch, H, W, bands], and masks, uint8 [batch, H, W], of the
        samples' size or of that of a crop. A run passes over the samples again and again. Order and
        augmentation of a pass depend only on seed, pass and sample, and not on the step that a process
        begins with. The last, smaller batch of a pass is left out: every step then has one shape, and
        BatchNorm never sees a handful of images. Each pass leaves out other samples.

        With `probabilities` a pass draws as many samples as there are, with replacement. Augmentation
        then depends on the place in the pass: a sample drawn twice is changed in two ways.
        """

    @abc.abstractmethod
    def validation_batches(self, samples: Samples, batch_size: int) -> Iterable[Any]:
        """Return batches with every sample once; one of them may be smaller."""


def current_engine() -> Engine:
    """Return the engine of the backend that Keras runs on.

    Raises:
        UserError: there is none for that backend.
    """
    name = keras.config.backend()
    if name == "jax":
        from segpipe.train.on_jax import JaxEngine

        return JaxEngine()
    if name == "tensorflow":
        from segpipe.train.on_tensorflow import TensorFlowEngine

        return TensorFlowEngine()
    raise UserError(f"Keras runs on {name} here; set train.backend to tensorflow or jax")
