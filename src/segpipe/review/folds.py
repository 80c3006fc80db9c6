"""Cross-validation: the scores of DVC's experiments that differ in `data.fold` alone."""

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.scm import RevError

from segpipe.common.errors import CannotTell, UserError
from segpipe.common.words import few
from segpipe.review import git
from segpipe.review.folders import hashes
from segpipe.review.revision import Revision

FOLD, FOLDS = "data.fold", "data.folds"
_SHOWN = ("val_mean_iou", "original.mean_iou", "original.mean_dice", "original.pixel_accuracy")
_QUEUE = (
    "queue them with `dvc exp run --queue -S data.folds=5 -S 'data.fold=0,1,2,3,4'` and run them with "
    "`dvc queue start`"
)


@dataclass(frozen=True)
class Row:
    """A score over the folds."""

    name: str
    values: list[float | None]  # of the folds that ran, in order; None for a class that is in no picture

    @property
    def mean(self) -> float:
        """The mean over the folds that have it."""
        return statistics.fmean(self._known)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a sample (n - 1); None for a single fold."""
        return statistics.stdev(self._known) if len(self._known) > 1 else None

    @property
    def _known(self) -> list[float]:
        return [value for value in self.values if value is not None]


@dataclass(frozen=True)
class CrossValidation:
    """The runs of one set of params, one a fold."""

    folds: int
    differs: dict[str, Any]  # params in which it differs from the other ones
    scores: dict[int, dict[str, Any]]  # by fold
    revisions: dict[int, Revision]  # by fold
    repeated: dict[int, str]  # folds that ran several times, with the name of the newest, which counts
    left_out: list[str]  # why experiments do not count: they ran in part, or with other code

    @property
    def missing(self) -> list[int]:
        """The folds without scores."""
        return [fold for fold in range(self.folds) if fold not in self.scores]

    def rows(self) -> list[Row]:
        """Return validation's and test's scores, those of the classes last."""
        every = dict.fromkeys(name for scores in self.scores.values() for name in scores)
        names = [*_SHOWN, *(name for name in every if name.startswith("original.iou."))]
        ordered = [scores for _, scores in sorted(self.scores.items())]
        values = {name: [scores.get(name) for scores in ordered] for name in names}
        return [Row(name, row) for name, row in values.items() if {*row} - {None}]


def cross_validations(rev: str = "HEAD") -> list[CrossValidation]:
    """Collect the experiments that started from a commit, by all their params except the fold.

    Raises CannotTell where there is no such commit, UserError where no experiment has folds.
    """
    git.require_commits()
    groups: dict[str, list[tuple[str, Revision]]] = defaultdict(list)
    for name, revision in experiments_of(rev):
        params = revision.params()
        if params.get(FOLDS, 1) > 1:
            rest = {key: value for key, value in params.items() if key != FOLD}
            groups[json.dumps(rest, sort_keys=True)].append((name, revision))
    if not groups:
        raise UserError(f"no experiment that started from {rev} has {FOLDS} above 1; {_QUEUE}")
    params_of = {key: json.loads(key) for key in groups}
    names = dict.fromkeys(name for params in params_of.values() for name in params)
    varied = [n for n in names if len({json.dumps(params.get(n)) for params in params_of.values()}) > 1]
    return [
        _collected(rev, {name: params.get(name) for name in varied}, params[FOLDS], groups[key])
        for key, params in params_of.items()
    ]


def experiments_of(rev: str) -> list[tuple[str, Revision]]:
    """Return the experiments that started from a commit with their names, the oldest first."""
    repo = Repo()
    try:
        listed = repo.experiments.ls(rev)
    except RevError:
        raise CannotTell(f"{rev}: no such revision here; {git.how_to_fetch(rev)}") from None
    experiments = [experiment for branch in listed.values() for experiment in branch]
    experiments.sort(key=lambda named: (repo.scm.resolve_commit(named[1]).commit_time, named[0]))
    return [(name, Revision(sha)) for name, sha in experiments]


def with_own_scores(
    rev: str, runs: list[tuple[str, Revision]]
) -> tuple[list[tuple[str, Revision]], list[str]]:
    """Return the experiments that ran as a whole with the code of the commit that they started from.

    Return also why the others do not count.
    """
    complete, left_out = list[tuple[str, Revision]](), list[str]()
    for name, revision in runs:
        if why := _ran_in_part(name, revision):
            left_out.append(why)
        else:
            complete.append((name, revision))
    others = [name for name, revision in complete if not _has_code_of(rev, revision)]
    if others:
        left_out.append(
            f"{len(others)} experiments are left out, since they ran with other code or data than "
            f"{rev}: {few(others)}"
        )
    return [run for run in complete if run[0] not in others], left_out


def _has_code_of(rev: str, revision: Revision) -> bool:
    """Return whether an experiment ran with the code of a commit: both can have the same params.

    A commit says nothing of paths that it does not hold, such as data that neither Git nor DVC keeps.
    """
    code = {path: md5 for path, md5 in revision.code().items() if _is_inside(path)}
    known = hashes(str(git.commit_of(rev)), (*code,)) if code else []
    return all(md5 in (None, own) for md5, own in zip(known, code.values(), strict=True))


def _is_inside(path: str) -> bool:
    """Return whether a path lies in the repository: a commit says nothing of others."""
    return not (Path(path).is_absolute() or path.startswith(".."))


def _ran_in_part(name: str, revision: Revision) -> str:
    """Return why an experiment's scores are not its own; empty if they are."""
    if not (stage := revision.left_behind()):
        return ""
    return (
        f"{name} is left out: its stage {stage} ran with other params or data, so that the scores are "
        "not its own; `dvc exp run` without the name of a stage runs all of them"
    )


def _collected(
    rev: str, differs: dict[str, Any], folds: int, runs: list[tuple[str, Revision]]
) -> CrossValidation:
    scores: dict[int, dict[str, Any]] = {}
    revisions: dict[int, Revision] = {}
    repeated: dict[int, str] = {}
    own_runs, left_out = with_own_scores(rev, runs)
    for name, revision in own_runs:
        fold, own = revision.params()[FOLD], revision.scores()
        if own and fold in scores:
            repeated[fold] = name
        if own:
            scores[fold], revisions[fold] = own, revision
    return CrossValidation(folds, differs, scores, revisions, repeated, left_out)
