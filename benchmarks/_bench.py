"""Shared by the benchmarks: timing runs in turns, printing and storing results."""

import contextlib
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from _results import cpu

from segpipe.common.files import write_json
from segpipe.common.parallel import usable_cores

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(os.environ.get("SEGPIPE_BENCH_RESULTS", ROOT / "benchmarks/results"))
BOUNDS = ROOT / "benchmarks/bounds.yaml"
LIBRARIES = ("tensorflow", "keras", "jax", "numpy", "pillow", "dvc")

Seconds = dict[str, list[float]]
"""The time of each round, by run."""

Bound = dict[str, float]
"""`min` or `max` of a ratio."""


def in_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Time each run once a round, another one first in each round.

    Each runs once untimed before: the first time traces, allocates and fills caches.
    """
    names = list(runs)
    for run in runs.values():
        run()
    seconds: Seconds = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Seconds, over: str, under: str) -> float:
    """Return the median of the rounds' ratios, robust to a machine that is slower for a while."""
    pairs = zip(seconds[over], seconds[under], strict=True)
    return statistics.median(one / other for one, other in pairs)


class OwnProcess:
    """A function to call in a process of its own, which waits between calls."""

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object) -> None:
        """`make`, picklable, is called there with the arguments, and returns the function."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, *arguments), daemon=True).start()

    def __call__(self) -> None:
        """Call it once."""
        self.pipe.send("run")
        self.pipe.recv()


def _serve(pipe: Connection, make: Callable[..., Callable[[], object]], *arguments: object) -> None:
    run = make(*arguments)
    with contextlib.suppress(EOFError):  # the other end has ended
        while pipe.recv():
            run()
            pipe.send("done")


def peak_mb() -> float:
    """Return the peak memory of this process, 10^6 bytes."""
    status = Path("/proc/self/status")
    # On Linux `getrusage` also counts the parent, of which a new process begins as a copy.
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def photographs() -> Path:
    """Return the folder of SEGPIPE_PET_DIR; end the benchmark if it is not set."""
    if folder := os.environ.get("SEGPIPE_PET_DIR"):
        return Path(folder)
    raise SystemExit("error: SEGPIPE_PET_DIR is not set (photographs in the pets' layout): not measured")


def publish(benchmark: str, rows: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    """Print measurements, and write them to a JSON file with machine, versions and date.

    Args:
        benchmark: its name.
        rows: measurements by name and unit; they hold for this machine on this day.
        ratios: numbers that may be compared between machines.
    """
    bounds = yaml.safe_load(BOUNDS.read_text(encoding="utf-8")).get(benchmark, {})
    for name, value in rows.items():
        print(f"{value:12,.4g}  {name}")
    for name, value in ratios.items():
        print(f"{value:12,.3f}  {name} {described(bounds.get(name))}".rstrip())
    write_json(
        RESULTS / f"{benchmark}.json",
        {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": versions(),
            "rows": dict(rows),
            "ratios": dict(ratios),
        },
    )


def described(bound: Bound | None) -> str:
    """Return a bound in words; an empty text for None."""
    words = {"min": "at least", "max": "at most"}
    return " ".join(f"({words[kind]} {limit:g})" for kind, limit in (bound or {}).items())


def machine() -> dict[str, Any]:
    """Return processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu(), "cores": usable_cores(), "memory_gb": round(memory / 1e9, 1)}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed libraries."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
