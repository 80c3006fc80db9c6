"""Runs the experiments that have no result yet: rows of `ablation.yaml`, and recipes.

The stages run without DVC in folders under `.experiments`, with the code as it is at the start and
`params.yaml` as Git's HEAD has it. Experiments with equal params share the records and the training.
When this was stopped and is started again, training resumes after its last finished epoch.

SEGPIPE_PET_DIR (a folder in the pets' layout), SEGPIPE_ENCODER_WEIGHTS and SEGPIPE_LITE0_WEIGHTS (files
with the weights of MobileNetV2 and of EfficientNet-Lite0) replace a download. Keras computes with
KERAS_BACKEND, else with TensorFlow, else with JAX. With `--jobs` above 1 experiments share the machine,
and results hold no seconds.
"""

import argparse
import concurrent.futures
import functools
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import Experiment, everything, is_of, names, params, recorded, store
from _stages import SCRATCH, Stages, copy_code, lock

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.common.words import did_you_mean, duration, score
from segpipe.params import recipes

_storing = threading.Lock()


@exits_cleanly
def main() -> None:
    """Run the experiments that have no result; at the end say which failed."""
    arguments = parse()
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(stop, lambda number, frame: sys.exit(128 + number))
    with lock(), concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        to_do = without_result(arguments)
        revision = copy_code()
        asked_for = len(arguments.rows) * len(arguments.seeds)
        commit = f"commit {revision[:7]}" if revision else "the code is that of no commit"
        print(f"{len(to_do)} of {asked_for} experiments have no result yet; {commit}", flush=True)
        stages = Stages(arguments.jobs > 1)
        attempt = functools.partial(run, to_do, arguments.set, stages, revision)
        try:
            failed = [message for message in pool.map(attempt, range(len(to_do))) if message]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stages.stop()
            raise
    if failed:
        raise UserError("\n       ".join([f"{len(failed)} of {len(to_do)} failed:", *failed]))


def parse() -> argparse.Namespace:
    """Return the command line's arguments, `set` as a mapping.

    Raises:
        UserError: there is no such row, recipe or param.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows or recipes; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="params on top")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="experiments at once")
    arguments = parser.parse_args()
    known = names()
    arguments.rows = arguments.rows or known
    for name in arguments.rows:
        if name not in known:
            raise UserError(f"no row or recipe {name!r}{did_you_mean(name, known)}")
    pairs = [text.partition("=") for text in arguments.set]
    arguments.set = {key: yaml.safe_load(value) for key, _, value in pairs}
    for key in arguments.set:
        if key not in recipes.KEYS:
            raise UserError(f"--set {key}: no such param{did_you_mean(key, recipes.KEYS)}")
    return arguments


def without_result(arguments: argparse.Namespace) -> list[Experiment]:
    """Return the experiments to run, the first seed of all rows before the second."""
    wanted = {Experiment(name, seed): None for seed in arguments.seeds for name in arguments.rows}
    there = everything()
    return [one for one in wanted if not any(is_of(result, one, arguments.set) for result in there)]


def run(
    to_do: list[Experiment], on_top: recipes.Settings, stages: Stages, revision: str | None, number: int
) -> str:
    """Run an experiment and store its result; return why it failed, or an empty text."""
    experiment, start = to_do[number], time.monotonic()
    left = "" if stages.side_by_side else time_left(to_do[number:])
    print(f"{number + 1} of {len(to_do)}: {experiment}{left}", flush=True)
    try:
        found = stages.run(params(experiment, on_top), SCRATCH / f"logs/{experiment}.log")
    except UserError as error:
        print(f"{experiment}: failed", flush=True)
        return f"{experiment}: {error}"
    elapsed = time.monotonic() - start
    with _storing:
        store(
            {"name": experiment.name, "seed": experiment.seed, **recorded(experiment, on_top), **found}
            | {"elapsed": None if stages.side_by_side else round(elapsed, 1), "revision": revision}
        )
    tested, validated = score(found["original.mean_iou"]), score(found["summary.val_mean_iou"])
    took = duration(elapsed)
    print(f"{experiment}: mean IoU {tested}, validated {validated}, after {took}", flush=True)
    return ""


def time_left(to_do: list[Experiment]) -> str:
    """Return how long experiments will take, in words: as another seed took, else as the average."""
    took: dict[str, list[float]] = {}
    for result in everything():
        if result["elapsed"]:
            took.setdefault(result["name"], []).append(float(result["elapsed"]))
    if not took:
        return ""
    average = statistics.mean(seconds for several in took.values() for seconds in several)
    left = sum(statistics.mean(took.get(experiment.name, [average])) for experiment in to_do)
    return f", {duration(left)} left"


if __name__ == "__main__":
    main()
