"""`segpipe sweep` over true trainings: pruning by the validation curve, and a sweep that is killed."""

import re
import signal
import subprocess
import time

import psutil
import pytest
from helpers import environment, git, make_project, run, runs_of

pytest.importorskip("optuna", reason="Optuna is not installed (the extra sweep)")

SWEEP = """
trials: 2
sampler: random
pruner: halving
params:
  train.learning_rate: choice(0.03, 0.0000001)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose sweep draws, by its seed, first the good learning rate and then the bad one."""
    path = make_project(tmp_path_factory.mktemp("sweep") / "project", **{"train.epochs": 60, "seed": 2})
    (path / "experiments/sweep-rate.yaml").write_text(SWEEP)
    git(path, "add -A")
    git(path, "commit -q -m sweep")
    return path


def begun(project):
    """A sweep whose first trial has finished two epochs, and the clone of that trial."""
    process = subprocess.Popen(
        ["segpipe", "sweep", "experiments/sweep-rate.yaml"], cwd=project, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while True:
        assert process.poll() is None, process.communicate()[0]
        for clone in (project / ".dvc/tmp/segpipe/sweeps").glob("sweep-rate-*/"):
            if any(found.epoch >= 2 for found in runs_of(clone)):
                return process, clone
        time.sleep(0.05)


def working_in(folder):
    """The running processes whose working directory is a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_a_trial_below_the_others_is_pruned_with_its_reason(project):
    process, clone = begun(project)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end_of_patience = time.monotonic() + 60
    while left := working_in(clone):
        assert time.monotonic() < end_of_patience, left
        time.sleep(0.1)
    epoch = max(found.epoch for found in runs_of(clone))
    assert 2 <= epoch < 60

    done = run("segpipe", "sweep", "experiments/sweep-rate.yaml", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 2 trials are known, 1 go on" in done.stdout
    name = clone.name
    log = (project / f"logs/sweeps/{name}.log").read_text()
    assert f"after epoch {epoch} of 60" in log, "it resumed where it was killed"
    assert f"{name}: validation mean IoU 0." in done.stdout
    pruned = next(line for line in done.stdout.splitlines() if ": pruned: " in line)
    reason = r"after epoch \d+, with a best validation mean IoU of 0\.\d{4}: not among the best quarter"
    assert re.fullmatch(f"{name[:-1]}1: pruned: {reason} so far", pruned)
    assert not [*(project / ".dvc/tmp/segpipe/sweeps").iterdir()]

    assert run("segpipe", "compare", "HEAD", name, cwd=project).returncode == 0
    assert run("dvc", "exp", "apply", name, cwd=project).returncode == 0
    assert (project / "models/model.keras").is_file()
    assert "learning_rate: 0.03" in (project / "params.yaml").read_text()
