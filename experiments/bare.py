"""Runs experiments that have no result yet side by side on one GPU, with JAX, without DVC or TensorFlow.

The stages are those that DVC runs, each experiment's in a folder of its own under `.experiments/bare`;
those that need the same records share them. What has its result is not run again, and nothing else is
kept. Results say nothing of the time that training takes, since experiments share the GPU.
"""

import argparse
import concurrent.futures
import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _results import ROOT, Experiment, asked, cpu, is_done, names, outcome, recorded

from segpipe import recipes
from segpipe.errors import UserError, exits_cleanly
from segpipe.files import read_json, write_json
from segpipe.nested import changed
from segpipe.words import score

SCRATCH = ROOT / ".experiments/bare"
QUICKER = {"train.previews.every": 0, "evaluate.batch_size": 149}
"""Params that change no result, and spare JAX compiling for more shapes."""


@exits_cleanly
def main() -> None:
    """Make the records, then run what has no result, the first seed of all before the second."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows or recipes; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="experiments at once")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="params on top")
    arguments = parser.parse_args()
    pairs = [text.partition("=") for text in arguments.set]
    on_top = {key: yaml.safe_load(value) for key, _, value in pairs}
    rows = arguments.rows or names()
    to_do = [
        experiment
        for experiment in (Experiment(name, seed) for seed in arguments.seeds for name in rows)
        if not is_done(experiment, on_top)
    ]
    shutil.rmtree(SCRATCH, ignore_errors=True)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        params = {experiment: _params(experiment, on_top) for experiment in to_do}
        needed = {_data_key(found): found for found in params.values()}
        data = dict(zip(needed, pool.map(_make_data, needed.values(), range(len(needed))), strict=True))
        work = functools.partial(_try, on_top)
        failed = pool.map(work, to_do, params.values(), (data[_data_key(p)] for p in params.values()))
    if messages := [message for message in failed if message]:
        raise UserError("\n       ".join([f"{len(messages)} of {len(to_do)} failed:", *messages]))


def _params(experiment: Experiment, on_top: recipes.Settings) -> dict[str, Any]:
    """The content of `params.yaml` for an experiment."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return changed(params, asked(experiment, on_top) | QUICKER)


def _data_key(params: dict[str, Any]) -> str:
    """Equal for experiments that can share `data`."""
    encoder = {key: params["model"]["encoder"][key] for key in ("name", "alpha", "weights")}
    return yaml.safe_dump([params["data"], encoder])


def _make_data(params: dict[str, Any], number: int) -> Path:
    """The folder `data` with the records and the encoder for these params."""
    folder = _pipeline(SCRATCH / f"data-{number}", params)
    for stage in ("fetch", "fetch_encoder", "preprocess"):
        _stage(stage, folder)
    return folder / "data"


def _try(on_top: recipes.Settings, experiment: Experiment, params: dict[str, Any], data: Path) -> str:
    """Run an experiment and write its result; give what went wrong, in words."""
    start = time.monotonic()
    folder = _pipeline(SCRATCH / str(experiment), params)
    (folder / "data").symlink_to(data)
    try:
        for stage in ("train", "evaluate"):
            _stage(stage, folder)
    except UserError as error:
        print(f"{experiment}: failed", flush=True)
        return f"{experiment}: {error}"
    device = read_json(folder / "logs/train.json", "train")["device"]
    result = {
        "name": experiment.name,
        "seed": experiment.seed,
        "params": recorded(experiment, on_top),
        **outcome(folder),
        "training": {"seconds": None, "device": device},
        "elapsed": None,
        "revision": _revision(),
        "machine": {"cores": os.cpu_count(), "cpu": cpu()},
    }
    write_json(experiment.path, result)
    validated, tested = result["summary"]["val_mean_iou"], result["metrics"]["original"]["mean_iou"]
    took = time.monotonic() - start
    print(
        f"{experiment}: mean IoU {score(tested)}, validated {score(validated)}, {took:.0f} s", flush=True
    )
    shutil.rmtree(folder)
    return ""


def _pipeline(folder: Path, params: dict[str, Any]) -> Path:
    """A folder that the stages can run in."""
    folder.mkdir(parents=True)
    for name in ("src", "stages", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def _stage(name: str, folder: Path) -> None:
    """Run a stage.

    Raises:
        UserError: it failed; the message is its last line, and where the rest is.
    """
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "XDG_CACHE_HOME": str(folder / "cache"),  # or each would wait for the GPU that another has taken
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # What a row with another seed, or another rate, compiles is often the same.
        "JAX_COMPILATION_CACHE_DIR": str(SCRATCH / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, f"stages/{name}.py"], cwd=folder, env=environment, check=False,
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if done.returncode:
        last = (log.read_text(errors="replace").splitlines() or ["nothing was printed"])[-1]
        raise UserError(f"{last.removeprefix('error: ')} (all of it: {log})")


def _revision() -> str | None:
    """The commit; None where there is none."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
