"""What Git says of the repository around the working directory."""

import re
import shlex
import subprocess
from pathlib import Path

from segpipe.common.errors import UserError


class CannotTell(UserError):
    """There is no answer to the question; the message says why, and what to do."""

    exit_code = 2


def require_commits() -> None:
    """Raise CannotTell unless this is the root of a Git repository with a commit."""
    root = _git("rev-parse", "--show-toplevel")
    if root is None:
        raise CannotTell(f"{Path.cwd()} is in no Git repository; run this in a clone")
    if Path(root).resolve() != Path.cwd().resolve():
        raise CannotTell(f"{Path.cwd()} is not the root of the repository; run this in {root}")
    if commit_of("HEAD") is None:
        raise CannotTell("the repository has no commits yet; commit first")


def commit_of(revision: str) -> str | None:
    """The SHA of the commit that a revision names, or None where Git knows no such revision here."""
    return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")


def merged_commit(base: str | None) -> str:
    """The commit that is to be merged into the base: HEAD, or what HEAD merged into it for a test.

    GitHub checks a pull request out as a merge of its head into its base; that commit is short-lived.
    """
    merged = commit_of("HEAD^2") if base and base == commit_of("HEAD^1") else None
    return merged or str(commit_of("HEAD"))


def web_address() -> str | None:
    """Where a browser finds `origin`: `https://host/owner/name`; None where that cannot be told."""
    remote = _git("remote", "get-url", "origin") or ""
    before_host = r"(?:https://(?:[^/@]*@)?|(?:ssh://)?git@)"
    found = re.fullmatch(rf"{before_host}([\w.-]+)(?::\d+)?[/:]([\w./-]+?)(?:\.git)?/?", remote)
    return f"https://{found[1]}/{found[2]}" if found else None


def is_first_commit() -> bool:
    """Whether HEAD has no parent. In a shallow clone nobody can tell: then no."""
    return commit_of("HEAD^") is None and not is_shallow()


def knows_a_remote() -> bool:
    """Whether any branch of a remote was ever fetched."""
    return bool(_git("for-each-ref", "refs/remotes"))


def uncommitted() -> list[str]:
    """Paths that differ from HEAD or that Git does not know, ignored ones left out.

    Raises:
        CannotTell: Git cannot say.
    """
    listed = _git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    if listed is None:
        raise CannotTell("`git status` fails; run it to see why")
    return [entry[3:] for entry in listed.split("\0") if entry]


def files(pattern: str) -> list[str]:
    """The paths in Git that match a pattern and are here."""
    listed = (_git("ls-files", "-z", "--", pattern) or "").split("\0")
    return [path for path in listed if path and Path(path).exists()]


def ignores(path: str) -> bool:
    """Whether `.gitignore` names a path of the repository."""
    return _git("check-ignore", "--quiet", "--", path) is not None


def how_to_fetch(revision: str) -> str:
    """The command that brings a revision which Git does not know here."""
    remotes = (_git("remote") or "").split()
    if not remotes:
        return f"this repository has no remote to fetch it from; its branches are: {_branches()}"
    name = re.split(r"[~^@]", revision)[0].removeprefix("refs/remotes/").removeprefix("refs/heads/")
    if commit_of(name):
        if is_shallow():
            return f"for more of its history: git fetch --deepen 1 {remotes[0]}"
        return f"the history of {name} is shorter"
    depth = "--depth 1 " if is_shallow() else ""
    remote, _, branch = name.partition("/")
    if remote in remotes and branch:
        source = f"{remote} {shlex.quote(f'+{branch}:refs/remotes/{name}')}"
    elif re.fullmatch(r"[0-9a-f]{40}", name):
        source = f"{remotes[0]} {name}"
    else:
        source = f"{remotes[0]} {shlex.quote(f'{name}:{name}')}"
    return f"if it exists there: git fetch {depth}{source}"


def is_shallow() -> bool:
    """Whether history is cut off here."""
    return _git("rev-parse", "--is-shallow-repository") == "true"


def _branches() -> str:
    names = _git("for-each-ref", "--format=%(refname:short)", "refs/heads") or ""
    return ", ".join(names.split()) or "none"


def _git(*arguments: str) -> str | None:
    """What Git prints, or None where it fails."""
    try:
        result = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except FileNotFoundError:
        raise CannotTell("git is not installed") from None
    return result.stdout.rstrip("\n") if result.returncode == 0 else None
