"""Runs the CPU benchmarks, each in a process of its own, and prints one table of their ratios.

`make bench` writes the results to `benchmarks/results`. `make bench-check` writes nothing there, and
fails where a ratio breaks its bound in `benchmarks/bounds.yaml`. Only ratios are compared, never times:
both sides of a ratio are measured in one run on one machine.
"""

import _bench

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from segpipe.common.files import read_json

HERE = Path(__file__).resolve().parent
NOT_HERE = ("gpu", "models", "run", "scaling", "tutorial")
"""Files that measure no ratio of a CPU."""


def main() -> None:
    """Run the benchmarks, print the table, and report failures and broken bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = sorted(p.stem for p in HERE.glob("[a-z]*.py") if p.stem not in NOT_HERE)
    parser.add_argument(
        "benchmarks", nargs="*", default=every, metavar="BENCHMARK", help="all by default"
    )
    parser.add_argument("--check", action="store_true", help="compare with the bounds, write no results")
    arguments = parser.parse_args()
    if unknown := set(arguments.benchmarks) - set(every):
        parser.error(f"{', '.join(unknown)}: no such benchmark; there are {', '.join(every)}")
    bounds = yaml.safe_load(_bench.BOUNDS.read_text(encoding="utf-8"))
    table = Table("benchmark", "ratio", "value", "bound")
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) if arguments.check else _bench.RESULTS
        for name in arguments.benchmarks:
            print(f"{name} ...", flush=True)
            ratios, why = run(name, results)
            for what, value in ratios.items():
                table.add_row(name, what, f"{value:.3f}", _bench.described(bounds[name].get(what)))
            wrong += [f"{name}: {why}"] if why else []
            if arguments.check and not why:
                wrong += broken(name, ratios, bounds[name])
    Console().print(table)
    if wrong:
        sys.exit("error: " + "\n       ".join(wrong))


def run(name: str, results: Path) -> tuple[dict[str, float], str]:
    """Run one benchmark; return its ratios, or none and the last line of its error."""
    environment = os.environ | {"SEGPIPE_BENCH_RESULTS": str(results)}
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py")], env=environment, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        return {}, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return read_json(results / f"{name}.json", "the benchmark")["ratios"], ""


def broken(name: str, ratios: dict[str, float], bounds: dict[str, _bench.Bound]) -> list[str]:
    """Return a line for each ratio that is beyond its bound or was not measured."""
    wrong = [
        f"{name}: {what} has a bound and was not measured" for what in bounds.keys() - ratios.keys()
    ]
    for what, value in ratios.items():
        bound = bounds.get(what, {})
        if not bound.get("min", -math.inf) <= value <= bound.get("max", math.inf):
            wrong.append(f"{name}: {what} is {value:.3f} {_bench.described(bound)}")
    return wrong


if __name__ == "__main__":
    main()
