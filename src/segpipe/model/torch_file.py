"""PyTorch's checkpoints, read without PyTorch; nothing in a file can run.

Only the format before PyTorch 1.6 is read, because EfficientNet-Lite0 comes in it: a pickle of tensors,
which name their storages, and then the storages. Source: `_legacy_save` in
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from segpipe.common.errors import UserError, brief

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint of plain tensors: float32 or int64, by name, of any shape.

    Raises:
        UserError: it is another file, a damaged one, or in the format of PyTorch 1.6 and later.
    """
    if zipfile.is_zipfile(path):
        raise UserError(
            f"{path}: a checkpoint in the zip format of PyTorch 1.6 and later; expected the older one. "
            "Save the state dict as .safetensors, with `save_file` of the package safetensors"
        )
    try:
        with path.open("rb") as file:
            return _tensors(file)
    except Exception as error:  # a pickle can raise anything
        raise UserError(
            f"{path}: not a PyTorch checkpoint of plain tensors, or a damaged one ({brief(error)}); "
            "fetch it anew"
        ) from None


class _Storage(NamedTuple):
    """Numbers in a row, which tensors are views of."""

    key: str
    type: np.dtype
    numbers: int


class _View(NamedTuple):
    """A tensor, in numbers of its storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle._Unpickler):
    """Makes nothing but plain values, storages and views, whatever the pickle asks for.

    It is Python's in place of C's, which takes all memory where a damaged index is large.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._view  # a bound method: a pickle cannot set its attributes
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        _, name, key, _, numbers, part = pid
        if part is not None:
            raise pickle.UnpicklingError("a storage that is part of another")
        return _Storage(key, _TYPES[name], numbers)

    def _view(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
        return _View(storage, offset, shape, strides)


def _tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    def load() -> Any:
        return _Unpickler(file).load()

    if load() != _MAGIC:
        raise ValueError("it does not begin as one")
    _version, system = load(), load()
    if not system["little_endian"]:
        raise ValueError("its numbers are big-endian")
    views: dict[str, _View] = load()
    storages = {view.storage.key: view.storage for view in views.values()}
    numbers = {key: _numbers(file, storages[key]) for key in load()}
    # NumPy refuses a view that reaches beyond its storage, as in a file that is cut short.
    return {
        str(name): np.ndarray(
            view.shape,
            view.storage.type,
            numbers[view.storage.key],
            view.offset * view.storage.type.itemsize,
            [stride * view.storage.type.itemsize for stride in view.strides],
        )
        for name, view in views.items()
    }


def _numbers(file: BinaryIO, storage: _Storage) -> bytes:
    if int.from_bytes(file.read(8), "little") != storage.numbers:
        raise ValueError(f"the storage {storage.key} has another size than its tensor says")
    return file.read(storage.numbers * storage.type.itemsize)
