"""What every format is made from and must be able to do, and how its converter is kept quiet."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from segpipe.common.errors import UserError, brief

IMAGE, LOGITS = "image", "logits"
"""What every export calls its input and its output."""

Images = Callable[[], Sequence[np.ndarray]]
"""Reads images to calibrate on, each uint8 [height, width, 3]; most formats need none."""


def named(model: keras.Model) -> keras.Model:
    """The same network with its output by name, as the converters look for it."""
    return keras.Model(model.inputs, {LOGITS: model.outputs[0]}, name=model.name)


def signature(model: keras.Model, batch: int | None, dtype: str = "uint8") -> list[keras.InputSpec]:
    """What an export takes: images [batch, height, width, 3]; None: any number of them."""
    return [keras.InputSpec(shape=(batch, *model.input_shape[1:]), dtype=dtype, name=IMAGE)]


@contextlib.contextmanager
def refuses(error: type[Exception], format_: str) -> Iterator[None]:
    """Make of a converter's error a UserError: the format has not all that the network needs."""
    try:
        yield
    except error as reason:
        raise UserError(
            f"{format_} lacks an operation of this network ({brief(reason)}); choose another format"
        ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters say from standard error, C++ included; it comes out where they fail."""
    with tempfile.TemporaryFile() as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        standard_error = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            said.seek(0)
            os.write(standard_error, said.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
