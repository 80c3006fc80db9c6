"""Runs the experiments that have no result yet, one at a time: rows of `ablation.yaml`, and recipes.

Each runs in a clone of the last commit under `.experiments`, by DVC, whose cache is the project's own:
what ran once is taken from there, and a training run that was stopped goes on after its last epoch when
this is started again. The first seed of all comes before the second.

Where SEGPIPE_PET_DIR (a folder in the pets' layout) and SEGPIPE_ENCODER_WEIGHTS (MobileNetV2's weights
without top) are set, they are used, else what params.yaml says. Results name no path of this machine.
"""

import argparse
import fcntl
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import (
    ROOT,
    Experiment,
    asked,
    cpu,
    everything,
    is_done,
    names,
    outcome,
    recorded,
)

from segpipe import recipes
from segpipe.errors import UserError, exits_cleanly
from segpipe.files import read_json, write_json
from segpipe.words import did_you_mean, duration, score

SCRATCH = ROOT / ".experiments"
CLONE = SCRATCH / "clone"


@exits_cleanly
def main() -> None:
    """Run what is asked for and has no result; at the end say what failed."""
    arguments = parse()
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(stop, lambda number, frame: sys.exit(128 + number))
    with lock():
        wanted = [Experiment(name, seed) for seed in arguments.seeds for name in arguments.rows]
        to_do = [experiment for experiment in wanted if not is_done(experiment, arguments.set)]
        revision = refresh_clone()
        print(f"{len(to_do)} of {len(wanted)} experiments have no result yet; commit {revision[:7]}")
        failed = []
        for number, experiment in enumerate(to_do):
            print(f"{number + 1} of {len(to_do)}: {experiment}{time_left(to_do[number:])}", flush=True)
            try:
                result = run(experiment, arguments.set, revision)
                print(
                    f"  mean IoU {score(result['metrics']['original']['mean_iou'])}"
                    f" after {duration(result['elapsed'])}"
                )
            except UserError as error:
                failed.append(f"{experiment}: {error}")
                print(f"  failed: {error}")
    if failed:
        raise UserError("\n       ".join([f"{len(failed)} of {len(to_do)} failed:", *failed]))


def parse() -> argparse.Namespace:
    """The command line; `rows` all of them by default, `set` a mapping."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = names()
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows or recipes; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="params on top")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or known
    for name in arguments.rows:
        if name not in known:
            raise UserError(f"no row or recipe {name!r}{did_you_mean(name, known)}")
    pairs = [text.partition("=") for text in arguments.set]
    arguments.set = {key: yaml.safe_load(value) for key, _, value in pairs}
    return arguments


def lock() -> TextIO:
    """A file that this process and what it runs hold locked, the latter also when this one is killed."""
    SCRATCH.mkdir(exist_ok=True)
    file = (SCRATCH / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for an experiment that runs in {SCRATCH} already", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    os.set_inheritable(file.fileno(), True)
    return file


def refresh_clone() -> str:
    """Have a clone of the last commit, with the project's cache; return the commit."""
    if not CLONE.is_dir():
        git(ROOT, "clone", "--quiet", str(ROOT), str(CLONE))
    git(CLONE, "fetch", "--quiet", str(ROOT), "HEAD")
    git(CLONE, "reset", "--quiet", "--hard", "FETCH_HEAD")
    dvc("cache", "dir", "--local", dvc("cache", "dir", cwd=ROOT).strip())
    return git(CLONE, "rev-parse", "HEAD").strip()


def run(experiment: Experiment, on_top: recipes.Settings, revision: str) -> dict[str, Any]:
    """Run one experiment and write its result.

    Raises:
        UserError: a stage failed; the message says what it said, and where the rest is.
    """
    git(CLONE, "reset", "--quiet", "--hard")
    dvc("exp", "remove", str(experiment), check=False)  # of an earlier try with other params
    start = time.monotonic()
    options = [w for word in recipes.words(asked(experiment, on_top)) for w in ("-S", word)]
    run_dvc(experiment, *options, "evaluate")
    found = outcome(CLONE)
    result = {
        "name": experiment.name,
        "seed": experiment.seed,
        "params": recorded(experiment, on_top),
        **found,
        "training": training(found["fingerprint"]),
        "elapsed": round(time.monotonic() - start, 1),
        "revision": revision,
        "machine": {"cores": os.cpu_count(), "cpu": cpu()},
    }
    write_json(experiment.path, result)
    return result


def training(fingerprint: str) -> dict[str, Any]:
    """How long a model was trained, and on what device; None where it was trained elsewhere.

    The logs are kept: where DVC has a model already, none is written.
    """
    kept, last = SCRATCH / "training", CLONE / "logs/train.json"
    if last.is_file():
        log = read_json(last, "train")
        write_json(kept / f"{log['fingerprint']}.json", log)
    path = kept / f"{fingerprint}.json"
    found = read_json(path, "train") if path.is_file() else {}
    return {"seconds": found.get("seconds"), "device": found.get("device")}


def run_dvc(experiment: Experiment, *arguments: str) -> None:
    """`dvc exp run` in the clone, with a log of what it prints; it ends when this process is stopped."""
    log = SCRATCH / "logs" / f"{experiment}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "exp", "run", "--name", str(experiment), *arguments],
            cwd=CLONE, env=environment(), stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True, close_fds=False,
        )  # fmt: skip
        try:
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if process.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise UserError(f"{said.removeprefix('error: ')} (all of it: {log})")


def time_left(to_do: list[Experiment]) -> str:
    """Words on how long experiments will take: as with another seed, else as others on average."""
    took: dict[str, list[float]] = {}
    for result in everything():
        if result["elapsed"]:
            took.setdefault(result["name"], []).append(result["elapsed"])
    if not took:
        return ""
    average = statistics.mean(seconds for several in took.values() for seconds in several)
    left = sum(statistics.mean(took.get(experiment.name, [average])) for experiment in to_do)
    return f", {duration(left)} left"


def git(folder: Path, *arguments: str) -> str:
    """What Git prints."""
    return output("git", "-C", str(folder), *arguments)


def dvc(*arguments: str, cwd: Path = CLONE, check: bool = True) -> str:
    """What DVC prints."""
    return output(sys.executable, "-m", "dvc", *arguments, cwd=cwd, check=check)


def output(*command: str, cwd: Path = ROOT, check: bool = True) -> str:
    """What a command prints.

    Raises:
        UserError: it failed, where that matters.
    """
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise UserError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def environment() -> dict[str, str]:
    """The environment in which `python` is this one."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


if __name__ == "__main__":
    main()
