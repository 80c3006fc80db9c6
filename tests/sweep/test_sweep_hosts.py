"""`segpipe sweep` on a Ray cluster: a trial a host, and another go for a trial whose host was lost."""

import signal
import subprocess
import time

import pytest
from helpers import environment, git, make_project, runs_of

pytest.importorskip("optuna", reason="Optuna is not installed (the extra sweep)")
pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

from loopback import FIRST, OTHER


@pytest.mark.slow
def test_two_hosts_train_two_trials_at_once_and_a_lost_ones_trial_goes_on(cluster, tmp_path):
    project = make_project(tmp_path / "project", **{"train.epochs": 60})
    process = subprocess.Popen(
        ["segpipe", "sweep", "--trials", "2", "-S", "train.learning_rate=interval(0.001, 0.01)"],
        cwd=project, env=environment(**cluster.variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    clones = project / ".dvc/tmp/segpipe/sweeps"
    while sum(any(run.epoch >= 2 for run in runs_of(clone)) for clone in clones.glob("*/")) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    (victim,) = cluster.processes("ray::_Host")
    victim.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert f"lost the host {OTHER}, because its process or its Ray has ended" in said
    listed = git(project, "for-each-ref --format=%(refname) refs/exps").split()
    assert len([ref for ref in listed if "/sweep-" in ref]) == 2
    logs = [path.read_text() for path in (cluster.folder / "session_latest/logs").glob("worker-*.out")]
    assert any("resuming run" in log and "of 60" in log for log in logs)
    trial_logs = [path.read_text() for path in (project / "logs/sweeps").glob("sweep-*.log")]
    assert {f"training on {FIRST}", f"training on {OTHER}"} & {
        line for log in trial_logs for line in log.splitlines()
    }
    assert all("epoch 60/60: loss " in log for log in trial_logs)
