"""Files in the format safetensors: the length of a header in JSON, the header, and the tensors."""

import json
import math
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.common.errors import UserError, brief

_TYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
_NO_TABLE = "its header is no table of tensors"


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a file of tensors: float32, float16 or int64, by name, of any shape.

    Source of the format: https://github.com/huggingface/safetensors#format

    Raises:
        UserError: it is another file, or a damaged one.
    """
    content = memoryview(path.read_bytes())
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        if start > len(content):
            raise ValueError("its header is cut short")
        header = json.loads(bytes(content[8:start]), object_pairs_hook=_of_unlike_names)
        if not isinstance(header, dict):
            raise ValueError(_NO_TABLE)
        header.pop("__metadata__", None)
        return _tensors(content[start:], header)
    except Exception as error:  # any JSON may stand there
        raise UserError(
            f"{path}: not a safetensors file, or a damaged one ({brief(error)}); fetch it anew"
        ) from None


def _of_unlike_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"it names {name} twice")
    return dict(pairs)


def _tensors(content: memoryview, header: dict[str, Any]) -> dict[str, np.ndarray]:
    if not all(map(_is_tensor, header.values())):
        raise ValueError(_NO_TABLE)
    offsets = chain.from_iterable(sorted(about["data_offsets"] for about in header.values()))
    places = [0, *offsets, len(content)]
    # Each begins where the one before ends: there is no hole, and no byte of two tensors.
    if places != sorted(places) or places[::2] != places[1::2]:
        raise ValueError(f"its tensors do not lie one behind the other in its {len(content)} bytes")
    return {name: _tensor(name, content, **about) for name, about in header.items()}


def _is_tensor(about: Any) -> bool:
    """Whether a tensor is described as the format demands, whatever the numbers are."""
    if not isinstance(about, dict) or {*about} != {"dtype", "shape", "data_offsets"}:
        return False
    shape, offsets = about["shape"], about["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    numbers = all(type(number) is int for number in shape + offsets)
    return isinstance(about["dtype"], str) and numbers and min(shape, default=0) >= 0


def _tensor(
    name: str, content: memoryview, dtype: str, shape: list[int], data_offsets: list[int]
) -> np.ndarray:
    if dtype not in _TYPES:
        raise ValueError(f"numbers of type {dtype}, expected {', '.join(_TYPES)}")
    begin, end = data_offsets
    needed = math.prod(shape) * np.dtype(_TYPES[dtype]).itemsize
    if end - begin != needed:
        raise ValueError(f"{name} has {end - begin} bytes, and its shape {needed}")
    return np.frombuffer(content[begin:end], _TYPES[dtype]).reshape(shape)
