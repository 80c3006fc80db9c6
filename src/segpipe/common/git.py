"""Run Git. Questions about the repository are in `segpipe.review.git`."""

import subprocess
from pathlib import Path


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a Git command in a folder, or here, whatever its exit code.

    Raises FileNotFoundError where Git is not installed. A file name that is not UTF-8 survives.
    """
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, check=False,
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip


def output(*arguments: str, folder: Path | None = None) -> str | None:
    """Return Git's output without its last line breaks; None where Git is missing or fails."""
    try:
        result = run(*arguments, folder=folder)
    except OSError:
        return None
    return None if result.returncode else result.stdout.rstrip("\n")
