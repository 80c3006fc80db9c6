"""Measure how much seeds move the scores: train the committed recipe with several, in DVC's queue."""

import statistics
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from segpipe.common.errors import UserError, brief
from segpipe.report.baseline import read_baseline, write_seeds
from segpipe.report.changes import is_number
from segpipe.review import git
from segpipe.review.folds import experiments_of, with_own_scores
from segpipe.review.freshness import freshness
from segpipe.review.paired import BASELINE, recipe_hash
from segpipe.review.revision import Revision

_SCORES = ("original.", "network.", "loss", "calibration_error")
"""How the names of scores on the test split begin."""


def measure(number: int) -> dict[str, float]:
    """Train with so many seeds, from `seed` of `params.yaml` on; return each score's deviation.

    Writes the standard deviations, of a sample, to `baseline.json`. A seed does not run again if this
    commit, or an experiment that started from it, has its scores.

    Raises UserError where files differ from the commit, or a seed still has no scores at the end, and
    CannotTell outside a repository.
    """
    git.require_commits()
    git.require_committed("noise")
    read_baseline(Path(BASELINE))  # raises now if it is damaged, not after hours of training
    params = Revision("HEAD").params()
    wanted = range(params["seed"], params["seed"] + number)
    queued = _in_queue()  # before the scores are read: one that ends in between is in both
    known, left_out = _scores(params)
    for why in left_out:
        print(why)
    missing = [seed for seed in wanted if seed not in known]
    print(f"{number - len(missing)} of {number} seeds have scores", flush=True)
    if missing:
        _run(missing, {entry.name for entry in queued})
        known, _ = _scores(params)
    if left := [str(seed) for seed in wanted if seed not in known]:
        raise UserError(
            f"no scores of seed {', '.join(left)} yet: `dvc queue status` shows whether they run or "
            "failed, `dvc queue logs NAME` why; the same command resumes"
        )
    deviation = deviations([known[seed] for seed in wanted])
    write_seeds(Path(BASELINE), number, recipe_hash(params), deviation)
    return deviation


def deviations(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the standard deviation, of a sample, of each score that all runs have."""
    names = [name for name in runs[0] if name.startswith(_SCORES) and ".interval." not in name]
    in_all = [name for name in names if all(is_number(run.get(name)) for run in runs)]
    return {name: statistics.stdev(run[name] for run in runs) for name in in_all}


def _scores(params: dict[str, Any]) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Return the scores by seed: those of this commit, and of the experiments with its params.

    Also return why other such experiments do not count.
    """
    scores_of = dict[int, dict[str, Any]]()
    if not freshness().stale:  # DVC refuses an experiment that changes nothing
        scores_of[params["seed"]] = Revision("HEAD").scores()
    same_params = [
        (name, revision)
        for name, revision in experiments_of("HEAD")
        if revision.params() | {"seed": None} == params | {"seed": None}
    ]
    runs, left_out = with_own_scores("HEAD", same_params)
    for _, revision in runs:
        if scores := revision.scores():
            scores_of[revision.params()["seed"]] = scores
    return scores_of, left_out


def _run(seeds: Iterable[int], queued: Collection[str]) -> None:
    """Queue the seeds that are not queued yet, and follow all of them until they end, or Ctrl-C."""
    names = {f"noise-{str(git.commit_of('HEAD'))[:9]}-{seed}": seed for seed in seeds}
    for name in (name for name in names if name not in queued):  # they run in the order of the queue
        command = [sys.executable, "-m", "dvc", "exp", "run", "--quiet", "--queue", "--name", name]
        done = subprocess.run(
            [*command, "-S", f"seed={names[name]}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"DVC cannot queue {name}: {brief(done.stderr)}")
    entries = [entry for entry in _in_queue() if entry.name in names]
    if not entries:
        return  # they ended in the meantime
    listed = ", ".join(f"{names[entry.name]} ({entry.name})" for entry in entries)
    print(f"training with seed {listed}, one after the other; Ctrl-C leaves them running", flush=True)
    Repo().experiments.reproduce_celery(entries, jobs=1)


def _in_queue() -> list[Any]:
    """Return the experiments that run or wait, in the order of their names."""
    queue = Repo().experiments.celery_queue
    waiting = [*queue.iter_queued()]  # first: one that begins meanwhile is in both
    by_revision = {entry.stash_rev: entry for entry in (*waiting, *queue.iter_active())}
    return sorted(by_revision.values(), key=lambda entry: entry.name or "")
