"""Compare scores with the gates of `params.yaml`."""

from dataclasses import dataclass
from typing import Any

from segpipe.common.words import did_you_mean
from segpipe.params.load import GateParams
from segpipe.report.changes import MISSING, is_number


@dataclass(frozen=True)
class GateResult:
    """A gate, the score it was compared with, and why it fails."""

    gate: GateParams
    score: Any  # the metric here, or `missing`
    failures: list[str]  # empty if the gate holds

    @property
    def limits(self) -> str:
        """The gate's limits as in `params.yaml`."""
        limits = self.gate.model_dump(exclude={"metric"}, exclude_none=True)
        return ", ".join(f"{key} {value:g}" for key, value in limits.items())


def judge(gate: GateParams, here: dict[str, Any], base: dict[str, Any] | None) -> GateResult:
    """Compare scores, by name, with a gate. Without a base, `max_drop` is not checked."""
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
    return GateResult(gate, score, failures)
