"""Name the files of a folder that changed since a stage ran.

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


def _files(repo: Any, folder: str) -> tuple[str, dict[str, str]]:
    """Return DVC's hash of a folder, and the md5 of each file; `.dvcignore` applies."""
    path = repo.fs.join(repo.root_dir, folder)
    tree: Any = build(repo.cache.local, path, repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)[2]
    return tree.hash_info.value, {"/".join(key): md5.value for key, _, md5 in tree}


def _described(then: dict[str, str], now: dict[str, str]) -> list[str]:
    changed = [
        name + (" new" if name not in then else " deleted" if name not in now else "")
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    more = len(changed) - _MOST_NAMES
    return changed[:_MOST_NAMES] + ([f"and {more} more"] if more > 0 else [])
