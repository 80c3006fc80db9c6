"""Projects to measure DVC and stages in: clones of the last commit."""

from _bench import ROOT

import os
import subprocess
import sys
from pathlib import Path

PYTHON = sys.executable
DVC = (PYTHON, "-m", "dvc")


def environment() -> dict[str, str]:
    """The environment in which stages, run by DVC as `python`, are run by this Python."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DVC_NO_ANALYTICS": "1", "PATH": path}


def run(folder: Path, *command: str) -> str:
    """Run a command that must succeed, and return what it says."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise SystemExit(f"error: {' '.join(command[:5])}: {''.join(last)}")
    return done.stdout


def clone(folder: Path) -> Path:
    """A clone of the last commit."""
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
    name_committer(folder)
    return folder


def name_committer(folder: Path) -> None:
    """Git and DVC's experiments ask for one."""
    run(folder, "git", "config", "user.name", "benchmark")
    run(folder, "git", "config", "user.email", "benchmark@example.org")
