"""The search: Optuna proposes trials and prunes them by their validation curves, and keeps a journal.

Only this process writes the journal. A killed sweep leaves its trials in it as running; the next sweep
resumes them.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from segpipe.common import cluster, locks
from segpipe.common.errors import DIVERGED, LOST_HOST, UserError
from segpipe.common.words import score
from segpipe.review import git
from segpipe.sweep import attempt
from segpipe.sweep.attempt import Attempt
from segpipe.sweep.plan import Plan
from segpipe.train.hosts import TRAIN_ON
from segpipe.train.resume import Row

JOURNALS = Path("logs/sweeps")
_BEAT = 1.0  # seconds between two checks of the running trials
_KNOWN = (TrialState.COMPLETE, TrialState.PRUNED)
_SAMPLERS: dict[str, Callable[..., BaseSampler]] = {"tpe": TPESampler, "random": RandomSampler}
_REASONS = {
    "median": "below the median of the trials before",
    "halving": "not among the best quarter so far",
}


def search(plan: Plan) -> list[FrozenTrial]:
    """Run the missing trials, and return all trials of the study in the order of their numbers.

    The attribute `reason` of a trial says why it was pruned or failed; that of a finished trial,
    `experiment`, names its experiment.

    Raises:
        UserError: another process runs the same sweep, or a trial failed before any has succeeded.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = JOURNALS / f"{plan.name}.journal"
    lock_file = journal.with_suffix(".lock")
    if (lock := locks.take(lock_file)) is None:
        raise UserError(f"the sweep {plan.name} runs already, by {locks.holder(lock_file)}")
    try:
        _drop_half_record(journal)
        sweep = _Sweep(plan, journal)
        with _places(plan) as places:
            sweep.run(places)
        return sweep.study.get_trials()
    finally:
        lock.release()


def _drop_half_record(journal: Path) -> None:
    """Cut off a record that a full disk or a power failure left half written: Optuna cannot read it."""
    if journal.is_file():
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)


@contextmanager
def _places(plan: Plan) -> Iterator[Callable[[], list[str]]]:
    """Yield a function that lists the places where a trial may run: this machine, or hosts or GPUs.

    A trial that trains on several hosts itself runs alone.
    """
    train = plan.params.train
    if "RAY_ADDRESS" not in os.environ or train.hosts != 1:
        yield lambda: [""]
        return
    with cluster.connected("a sweep"):
        yield lambda: cluster.places(cluster.gpus_each(train.devices))


@dataclass
class _Running:
    """A running trial."""

    trial: Trial
    attempt: Attempt
    epoch: int  # the last one that Optuna knows


class _Sweep:
    """A study, and its running trials by place."""

    def __init__(self, plan: Plan, journal: Path) -> None:
        self.plan, self.commit = plan, str(git.commit_of("HEAD"))
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))), load_if_exists=True,
            study_name=plan.study(self.commit), direction="maximize", pruner=_pruner(plan),
        )  # fmt: skip
        self.running: dict[str, _Running] = {}
        self.lost: set[int] = set()  # the numbers of the trials that lost a host once
        self.waiting = deque(self._left_over())
        attempt.clear(self.study.study_name, [self._name(trial) for trial in self.waiting])
        missing = plan.trials - len(self._trials(*_KNOWN))
        self.to_ask = max(0, missing - len(self.waiting))
        known = f"{plan.trials - missing} of {plan.trials} trials are known"
        print(f"{self.study.study_name}: {known}, {len(self.waiting)} go on", flush=True)

    def run(self, places: Callable[[], list[str]]) -> None:
        """Run the missing trials, as many at once as there are places."""
        try:
            while True:
                for place in [place for place in places() if place not in self.running]:
                    if trial := self._next():
                        self.running[place] = self._start(trial, place)
                if not self.running:
                    break
                time.sleep(_BEAT)
                self.running = {
                    place: running
                    for place, running in self.running.items()
                    if not self._has_ended(running)
                }
        finally:
            for running in self.running.values():
                running.attempt.stop()
        if left := len(self.waiting) + self.to_ask:
            raise UserError(f"the cluster has no host left for {left} trials; the same command resumes")

    def _name(self, trial: Trial) -> str:
        return f"{self.study.study_name}-{trial.number}"

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _left_over(self) -> Iterator[Trial]:
        """Yield the unfinished trials of a killed sweep; one without all its params is marked failed."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.keys() == self.plan.ranges.keys():
                yield Trial(self.study, trial._trial_id)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _next(self) -> Trial | None:
        """Return the next trial. Its seed depends on its number alone, so that a sweep can resume."""
        if self.waiting:
            return self.waiting.popleft()
        if not self.to_ask:
            return None
        self.to_ask -= 1
        seed = self.plan.params.seed + len(self._trials())
        self.study.sampler = _SAMPLERS[self.plan.sampler](seed=seed)
        return self.study.ask(self.plan.ranges)

    def _start(self, trial: Trial, place: str) -> _Running:
        name = self._name(trial)
        changes = self.plan.overrides(trial.params)
        print(f"{name}: {' '.join(changes)}", flush=True)
        log = JOURNALS / f"{name}.log"
        known = self._trials()[trial.number].intermediate_values
        started = attempt.start(name, self.commit, changes, log, {TRAIN_ON: place.partition("/")[0]})
        return _Running(trial, started, max(known, default=0))

    def _has_ended(self, running: _Running) -> bool:
        """Report a trial's new epochs to Optuna; return whether it has ended, or was pruned."""
        if running.attempt.process.is_alive():
            return self._prunes(running)
        if running.attempt.process.exitcode == 0:
            self._complete(running)
        elif (error := running.attempt.error).startswith(DIVERGED):
            self._give_up(running, TrialState.PRUNED, error.partition(";")[0])
        elif error.startswith(LOST_HOST) and running.trial.number not in self.lost:
            print(f"{running.attempt.name}: {error}", flush=True)
            self.lost.add(running.trial.number)
            self.waiting.append(running.trial)
        else:
            self._give_up(running, TrialState.FAIL, error)
            if not self._trials(*_KNOWN):
                raise UserError(
                    f"{running.attempt.name} failed: {error} (all of it: {running.attempt.log})"
                )
        return True

    def _prunes(self, running: _Running) -> bool:
        """Report the new epochs of a training trial; stop it if the pruner says so."""
        for row in running.attempt.history:
            if self._report(running, row) and running.trial.should_prune():
                running.attempt.stop()
                best = score(max(self._trials()[running.trial.number].intermediate_values.values()))
                state = f"after epoch {running.epoch}, with a best validation mean IoU of {best}"
                self._give_up(running, TrialState.PRUNED, f"{state}: {_REASONS[self.plan.pruner]}")
                return True
        return False

    def _report(self, running: _Running, row: Row) -> bool:
        """Report an epoch; return whether it is new."""
        epoch = int(row["epoch"])
        if epoch <= running.epoch:
            return False
        running.epoch = epoch
        running.trial.report(row["val_mean_iou"], epoch)
        return True

    def _complete(self, running: _Running) -> None:
        """Keep the experiment, then record it in the journal."""
        for row in running.attempt.results:
            self._report(running, row)
        running.attempt.keep()
        running.trial.set_user_attr("experiment", running.attempt.name)
        value = running.attempt.score
        self.study.tell(running.trial, value)
        running.attempt.remove()
        best = score(self.study.best_value)
        print(f"{running.attempt.name}: validation mean IoU {score(value)} (best {best})", flush=True)

    def _give_up(self, running: _Running, state: TrialState, reason: str) -> None:
        running.trial.set_user_attr("reason", reason)
        self.study.tell(running.trial, state=state)
        running.attempt.remove()
        outcome = "pruned" if state == TrialState.PRUNED else "failed"
        print(f"{running.attempt.name}: {outcome}: {reason}", flush=True)


def _pruner(plan: Plan) -> BasePruner:
    """Return Optuna's pruner, which ignores the epochs in which the learning rate warms up."""
    first = plan.params.train.warmup_epochs + 1
    pruners = {"median": MedianPruner(n_warmup_steps=first), "halving": SuccessiveHalvingPruner(first)}
    return pruners.get(plan.pruner, NopPruner())
