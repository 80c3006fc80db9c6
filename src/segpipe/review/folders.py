"""Hash files and folders at a commit, and name the files of a folder that changed since a stage ran.

`dvc.lock` holds only the folder's hash. A commit at which DVC computes the same hash proves which files
the stage ran with.
"""

import functools
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile.build import build

from segpipe.review import git

_MOST_COMMITS, _MOST_NAMES = 10, 4


@functools.cache  # several stages depend on the same folder
def changed_files(repo: Repo, folder: str, md5: str) -> list[str]:
    """Return the files that changed since a folder had this hash, such as `loop.py` or `new.py new`.

    Empty if none of the folder's last commits has the hash, as in a shallow clone, or after a run with
    uncommitted code.
    """
    for commit in git.commits_of(folder, _MOST_COMMITS):
        try:
            with Repo(rev=commit) as past:
                then_md5, then = _files(past, folder)
        except Exception:  # whatever an old commit lacks or DVC cannot read: it proves nothing
            continue
        if then_md5 == md5:
            return _described(then, _files(repo, folder)[1])
    return []


@functools.cache  # several experiments start from a commit
def hashes(commit: str, paths: tuple[str, ...]) -> list[str | None]:
    """Return DVC's hash of each file or folder at a commit; None where it has none.

    Where the path was added with `dvc add`, that is the hash in its `.dvc` file.
    """
    with Repo(rev=commit) as past:
        added = {out.fs_path: out.hash_info.value for out in past.index.outs if out.hash_info}
        places = [past.fs.join(past.root_dir, path) for path in paths]
        return [added.get(place) or _hash(past, place) for place in places]


def _hash(repo: Any, place: str) -> str | None:
    return _built(repo, place).hash_info.value if repo.fs.exists(place) else None


def _files(repo: Any, folder: str) -> tuple[str, dict[str, str]]:
    """Return DVC's hash of a folder, and the md5 of each file."""
    tree = _built(repo, repo.fs.join(repo.root_dir, folder))
    return tree.hash_info.value, {"/".join(key): md5.value for key, _, md5 in tree}


def _built(repo: Any, place: str) -> Any:
    """Return DVC's object of a file or folder; `.dvcignore` applies."""
    return build(repo.cache.local, place, repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)[2]


def _described(then: dict[str, str], now: dict[str, str]) -> list[str]:
    changed = [
        name + (" new" if name not in then else " deleted" if name not in now else "")
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    more = len(changed) - _MOST_NAMES
    return changed[:_MOST_NAMES] + ([f"and {more} more"] if more > 0 else [])
