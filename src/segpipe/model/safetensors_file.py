"""Files in the format safetensors: the length of a header in JSON, the header, and the tensors."""

import json
from pathlib import Path

import numpy as np

from segpipe.common.errors import UserError, brief

_TYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}


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
        header = json.loads(bytes(content[8:start]))
        header.pop("__metadata__", None)
        return {name: _tensor(content[start:], **about) for name, about in header.items()}
    except Exception as error:  # any JSON may stand there
        raise UserError(
            f"{path}: not a safetensors file, or a damaged one ({brief(error)}); fetch it anew"
        ) from None


def _tensor(content: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    if dtype not in _TYPES:
        raise ValueError(f"numbers of type {dtype}, expected {', '.join(_TYPES)}")
    begin, end = data_offsets
    return np.frombuffer(content[begin:end], _TYPES[dtype]).reshape(shape)
