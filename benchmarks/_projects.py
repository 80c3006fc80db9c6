"""Projects to measure DVC and stages in: clones of the last commit."""

from _bench import ROOT

import os
import subprocess
import sys
from pathlib import Path

PYTHON = sys.executable
DVC = (PYTHON, "-m", "dvc")


def environment() -> dict[str, str]:
    """Return an environment in which `python`, as DVC calls it, is this Python."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DVC_NO_ANALYTICS": "1", "PATH": path}


def run(folder: Path, *command: str) -> str:
    """Run a command that must succeed; return its output."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise SystemExit(f"error: {' '.join(command[:5])}: {''.join(last)}")
    return done.stdout


def clone(folder: Path) -> Path:
    """Clone the last commit."""
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
    name_committer(folder)
    return folder


def name_committer(folder: Path) -> None:
    """Name a committer, without whom Git and DVC's experiments refuse to commit."""
    run(folder, "git", "config", "user.name", "benchmark")
    run(folder, "git", "config", "user.email", "benchmark@example.org")
