"""Runs the experiments that have no result yet, one at a time: rows of `ablation.yaml`, and recipes.

Each runs in a clone of the last commit under `.experiments`, by DVC, whose cache is the project's own:
what ran once is taken from there, and a training run that was stopped goes on after its last epoch when
this is started again. The first seed of all comes before the second.

Where SEGPIPE_PET_DIR (a folder in the pets' layout) and SEGPIPE_ENCODER_WEIGHTS (MobileNetV2's weights
without top) are set, they are used, else what params.yaml says. Results name no path of this machine.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import ROOT, Experiment, asked, cpu, everything, outcome, recorded
from _runner import SCRATCH, end_when_told, lock, parse, parser, say_what_failed, without_result

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.common.files import read_json, write_json
from segpipe.common.words import duration
from segpipe.params import recipes
from segpipe.report.words import score

CLONE = SCRATCH / "clone"


@exits_cleanly
def main() -> None:
    """Run what is asked for and has no result; at the end say what failed."""
    arguments = parse(parser(__doc__))
    end_when_told()
    with lock():
        to_do = without_result(arguments)
        asked_for = len(arguments.rows) * len(arguments.seeds)
        revision = refresh_clone()
        print(f"{len(to_do)} of {asked_for} experiments have no result yet; commit {revision[:7]}")
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
    say_what_failed(failed, len(to_do))


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
