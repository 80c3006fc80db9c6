"""Answer whether a change may be merged: stale stages, changed scores and params, gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvc.repo import Repo

from segpipe.common.errors import CannotTell, UserError, brief
from segpipe.fetch import tally
from segpipe.params.load import GateParams, load_params
from segpipe.report.changes import Change, changes, is_number
from segpipe.report.render import render
from segpipe.review import TEMPLATES, git
from segpipe.review.freshness import Freshness, freshness
from segpipe.review.gates import GateResult, judge
from segpipe.review.paired import Verdicts, paired_test
from segpipe.review.revision import MASK_TALLY, MINOR, Revision

Verdict = Literal["yes", "no", "cannot tell"]
Scores = dict[str, Any]
MOST_ROWS = 50  # in a table of changes: a comment on GitHub holds at most 65,536 characters
EXIT_CODES: dict[Verdict, int] = {"yes": 0, "no": 1, "cannot tell": 2}


@dataclass(frozen=True)
class Findings:
    """The findings of a check: stale stages, gates, changed scores and params."""

    base: str | None  # the revision compared with; None if the project has none yet
    notes: list[str]
    freshness: Freshness
    gates: list[GateResult]
    chance: list[str]  # notes on the tests of chance
    doubts: list[str]  # why chance could not be tested
    scores: list[Change]
    params: list[Change]

    @property
    def main_and_minor_scores(self) -> tuple[list[Change], list[Change]]:
        """The changed scores that have a gate or summarise others, and the rest."""
        gated = {result.gate.metric for result in self.gates}
        main = [c for c in self.scores if c.name in gated or not MINOR.search(c.name)]
        return main, [change for change in self.scores if change not in main]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "base": self.base,
            "notes": self.notes,
            "stale": self.freshness.stale,
            "gates": [_plain_gate(gate) for gate in self.gates],
            "chance": self.chance,
            "scores": [_plain(change) for change in self.scores],
            "params": [_plain(change) for change in self.params],
        }


@dataclass(frozen=True)
class Answer:
    """The verdict and its reasons."""

    doubts: list[str]  # why the answer is not "yes" even if nothing is wrong
    findings: Findings | None  # None where something could not be read

    @property
    def verdict(self) -> Verdict:
        """Whether it may be merged. A failure outweighs a doubt."""
        findings = self.findings
        if findings and (findings.freshness.stale or any(gate.failures for gate in findings.gates)):
            return "no"
        return "cannot tell" if self.doubts else "yes"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values; without findings, only the verdict and its doubts."""
        findings = self.findings.to_json() if self.findings else {}
        return {"verdict": self.verdict, "doubts": self.doubts, **findings}

    def to_markdown(self) -> str:
        """Format as a comment on a pull request."""
        context = {"answer": self, "findings": self.findings, "most": MOST_ROWS}
        return render(TEMPLATES / "check.md", context)


def check_against(base: str) -> Answer:
    """Answer for the working tree, compared with a base revision. No data is read or pulled."""
    try:
        git.require_commits()
        uncommitted = git.uncommitted()
        findings = _findings(base)
        return Answer([*findings.doubts, *_doubts(findings.freshness, uncommitted)], findings)
    except UserError as error:
        return Answer([str(error)], None)
    except Exception as error:  # a file may hold anything; the answer is then "cannot tell"
        return Answer([f"{type(error).__name__}: {brief(error)}"], None)


def _findings(base: str) -> Findings:
    gates = load_params().gates
    here = Revision()
    before, notes = _base(base)
    fresh = freshness()
    if not gates:
        notes.append("params.yaml has no gates: any scores pass")
    elif before and before.params().get("gates") != here.params().get("gates"):
        notes.append("this change alters the gates")
    if fresh.not_here:
        notes.append(f"not compared, since not on this machine: {', '.join(fresh.not_here)}")
    scores = here.scores()
    base_scores = before.scores() if before else None
    if before and not base_scores and before.text("dvc.lock") is None:
        notes.append(f"{base} has no results yet: only min and max are checked")
        base_scores = None
    if base_scores and base_scores.get("images") != scores.get("images"):
        notes.append("the numbers of test images differ: it is not the same test")
    notes += _labels(before, here) if before else []
    chance, doubts = _chance(gates, scores, base_scores, before, here)
    return Findings(
        f"{base} ({before.commit[:9]})" if before and before.commit else None,
        notes,
        fresh,
        [judge(gate, scores, base_scores, chance) for gate in gates],
        chance.notes,
        doubts,
        changes(base_scores or {}, scores),
        changes(before.params(), here.params()) if before else [],
    )


def _chance(
    gates: Sequence[GateParams], scores: Scores, base_scores: Scores | None,
    before: Revision | None, here: Revision,
) -> tuple[Verdicts, list[str]]:  # fmt: skip
    """Test the gates that ask whether a score is worse. Return the verdicts, and why any are missing."""
    asked = dict.fromkeys(gate.metric for gate in gates if gate.worse)
    names = [n for n in asked if is_number(scores.get(n)) and is_number((base_scores or {}).get(n))]
    if not names or before is None:
        return Verdicts(), []
    try:
        tested = paired_test(names, before, here)
        return tested, tested.doubts
    except UserError as reason:
        return Verdicts(), [str(reason)]


def _labels(before: Revision, here: Revision) -> list[str]:
    """Return a note on how the masks changed, if they did, or on why it is not known."""
    try:
        then, now = before.masks(), here.masks()
    except UserError as reason:
        return [f"labels are not compared: {reason}"]
    if now is None:
        return []
    if then is None:
        return [f"labels are not compared: {before.label} has no {MASK_TALLY}"]
    changed = tally.changes(then, now)
    return [f"labels: {changed}"] if changed else []


def _base(name: str) -> tuple[Revision | None, list[str]]:
    """Return the base and notes on it; None for the first commit of a project, which has none."""
    first = git.is_first_commit()
    try:
        revision = Revision(name)
    except CannotTell:
        if not first or git.knows_a_remote():  # the base may exist there, but not here
            raise
        revision = None
    if revision and revision.commit != git.commit_of("HEAD"):
        return revision, []
    if revision is None or first:
        return None, ["this is the first commit, so there is no base: only min and max are checked"]
    return revision, [f"{name} is this very commit"]


def _doubts(fresh: Freshness, uncommitted: list[str]) -> list[str]:
    """Return why the answer cannot be "yes": the working tree was checked, but a commit is merged."""
    ignored = Repo().dvcignore.is_ignored_file
    changed = [
        path
        for path in uncommitted
        if path in fresh.watched
        or (fresh.watched & {*map(str, Path(path).parents)} and not ignored(str(Path(path).resolve())))
    ]
    doubts = [f"not committed, so not what would be merged: {', '.join(changed)}"] if changed else []
    return fresh.doubts + doubts


def _plain_gate(result: GateResult) -> dict[str, Any]:
    chance = {"tested": result.tested, "payers": result.most_affected}
    return {
        **result.gate.model_dump(exclude_none=True),
        "holds": result.holds,
        "failures": result.failures,
        **{name: text for name, text in chance.items() if text},
    }


def _plain(change: Change) -> dict[str, Any]:
    sides = {"name": change.name, "base": change.before, "here": change.after}
    return sides if change.difference is None else {**sides, "difference": change.difference}
