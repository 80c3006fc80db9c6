"""Gates: what a model's scores must reach before it is merged."""

from dataclasses import dataclass
from typing import Any

from segpipe.common.words import did_you_mean
from segpipe.params.load import GateParams
from segpipe.report.changes import MISSING


@dataclass(frozen=True)
class GateResult:
    """One gate and what came of it."""

    gate: GateParams
    score: Any
    """The metric here; `missing` where there is none."""
    failures: list[str]
    """Why it does not hold; empty where it does."""

    @property
    def holds(self) -> bool:
        """Whether the gate lets the change through."""
        return not self.failures

    @property
    def limits(self) -> str:
        """The gate's limits as `params.yaml` says them."""
        return ", ".join(f"{key} {value:g}" for key, value in _limits(self.gate).items())


def judge(gate: GateParams, here: dict[str, Any], base: dict[str, Any] | None) -> GateResult:
    """Hold a gate against the scores.

    Args:
        gate: the metric and its limits.
        here: scores by name.
        base: those of the base; None where the project has none yet: `max_drop` is then not looked at.
    """
    score = here.get(gate.metric, MISSING)
    sides = {"here": here} if base is None else {"here": here, "at the base": base}
    missing = [side for side, scores in sides.items() if not _is_number(scores.get(gate.metric))]
    if missing:
        return GateResult(gate, score, [_missing(gate.metric, missing, here)])
    failures = []
    if gate.min is not None and score < gate.min:
        failures.append(f"{score:.4f} is below min {gate.min:g}")
    if gate.max is not None and score > gate.max:
        failures.append(f"{score:.4f} is above max {gate.max:g}")
    if gate.max_drop is not None and base is not None:
        drop = round(base[gate.metric] - score, 12)  # 0.70 - 0.69 is more than 0.01 to a computer
        if drop > gate.max_drop:
            failures.append(f"fell by {drop:.4f}, more than max_drop {gate.max_drop:g}")
    return GateResult(gate, score, failures)


def _limits(gate: GateParams) -> dict[str, float]:
    limits = {"min": gate.min, "max": gate.max, "max_drop": gate.max_drop}
    return {key: value for key, value in limits.items() if value is not None}


def _missing(metric: str, sides: list[str], known: dict[str, Any]) -> str:
    hint = "" if metric in known else did_you_mean(metric, known)
    return f"missing {' and '.join(sides)}{hint}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
