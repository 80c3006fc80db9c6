"""Runs experiments that have no result yet side by side on one GPU, with JAX, without DVC or TensorFlow.

The stages are those that DVC runs, each experiment's in a folder of its own under `.experiments/bare`;
those that need the same records share them. What has its result is not run again. This may be stopped at
any moment; started again, it goes on after the last finished epoch of each, unless code, params or data
are others by then. Results say nothing of the time that training takes, since experiments share the GPU.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import ROOT, Experiment, asked, cpu, outcome, recorded
from _runner import SCRATCH, end_when_told, lock, parse, parser, say_what_failed, without_result

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.common.files import read_json, sha256, write_json, write_text
from segpipe.common.nested import changed, flat
from segpipe.common.words import duration
from segpipe.params import recipes
from segpipe.report.words import score

BARE = SCRATCH / "bare"
QUICKER = {"train.previews.every": 0, "evaluate.batch_size": 149}
"""Params that change no result, and shapes for JAX to compile: the pets' test split is 2 x 149."""
OF_DATA = ("data.", "model.encoder.name", "model.encoder.alpha", "model.encoder.weights")
"""How the params begin that decide what lies in `data`."""
MADE_FOR = "made_for.json"
"""What an experiment's folder is for; written once the folder is whole."""
TRAINED = "logs/train.json"
"""What `train` writes last."""

_running: set[subprocess.Popen[bytes]] = set()


@exits_cleanly
def main() -> None:
    """Make the records, then run what has no result; at the end say what failed."""
    command_line = parser(__doc__)
    command_line.add_argument("--jobs", type=int, default=8, metavar="N", help="experiments at once")
    arguments = parse(command_line)
    end_when_told()
    with lock(), concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        to_do = without_result(arguments)
        try:
            failed = list(_run_all(pool, to_do, arguments.set))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in _running.copy():
                process.terminate()
            raise
    say_what_failed([message for message in failed if message], len(to_do))


def _run_all(
    pool: concurrent.futures.Executor, to_do: list[Experiment], on_top: recipes.Settings
) -> list[str]:
    """Run experiments, and say of each what went wrong, or nothing."""
    params = [_params(experiment, on_top) for experiment in to_do]
    needed = {_data_folder(found): found for found in params}
    list(pool.map(_make_data, needed, needed.values()))
    work = functools.partial(_try, on_top, _revision())
    return list(pool.map(work, to_do, params, map(_data_folder, params)))


def _params(experiment: Experiment, on_top: recipes.Settings) -> dict[str, Any]:
    """The content of `params.yaml` for an experiment, with paths that do not depend on where it lies."""
    committed = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params = changed(committed, asked(experiment, on_top) | QUICKER)
    folder, encoder = params["data"]["folder"], params["model"]["encoder"]
    folder["path"] = str(ROOT / folder["path"])
    if encoder["weights"] not in ("imagenet", "none"):
        encoder["weights"] = str(ROOT / encoder["weights"])
    return params


def _data_folder(params: dict[str, Any]) -> Path:
    """Equal for experiments that can share `data`."""
    deciding = {key: value for key, value in flat(params).items() if key.startswith(OF_DATA)}
    return BARE / f"data-{hashlib.sha256(repr(deciding).encode()).hexdigest()[:12]}"


def _make_data(folder: Path, params: dict[str, Any]) -> None:
    """Have the records and the encoder for these params, anew each time: pictures may have changed."""
    _pipeline(folder, params)
    for stage in ("fetch", "fetch_encoder", "preprocess"):
        _stage(stage, folder)


def _try(
    on_top: recipes.Settings, revision: str | None, experiment: Experiment, params: dict, data: Path
) -> str:
    """Run an experiment and write its result; give what went wrong, in words."""
    start = time.monotonic()
    folder = BARE / str(experiment)
    _begin(folder, params, data / "data")
    try:
        if not (folder / TRAINED).exists():
            _stage("train", folder)
        _stage("evaluate", folder)
    except UserError as error:
        print(f"{experiment}: failed", flush=True)
        return f"{experiment}: {error}"
    log = read_json(folder / TRAINED, "train")
    result = {
        "name": experiment.name,
        "seed": experiment.seed,
        "params": recorded(experiment, on_top),
        **outcome(folder),
        "training": {"seconds": None, "device": log["device"]},
        "elapsed": None,
        "revision": revision,
        "machine": {"cores": os.cpu_count(), "cpu": cpu()},
    }
    write_json(experiment.path, result)
    validated, tested = result["summary"]["val_mean_iou"], result["metrics"]["original"]["mean_iou"]
    took = duration(time.monotonic() - start)
    print(f"{experiment}: mean IoU {score(tested)}, validated {score(validated)}, {took}", flush=True)
    _remove(folder)
    return ""


def _begin(folder: Path, params: dict[str, Any], data: Path) -> None:
    """Have a folder for an experiment: the one that is there, where it is for the same."""
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("stages/*.py"), *data.glob("*/*.json")]
    content = {"params": params, "files": {str(path): sha256(path) for path in sorted(files)}}
    text, written = json.dumps(content), folder / MADE_FOR
    if written.is_file() and written.read_text(encoding="utf-8") == text:
        return
    _remove(folder)
    _pipeline(folder, params)
    (folder / "data").symlink_to(data)
    write_text(written, text)


def _remove(folder: Path) -> None:
    (folder / MADE_FOR).unlink(missing_ok=True)  # first: what is left by a kill is not taken for whole
    shutil.rmtree(folder, ignore_errors=True)


def _pipeline(folder: Path, params: dict[str, Any]) -> None:
    """Have a folder that the stages can run in."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "stages", "dvc.yaml"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    write_text(folder / "params.yaml", yaml.safe_dump(params))


def _stage(name: str, folder: Path) -> None:
    """Run a stage.

    Raises:
        UserError: it failed; the message is its last line, and where the rest is.
    """
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "DVC_ROOT": str(folder),  # where unfinished runs are kept
        "XDG_CACHE_HOME": str(folder / "cache"),  # or each would wait for the GPU that another has taken
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # What a row with another seed compiles is the same.
        "JAX_COMPILATION_CACHE_DIR": str(BARE / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, f"stages/{name}.py"],
            cwd=folder, env=environment, stdout=file, stderr=file,
            close_fds=False,  # it holds the lock, too
        )  # fmt: skip
        _running.add(process)
        process.wait()
        _running.remove(process)
    if process.returncode:
        last = (log.read_text(errors="replace").splitlines() or ["nothing was printed"])[-1]
        raise UserError(f"{last.removeprefix('error: ')} (all of it: {log})")


def _revision() -> str | None:
    """The commit; None where there is none, or where files differ from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        revision, changes = (
            subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "src", "stages", "dvc.yaml", "params.yaml"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return None if changes else revision


if __name__ == "__main__":
    main()
