"""GPUs are shared out one a process. The machine needs none: what is locked is a name."""

import os
import subprocess
import sys

import pytest

from segpipe.devices import installed, visible

GPUS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]

TAKE = """
import sys
from segpipe.devices import first_free
print(first_free(sys.argv[1:]), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, GPUS),
        ("0,2", ["GPU-aa11", "GPU-bb33"]),
        ("2,0", ["GPU-bb33", "GPU-aa11"]),
        ("GPU-aa22", ["GPU-aa22"]),
        ("GPU-b", ["GPU-bb33"]),
        ("1,-1,0", ["GPU-aa22"]),
        ("-1", []),
        ("", []),
        ("7", []),
        ("GPU-aa", []),
        ("MIG-12", ["MIG-12"]),
    ],
)
def test_cuda_visible_devices_is_understood_as_by_cuda(chosen, left):
    assert visible(GPUS, chosen) == left


@pytest.mark.parametrize("chosen", [None, "0", "MIG-12"])
def test_without_gpus_there_is_none_to_choose(chosen):
    assert visible([], chosen) == []


def test_installed_gpus_are_named_by_uuid_or_there_are_none():
    assert all(name.startswith("GPU-") for name in installed())
    assert bool(installed()) == os.path.exists("/proc/driver/nvidia/gpus")  # noqa: PTH110


def take(cache, *gpus):
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, *gpus], env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_each_process_takes_a_gpu_of_its_own_and_a_third_waits_for_one(tmp_path):
    first, second = take(tmp_path, *GPUS[:2]), None
    taken = [first.stdout.readline().strip()]
    second = take(tmp_path, *GPUS[:2])
    taken.append(second.stdout.readline().strip())
    assert taken == GPUS[:2]
    third = take(tmp_path, *GPUS[:2])
    assert third.stdout.readline().startswith(f"all GPUs are busy (GPU-aa11 by process {first.pid} on ")
    second.kill()
    assert third.stdout.readline() == "GPU-aa22\n", "the lock died with its holder"
    for process in (first, second, third):
        process.kill()
        process.wait()
