"""Fixtures that many tests share."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import hypothesis
import numpy as np
import playwright.sync_api
import pytest
from helpers import commit, draw_photo, git, make_project, run, set_params
from loopback import Cluster, Wired

from segpipe import cli
from segpipe.common import errors

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# In the background of a script it is ignored, by every process that a test starts too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def uninterrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command in this process remembers Ctrl-C, and would end the next test that trains."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(errors, "_interrupted", False)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def pet_dir() -> Path:
    """Real photographs in the pets' layout."""
    return _from_environment("SEGPIPE_PET_DIR")


@pytest.fixture(scope="session")
def encoder_weights() -> Path:
    """ImageNet's MobileNetV2."""
    return _from_environment("SEGPIPE_ENCODER_WEIGHTS")


@pytest.fixture(scope="session")
def lite0_weights() -> Path:
    """ImageNet's EfficientNet-Lite0, as PyTorch saved it, with its classifier."""
    return _from_environment("SEGPIPE_LITE0_WEIGHTS")


def _from_environment(name: str) -> Path:
    if name not in os.environ:
        pytest.skip(f"{name} is not set")
    return Path(os.environ[name])


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder for Ray: a socket's path has 107 letters at most, and pytest-xdist's have more."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[Cluster]:
    """Two hosts of Ray on loopback."""
    made = Cluster(Path(tempfile.mkdtemp(dir=short_folder)))
    yield made
    made.end()


@pytest.fixture
def wired(cluster: Cluster, short_folder: Path) -> Iterator[Wired]:
    """Two more, with a cable between them that can be pulled out."""
    made = Wired(Path(tempfile.mkdtemp(dir=short_folder)))
    made.jax = cluster.jax
    yield made
    made.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a size, such as `12m`, or change its size; return its folder."""
    disk = tmp_path / "disk"

    def mount(size: str) -> Path:
        how = f"remount,size={size}" if disk.is_dir() else f"size={size}"
        disk.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", disk], check=False).returncode:
            pytest.skip("mounting a small file system needs root")
        return disk

    yield mount
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def locked_disk(small_disk: Callable[[str], Path]) -> Path:
    """A file system that not even root may write to; it holds the file `kept`."""
    disk = small_disk("1m")
    (disk / "kept").touch()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    return disk


@pytest.fixture
def segpipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: its exit code, what it printed, what it complained of."""

    def run_here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segpipe", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed, complained = capsys.readouterr()
        return int(ended.value.code or 0), printed, complained

    return run_here


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with 12 good samples in the layout `pairs`."""
    root = tmp_path / "my data"
    for name in [f"photo {number:02d}" for number in range(12)]:
        image, mask = draw_photo(rng, 40, 30)
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "masks").mkdir(exist_ok=True)
        image.save(root / "images" / f"{name}.jpg")
        mask.save(root / "masks" / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the whole pipeline ran on tiny drawings; do not change it, copy it."""

    def make(path: Path) -> None:
        _repro(make_project(path))

    return _own_copy("finished", make, tmp_path_factory)


@pytest.fixture(scope="session")
def changed_project(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`main` holds the finished project, `change` a second epoch, each with results; copy it."""

    def make(path: Path) -> None:
        shutil.copytree(finished_project, path, symlinks=True)
        commit(path)
        git(path, "switch -q -c change")
        set_params(path, {"train.epochs": 2})
        _repro(path)
        commit(path)

    return _own_copy("changed", make, tmp_path_factory)


def _own_copy(name: str, make: Callable[[Path], None], factory: pytest.TempPathFactory) -> Path:
    """Make a project in the first process of pytest-xdist that needs it; return a copy for this one."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / f"made-{name}"
    with filelock.FileLock(f"{made}.lock"):
        if not made.exists():
            make(partial := Path(tempfile.mkdtemp(dir=shared)) / "project")
            partial.rename(made)
        return shutil.copytree(made, base / f"{name}/project", symlinks=True)


def _repro(project: Path) -> None:
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def pull_request(changed_project: Path, tmp_path: Path) -> Path:
    """A shallow clone of `change` without any data, `origin/main` fetched, as CI has it."""
    clone = tmp_path / "clone"
    git(tmp_path, f"clone -q --depth 1 -b change file://{changed_project} clone")
    git(clone, "fetch -q --depth 1 origin main:refs/remotes/origin/main")
    git(clone, "config user.name tester")
    git(clone, "config user.email tester@example.org")
    return clone


@dataclass
class Visit:
    """A page in a browser, what it asked for and what its console complained of."""

    page: playwright.sync_api.Page
    requests: list[str]
    complaints: list[str]


@pytest.fixture(scope="session")
def chromium() -> Iterator[playwright.sync_api.Browser]:
    """The machine's own Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    with playwright.sync_api.sync_playwright() as driver:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: playwright.sync_api.Browser) -> Iterator[Callable[..., Visit]]:
    """Open a file, the network off, or an address; `visit(where, width=1400, dark=False)`."""
    contexts = []

    def open_page(where: Path | str, width: int = 1400, dark: bool = False) -> Visit:
        context = chromium.new_context(
            offline=isinstance(where, Path),
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        visited = Visit(context.new_page(), [], [])
        visited.page.on("request", lambda request: visited.requests.append(request.url))
        visited.page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        visited.page.on(
            "console",
            lambda said: (
                visited.complaints.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        visited.page.goto(where.resolve().as_uri() if isinstance(where, Path) else where)
        return visited

    yield open_page
    for context in contexts:
        context.close()
