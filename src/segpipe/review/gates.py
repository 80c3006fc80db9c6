"""Compare scores with the gates of `params.yaml`."""

from dataclasses import dataclass
from typing import Any

from segpipe.common.words import did_you_mean
from segpipe.params.load import GateParams
from segpipe.report.changes import MISSING, is_number
from segpipe.review.paired import Verdicts


@dataclass(frozen=True)
class GateResult:
    """A gate, the score it was compared with, and why it fails."""

    gate: GateParams
    score: Any  # the metric here, or `missing`
    failures: list[str]  # empty if the gate holds
    tested: str = ""  # the answer of the test of chance, a sentence
    most_affected: str = ""  # the classes and images in which it is worse
    untested: bool = False  # whether `worse` was asked, and could not be tested

    @property
    def holds(self) -> bool | None:
        """Whether the gate holds; None if nothing fails but `worse` could not be tested."""
        return None if self.untested and not self.failures else not self.failures

    @property
    def limits(self) -> str:
        """The gate's limits as in `params.yaml`."""
        limits = self.gate.model_dump(exclude={"metric"}, exclude_none=True)
        words = ((key, v if isinstance(v, str) else f"{v:g}") for key, v in limits.items())
        return ", ".join(f"{key} {value}" for key, value in words)


def judge(
    gate: GateParams, here: dict[str, Any], base: dict[str, Any] | None, chance: Verdicts
) -> GateResult:
    """Compare scores, by name, with a gate. Without a base, `max_drop` and `worse` are not checked."""
    score = here.get(gate.metric, MISSING)
    sides = {"here": here} if base is None else {"here": here, "at the base": base}
    missing = [side for side, scores in sides.items() if not is_number(scores.get(gate.metric))]
    if missing:
        hint = "" if gate.metric in here else did_you_mean(gate.metric, here)
        return GateResult(gate, score, [f"missing {' and '.join(missing)}{hint}"])
    failures = []
    if gate.min is not None and score < gate.min:
        failures.append(f"{score:.4f} is below min {gate.min:g}")
    if gate.max is not None and score > gate.max:
        failures.append(f"{score:.4f} is above max {gate.max:g}")
    if gate.max_drop is not None and base is not None:
        drop = round(base[gate.metric] - score, 12)  # 0.70 - 0.69 is more than 0.01 in floats
        if drop > gate.max_drop:
            failures.append(f"fell by {drop:.4f}, more than max_drop {gate.max_drop:g}")
    verdict = chance.verdicts.get(gate.metric) if gate.worse else None
    if verdict is None:
        return GateResult(gate, score, failures, untested=gate.worse is not None and base is not None)
    if verdict.word == "worse":
        failures.append("worse than chance explains")
    most_affected = chance.most_affected.get(gate.metric, "")
    return GateResult(gate, score, failures, chance.sentence(gate.metric), most_affected)
