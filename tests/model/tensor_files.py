"""Files of tensors, written by hand, and state dicts with the names and shapes of timm's networks."""

import json
import pickle
from collections import OrderedDict

import numpy as np

LITE0 = [(3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4),
         (3, 6, 320, 1)]  # fmt: skip
MOBILENET = [(3, 1, 16, 1), (3, 6, 24, 2), (3, 6, 32, 3), (3, 6, 64, 4), (3, 6, 96, 3), (3, 6, 160, 3),
             (3, 6, 320, 1)]  # fmt: skip
"""Kernel, expansion, channels and number of blocks of each stage."""


def torch_legacy(tensors, keys=None):
    """A checkpoint as PyTorch 1.5 writes it, of (storage's key, storage, offset, shape, strides)."""
    storages = {key: storage for key, storage, *_ in tensors.values()}
    pickled = b"".join(_plain(name) + _tensor(*tensor) for name, tensor in tensors.items())
    return torch_envelope(b"}(" + pickled + b"u") + b"".join(
        [
            pickle.dumps(list(storages) if keys is None else keys, 2),
            *(len(s).to_bytes(8, "little") + s.tobytes() for s in storages.values()),
        ]
    )


def torch_envelope(pickled, magic=0x1950A86A20F9469CFC6C, little_endian=True):
    """What comes before the storages, with these opcodes for the tensors."""
    before = (magic, 1001, {"protocol_version": 1001, "little_endian": little_endian})
    return b"".join(pickle.dumps(value, 2) for value in before) + b"\x80\x02" + pickled + b"."


def _plain(value):
    """The opcodes of a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def _tensor(key, storage, offset, shape, strides):
    kind = {"float32": b"Float", "int64": b"Long"}[str(storage.dtype)]
    named = b"(" + _plain("storage") + b"ctorch\n" + kind + b"Storage\n"
    named += _plain(key) + _plain("cpu") + _plain(len(storage)) + b"NtQ"
    view = _plain(offset) + _plain(shape) + _plain(strides) + _plain(False) + _plain(OrderedDict())
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + named + view + b"tR"


def safetensors(tensors, **changes):
    """A file of arrays; `changes` of the header by name of tensor."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        kind = {"float32": "F32", "float16": "F16", "int64": "I64", "float64": "F64"}[str(array.dtype)]
        begin, content = len(content), content + array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, len(content)]}
        header[name] |= changes.get(name, {})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def timm_shapes(stages):
    """The shapes of a network's tensors by timm's names, without counters and classifier."""
    found = {}

    def convolution(before, name, norm, outputs, inputs, kernel):
        found[f"{before}{name}.weight"] = (outputs, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{before}{norm}.{part}"] = (outputs,)

    convolution("", "conv_stem", "bn1", width := 32, 3, 3)
    for stage, (kernel, expansion, channels, blocks) in enumerate(stages):
        for block in range(blocks):
            before, wide = f"blocks.{stage}.{block}.", width * expansion
            if expansion == 1:
                convolution(before, "conv_dw", "bn1", width, 1, kernel)
                convolution(before, "conv_pw", "bn2", channels, width, 1)
            else:
                convolution(before, "conv_pw", "bn1", wide, width, 1)
                convolution(before, "conv_dw", "bn2", wide, 1, kernel)
                convolution(before, "conv_pwl", "bn3", channels, wide, 1)
            width = channels
    convolution("", "conv_head", "bn2", 1280, width, 1)
    return found


def drawn(shapes):
    """Random weights with which activations neither vanish nor grow; equal with every NumPy."""
    rng = np.random.RandomState(0)

    def draw(name, shape):
        if len(shape) > 1:
            return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        if name.endswith(("weight", "running_var")):
            return rng.uniform(0.5, 1.5, shape)
        return rng.normal(0, 0.2, shape)

    return {name: draw(name, shapes[name]).astype(np.float32) for name in sorted(shapes)}
