"""The device that a stage computes on: one free GPU, or the CPU.

Experiments that run side by side take a GPU each. A taken GPU is a locked file in the user's cache.
"""

import os
import time
from collections.abc import Sequence

import filelock
import platformdirs
import pynvml

from segpipe import locks

_held: list[filelock.BaseFileLock] = []
"""The lock on this process's GPU, kept until the process ends."""


def take_gpu() -> None:
    """Claim a free GPU until this process ends, if there are any. Call it before the first computation.

    `CUDA_VISIBLE_DEVICES` is respected, and afterwards names the one GPU. Where all are busy, one line
    says so, and it waits for one.
    """
    # Indices in CUDA_VISIBLE_DEVICES are then those of nvidia-smi.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    gpus = visible(installed(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = first_free(gpus)


def let_go() -> None:
    """Give a GPU back that this process turned out not to compute on."""
    while _held:
        _held.pop().release()


def installed() -> list[str]:
    """The UUIDs of this machine's NVIDIA GPUs in bus order; none without a driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except pynvml.NVMLError:
        return []


def visible(gpus: Sequence[str], chosen: str | None) -> list[str]:
    """Those of `gpus` (UUIDs) that a value of `CUDA_VISIBLE_DEVICES` leaves to this process.

    The value lists indices or UUIDs, which may be shortened; as in CUDA, what follows an entry that
    names no GPU does not count. None leaves all.
    """
    if chosen is None:
        return list(gpus)
    left = []
    for entry in map(str.strip, chosen.split(",")):
        named = [g for i, g in enumerate(gpus) if entry == str(i) or (entry and g.startswith(entry))]
        if entry.startswith("MIG-") and gpus:  # a part of a GPU; the driver lists only whole ones
            named = [entry]
        if len(named) != 1:
            break
        left += named
    return left


def first_free(gpus: Sequence[str]) -> str:
    """Lock the first of `gpus` that no other process holds, waiting where all are held."""
    folder = platformdirs.user_cache_path("segpipe")
    paths = [folder / f"{gpu}.lock" for gpu in gpus]
    told = False
    while True:
        for gpu, path in zip(gpus, paths, strict=True):
            if lock := locks.take(path):
                _held.append(lock)
                return gpu
        if not told:
            held = ", ".join(f"{g} by {locks.holder(p)}" for g, p in zip(gpus, paths, strict=True))
            print(f"all GPUs are busy ({held}); waiting for one", flush=True)
            told = True
        time.sleep(1)
