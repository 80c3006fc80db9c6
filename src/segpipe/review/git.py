"""Ask Git about the repository of the working directory."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from segpipe.common import git
from segpipe.common.errors import CannotTell, UserError, brief
from segpipe.common.words import few


def require_commits() -> None:
    """Raise CannotTell unless this is the root of a Git repository with a commit."""
    try:
        asked = git.run("rev-parse", "--show-toplevel")
    except FileNotFoundError:
        raise CannotTell("git is not installed") from None
    if asked.returncode:
        reason = brief(asked.stderr)  # names the command that helps where another user owns it
        raise CannotTell(
            f"{Path.cwd()} is in no Git repository that can be read ({reason}); run this in a clone"
        )
    root, here = Path(asked.stdout.rstrip("\n")).resolve(), Path.cwd().resolve()
    if root != here and Path("params.yaml").is_file() and not (root / "params.yaml").is_file():
        mend = "give the project a repository of its own, or make it a Git submodule"
        raise CannotTell(f"{here} lies in a sub-folder of the repository {root}; {mend}")
    if root != here:
        raise CannotTell(f"{here} is not the root of the repository; run this in {root}")
    if commit_of("HEAD") is None:
        raise CannotTell("the repository has no commits yet; commit first")


def commit_of(revision: str) -> str | None:
    """Return the SHA of the commit that a revision names, or None if Git knows no such revision here."""
    return git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")


def commits_of(path: str, most: int) -> list[str]:
    """Return the last commits, of any branch, that changed a path, the newest first."""
    listed = git.output("log", "--all", "--full-history", "--format=%H", f"-{most}", "--", path)
    return (listed or "").split()


def merged_commit(base: str | None) -> str:
    """Return the commit to be merged into the base: HEAD, or its parent if HEAD is a test merge.

    GitHub checks a pull request out as a short-lived merge of its head into its base.
    """
    merged = commit_of("HEAD^2") if base and base == commit_of("HEAD^1") else None
    return merged or str(commit_of("HEAD"))


def web_address() -> str | None:
    """Return the web address of `origin`, `https://host/owner/name`, or None if it has none."""
    remote = git.output("remote", "get-url", "origin") or ""
    before_host = r"(?:https://(?:[^/@]*@)?|(?:ssh://)?git@)"
    parts = re.fullmatch(rf"{before_host}([\w.-]+)(?::\d+)?[/:]([\w./-]+?)(?:\.git)?/?", remote)
    return f"https://{parts[1]}/{parts[2]}" if parts else None


def is_first_commit() -> bool:
    """Return whether HEAD has no parent; False in a shallow clone, which may have cut it off."""
    return commit_of("HEAD^") is None and not _is_shallow()


def knows_a_remote() -> bool:
    """Return whether any branch of a remote was ever fetched."""
    return bool(git.output("for-each-ref", "refs/remotes"))


def uncommitted() -> list[str]:
    """Return the changed and the untracked paths. Raises CannotTell where `git status` fails."""
    listed = git.output("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    if listed is None:
        raise CannotTell("`git status` fails; run it to see why")
    return [entry[3:] for entry in listed.split("\0") if entry]


def require_committed(command: str, but: Iterable[Path] = ()) -> None:
    """Raise UserError where files other than `but` differ from the commit that `command` trains."""
    allowed = {path.resolve() for path in but}
    if changed := [path for path in uncommitted() if Path(path).resolve() not in allowed]:
        raise UserError(
            f"{command} trains the recipe as committed, and these files are not: "
            f"{few(changed)}; commit them, or set them aside (git stash -u)"
        )


def files(pattern: str) -> list[str]:
    """Return the tracked paths that match a pattern and exist."""
    listed = (git.output("ls-files", "-z", "--", pattern) or "").split("\0")
    return [path for path in listed if path and Path(path).exists()]


def ignores(path: str) -> bool:
    """Return whether `.gitignore` covers a path of the repository."""
    return git.output("check-ignore", "--quiet", "--", path) is not None


def how_to_fetch(revision: str) -> str:
    """Return the command that fetches a revision which Git does not know here."""
    remotes = (git.output("remote") or "").split()
    if not remotes:
        branches = git.output("for-each-ref", "--format=%(refname:short)", "refs/heads") or "none"
        listed = ", ".join(branches.split())
        return f"this repository has no remote to fetch it from; its branches are: {listed}"
    name = re.split(r"[~^@]", revision)[0].removeprefix("refs/remotes/").removeprefix("refs/heads/")
    if commit_of(name):
        if _is_shallow():
            return f"for more of its history: git fetch --deepen 1 {remotes[0]}"
        return f"the history of {name} is shorter"
    depth = "--depth 1 " if _is_shallow() else ""
    remote, _, branch = name.partition("/")
    if remote in remotes and branch:
        source = f"{remote} {shlex.quote(f'+{branch}:refs/remotes/{name}')}"
    elif re.fullmatch(r"[0-9a-f]{40}", name):
        source = f"{remotes[0]} {name}"
    else:
        source = f"{remotes[0]} {shlex.quote(f'{name}:{name}')}"
    return f"if it exists there: git fetch {depth}{source}"


def _is_shallow() -> bool:
    return git.output("rev-parse", "--is-shallow-repository") == "true"
