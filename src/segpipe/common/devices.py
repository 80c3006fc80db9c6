"""The devices that a stage computes on: free GPUs, one or several, or the CPU.

Processes that run side by side take different GPUs. A taken GPU is a locked file in the user's cache.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import filelock
import platformdirs
import pynvml

from segpipe.common import locks
from segpipe.common.errors import UserError

_held: list[filelock.BaseFileLock] = []  # the locks on this process's GPUs, kept until it ends


def take_gpus(wanted: Literal["auto"] | int = 1, batch_size: int = 1) -> None:
    """Claim GPUs until this process ends, if the machine has any. Call it before the first computation.

    `wanted` is their number; `auto` takes as many free ones as divide the batch, at least one.
    `CUDA_VISIBLE_DEVICES` is respected, and afterwards names the GPUs taken. If too few are free, print
    so in one line and wait for them. Raises UserError where there are GPUs, but fewer than wanted.
    """
    # Makes indices in CUDA_VISIBLE_DEVICES those of nvidia-smi.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    gpus = visible_gpus(installed_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        numbers = acceptable_counts(wanted, len(gpus), batch_size)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(lock_free(gpus, numbers))


def release_gpus() -> bool:
    """Release the GPUs of this process, which does not compute on them; return whether it had any."""
    held = bool(_held)
    while _held:
        _held.pop().release()
    return held


def cpu_sentence(number: int) -> str:
    """Return the line that a stage prints when it runs on `number` devices without a GPU."""
    return f"no GPU found: running on {'the CPU' if number == 1 else f'{number} virtual CPU devices'}"


def installed_gpus() -> list[str]:
    """Return the UUIDs of this machine's NVIDIA GPUs in bus order; none without a driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except pynvml.NVMLError:
        return []


def visible_gpus(gpus: Sequence[str], chosen: str | None) -> list[str]:
    """Return the `gpus` (UUIDs) that a value of `CUDA_VISIBLE_DEVICES` leaves to this process.

    The value lists indices or UUIDs, which may be shortened; as in CUDA, the list ends before an entry
    that names no GPU. None leaves all.
    """
    if chosen is None:
        return list(gpus)
    left = []
    for entry in map(str.strip, chosen.split(",")):
        named = [g for i, g in enumerate(gpus) if entry == str(i) or (entry and g.startswith(entry))]
        if entry.startswith("MIG-") and gpus:  # a part of a GPU, which the driver does not list
            named = [entry]
        if len(named) != 1:
            break
        left += named
    return left


def acceptable_counts(wanted: Literal["auto"] | int, visible: int, batch_size: int) -> list[int]:
    """Return how many of the `visible` GPUs may be taken, the best number first.

    Raises UserError where there are fewer than wanted.
    """
    if wanted == "auto":
        return [number for number in range(visible, 0, -1) if batch_size % number == 0]
    if wanted > visible:
        raise UserError(
            f"train.devices = {wanted}, but CUDA_VISIBLE_DEVICES and the driver leave {visible} here; "
            f"set it to {visible} or less, or to auto for the free ones"
        )
    return [wanted]


def lock_free(gpus: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """Lock the first of `gpus` that no other process holds; wait while too few are free.

    `numbers` says how many may be taken, the largest number first.
    """
    folder = platformdirs.user_cache_path("segpipe", ensure_exists=True)
    paths = {gpu: folder / f"{gpu}.lock" for gpu in gpus}
    is_announced = False
    while True:
        # One process chooses at a time: two that each hold what the other needs would wait for ever.
        with filelock.FileLock(folder / "choosing.lock"):
            if chosen := _lock(paths, numbers):
                return chosen
        if not is_announced:
            held = [f"{gpu} by {who}" for gpu, path in paths.items() if (who := locks.holder(path))]
            busy = f"{len(held)} of {len(gpus)} GPUs are busy ({', '.join(held)})"
            print(f"{busy}; waiting for {numbers[-1]}", flush=True)
            is_announced = True
        time.sleep(1)


def _lock(paths: Mapping[str, Path], numbers: Sequence[int]) -> list[str]:
    """Lock as many GPUs as the largest number that is free; none where not even the smallest is."""
    locked: list[tuple[str, filelock.BaseFileLock]] = []
    for gpu, path in paths.items():
        if len(locked) < numbers[0] and (lock := locks.take(path)):
            locked.append((gpu, lock))
    number = next((n for n in numbers if n <= len(locked)), 0)
    for _, lock in locked[number:]:
        lock.release()
    _held.extend(lock for _, lock in locked[:number])
    return [gpu for gpu, _ in locked[:number]]
