"""What the benchmarks share: runs timed in turns, and one way to print and keep what came out."""

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
"""The times of each run, round by round."""

Bound = dict[str, float]
"""`min` or `max` of a ratio."""


def in_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Time each run once a round; they take turns in going first.

    Each runs once before and untimed: the first time traces, allocates and fills caches.
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
    """The median of the ratios round by round, which what slows the machine for a while hardly moves."""
    pairs = zip(seconds[over], seconds[under], strict=True)
    return statistics.median(one / other for one, other in pairs)


class OwnProcess:
    """Something to run in a process of its own, which waits in between."""

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object) -> None:
        """`make`, picklable, is called there with the arguments, and gives what to run."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, *arguments), daemon=True).start()

    def __call__(self) -> None:
        """Run it once."""
        self.pipe.send("run")
        self.pipe.recv()


def _serve(pipe: Connection, make: Callable[..., Callable[[], object]], *arguments: object) -> None:
    run = make(*arguments)
    while pipe.recv():
        run()
        pipe.send("done")


def peak_mb() -> float:
    """The peak memory of this process, 10^6 bytes."""
    status = Path("/proc/self/status")
    # On Linux `getrusage` counts the process before too, whose place this one took.
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def photographs() -> Path:
    """The folder of SEGPIPE_PET_DIR; ends the benchmark where it is not set."""
    if folder := os.environ.get("SEGPIPE_PET_DIR"):
        return Path(folder)
    raise SystemExit("error: SEGPIPE_PET_DIR is not set (photographs in the pets' layout): not measured")


def publish(benchmark: str, rows: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    """Print what was measured, and write it to a JSON file with machine, versions and date.

    Args:
        benchmark: its name.
        rows: what was measured, named with its unit. Of this machine on this day.
        ratios: what may be compared between machines.
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
    """A bound in words; nothing where there is none."""
    words = {"min": "at least", "max": "at most"}
    return " ".join(f"({words[kind]} {limit:g})" for kind, limit in (bound or {}).items())


def machine() -> dict[str, Any]:
    """Processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu(), "cores": usable_cores(), "memory_gb": round(memory / 1e9, 1)}


def versions() -> dict[str, str]:
    """Python's, and those of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
