"""What tests need to make data, to make a project, and to run its true entry points."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from dvc.repo import Repo
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.modelfile import read_card
from segpipe.common.nested import flat
from segpipe.common.profile import Profile
from segpipe.model.params import DecoderParams
from segpipe.params import recipes
from segpipe.params.load import Params
from segpipe.train.resume import Run

ROOT = Path(__file__).resolve().parents[1]

PETS = ClassTable(
    (
        SegmentationClass("pet", 1, "#0072b2"),
        SegmentationClass("background", 2, "#999999"),
        SegmentationClass("border", 3, "#e69f00"),
    )
)

COMMITTED = flat(recipes.committed(ROOT / "params.yaml"), recipes.KEYS)
"""The params at Git's HEAD."""

TUTORIAL = {
    **{key: value for key, value in COMMITTED.items() if key in recipes.KEYS},
    **recipes.settings("tutorial", ROOT / "experiments"),
    "model.encoder.layers": "default",  # which the recipe's filters fit, and perhaps not a project's own
}
"""All params of the plainest recipe, so that tests do not depend on what params.yaml holds just now."""

TINY = TUTORIAL | {
    "data.source": "synthetic",
    "data.synthetic.train": 24,
    "data.synthetic.test": 6,
    "data.synthetic.size": 32,
    "data.image_size": 32,
    "data.validation_share": 0.25,
    "model.encoder.weights": "none",
    "model.encoder.alpha": 0.35,
    "model.encoder.layers": ["block_1_expand_relu", "block_3_expand_relu"],
    "model.decoder.filters": [8],
    "train.epochs": 1,
    "train.batch_size": 4,
    "train.learning_rate": 0.01,  # so that a later epoch is better than the first, and the model another
    "train.previews.samples": 2,
    "report.samples": 2,
    "report.worst": 1,
}
"""Params with which every stage takes seconds."""


FAMILIES = (
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0", "efficientnet_v2_b0", "resnet50_v2",
    "densenet121", "convnext_tiny", "mit_b0",
)  # fmt: skip
"""An encoder of each family: the others are these with more or wider layers, and take minutes more."""


def some_quick(names: Iterable[str], *quick: str) -> list:
    """Return parameters for `parametrize`: all names, those that are not `quick` marked slow."""
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow, id=n) for n in names]


def decoder(name: str, filters: Sequence[int], **changes: object) -> DecoderParams:
    """A decoder with BatchNorm, where nothing else is said; `aspp` has the first width alone."""
    filters = [filters[0]] * len(filters) if name == "aspp" else filters
    content = {"normalization": "batch", "batch_norm_momentum": 0.9, **changes}
    return DecoderParams(name=name, filters=tuple(filters), **content)


def decode_rgb(data: bytes) -> Image.Image:
    """An encoded picture, at its full size."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def draw_photo(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """A random RGB picture and a mask of pets' values, each class in it."""
    mask = np.full((height, width), 2, np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 3
    mask[height // 3 : -height // 3, width // 3 : -width // 3] = 1
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise), Image.fromarray(mask)


def make_project(path: Path, **params: object) -> Path:
    """Copy this repository's files, as they are now, to `path`, and commit them with tiny params."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    set_params(path, {**TINY, **params})
    make_repository(path)
    commit(path)
    return path


def make_repository(path: Path) -> None:
    """Make a folder a repository of Git, with an identity, which DVC's experiments ask for too."""
    git(path, "init -q -b main")
    git(path, "config user.name tester")
    git(path, "config user.email tester@example.org")


def make_toy_project(path: Path, stage: str, pipeline: str, **params: object) -> Path:
    """Make a repository of Git and DVC that runs a script which takes no time; nothing is committed."""
    path.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", path)
    set_params(path, params)
    (path / "stage.py").write_text(stage)
    (path / "dvc.yaml").write_text(pipeline)
    make_repository(path)
    Repo.init(str(path)).close()
    return path


def plain_params() -> Params:
    """Return the params of the tutorial's recipe."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    _set(content, TUTORIAL)
    return Params.model_validate(content)


def git(project: Path, arguments: str) -> str:
    """Run Git and return what it printed."""
    command = ["git", *arguments.split()]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def commit(project: Path) -> None:
    """Commit everything."""
    git(project, "add -A")
    git(project, "commit -q -m everything")


def set_params(project: Path, params: dict[str, object]) -> None:
    """Set dotted keys in a project's `params.yaml`."""
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text())
    _set(content, params)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _set(content: dict, params: dict[str, object]) -> None:
    for key, value in params.items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section[name]
        section[last] = value


def with_venv(project: Path) -> Path:
    """Give a project this virtual environment as its own, in which `make setup` has nothing to do."""
    folder = project / ".venv"
    folder.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / name).symlink_to(Path(sys.executable).parents[1] / name)
    (folder / ".complete").touch()
    return project


def environment(**extra: str) -> dict[str, str]:
    """The environment in which `python` and `dvc` are this virtual environment's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **extra}


def run(*command: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    return subprocess.run(
        command, cwd=cwd, env=environment(**extra), capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip


def run_stage(name: str, project: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a stage's script as DVC does."""
    return run("python", f"stages/{name}.py", cwd=project, **extra)


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The error of a stage that failed as it should: from `error:` on, and no traceback."""
    assert result.returncode != 0, result.stdout
    assert "Traceback" not in result.stderr, result.stderr
    assert "error: " in result.stderr, result.stderr
    return result.stderr[result.stderr.rindex("error: ") :]


def as_shown(model: Path) -> dict:
    """The card of a model as `segpipe info` shows it: with a summary of its profile."""
    card = read_card(model)
    return card | {"profile": Profile.of_card(card).summary()}


def runs_of(project: Path) -> list[Run]:
    """The unfinished runs of a project, in no order."""
    return [Run(p) for p in (project / ".dvc/tmp/segpipe/runs").glob("*") if p.is_dir()]


def start(project: Path, *command: str, epoch: int = 2, **extra: str) -> subprocess.Popen[str]:
    """Start a command and return once a run has a checkpoint of `epoch`."""
    process = subprocess.Popen(
        command, cwd=project, env=environment(**extra), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not any(found.epoch >= epoch for found in runs_of(project)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return process


def interrupt_once(ready: Path, project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Start a command, and press Ctrl-C once there is a path; return what it printed.

    It prints to files: what it leaves running would keep a pipe open.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, cwd=project, env=environment(), stdout=out, stderr=err, start_new_session=True
        )
        while not ready.exists():
            assert process.poll() is None, command
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        code = process.wait(timeout=120)
        printed, complained = (stream.seek(0) or stream.read() for stream in (out, err))
    return subprocess.CompletedProcess(command, code, printed, complained)


def end(process: subprocess.Popen[str], how: signal.Signals) -> str:
    """End a command and all that it started; what it printed."""
    os.killpg(process.pid, how)
    return process.communicate()[0]
