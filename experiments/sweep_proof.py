"""Proves `segpipe sweep` on drawings: 20 trials against the default, in at most half of a grid's steps.

For each of three seeds it trains the default learning rate and weight decay, and then the sweep of
`sweep.yaml`; a grid over the same ranges, of 6 rates by 5 decays, would train 30 times to the end. It
resumes where it was stopped, as the sweeps do. The working tree must be as committed, as for a sweep.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common.errors import UserError, exits_cleanly
from segpipe.params.load import load_params
from segpipe.review import git
from segpipe.sweep.plan import read_plan
from segpipe.sweep.search import search

FILE = Path("experiments/sweep.yaml")
EPOCHS, STEPS, GRID = 6, 30, 6 * 5
SMALL = (
    "data.source=synthetic", "data.image_size=64", "model.encoder.weights=none",
    f"train.epochs={EPOCHS}", f"train.steps_per_epoch={STEPS}", "train.previews.every=0",
    "evaluate.tta.scales=[1.0]",
)  # fmt: skip


@exits_cleanly
def main() -> None:
    """Print a row a seed, and fail where one does not hold."""
    git.require_committed("sweep")
    train = load_params().train
    own = {"learning_rate": train.learning_rate, "weight_decay": train.weight_decay}
    default = [f"train.{key}=choice({value})" for key, value in own.items()]
    failed = []
    for seed in range(3):
        small = [*SMALL, f"seed={seed}"]
        (before,) = search(read_plan(None, 1, [*small, *default]))
        trials = search(read_plan(FILE, 20, small))
        best = max(
            (trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda one: one.value
        )
        steps = STEPS * sum(max(trial.intermediate_values, default=0) for trial in trials)
        share = steps / (GRID * EPOCHS * STEPS)
        params = " ".join(f"{key}={value:.3g}" for key, value in best.params.items())
        print(f"seed {seed}: default {before.value:.4f}, sweep {best.value:.4f} with {params}, ", end="")
        print(f"{steps} steps, {share:.2f} of the grid's", flush=True)
        if best.value <= before.value or share > 0.5:
            failed.append(str(seed))
    if failed:
        raise UserError(f"not proven with seed {', '.join(failed)}")


if __name__ == "__main__":
    main()
