"""A run that was stopped goes on to the very bits of one that was not, whatever stopped it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from helpers import (
    commit,
    end,
    environment,
    error_line,
    make_project,
    run,
    run_stage,
    runs_of,
    set_params,
    start,
    with_venv,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_training import arrays, manifest_of, train, with_changes  # noqa: F401

from segpipe.model.pretrained import Backbone
from segpipe.train import loop
from segpipe.train.resume import Progress, Run, restore, save

SGD = {"epochs": 4, "optimizer": "sgd", "weight_decay": 0.001, "previews": {"samples": 2, "every": 2}}
ALL = {
    "levels": 2, "epochs": 4, "optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 1,
    "weight_decay": 0.01, "layer_decay": 0.5, "clip_norm": 1.0, "ema": 0.9, "learning_rate": 0.01,
    "early_stopping": {"patience": 3},
    "loss": {"lovasz": 0.5, "label_smoothing": 0.1},
    "augment": {"scale": [0.5, 2.0], "rotation": 20.0, "contrast": 0.3, "hue": 0.1},
}  # fmt: skip


class Stopped(Exception):
    """Stands for the end of the process."""


def stop_in(epoch):
    """What ends a run in the course of an epoch, before its checkpoint."""

    def draw(drawn, masks):
        if drawn == epoch:
            raise Stopped

    return draw


def results(outcome):
    """All that a run gives, but for its seconds."""
    network, state = outcome
    rows = state.history, state.best_epoch, state.best_mean_iou
    return [w.tobytes() for w in network.get_weights()], rows


def of_encoder(name, params):
    """Params with another encoder and its default layers."""
    encoder = params.model.encoder.model_copy(update={"name": name, "layers": "default"})
    return params.model_copy(update={"model": params.model.model_copy(update={"encoder": encoder})})


TWO_PHASES = ALL | {
    "epochs": 2, "fine_tuning": {"epochs": 2, "learning_rate": 0.001}, "layer_decay": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes", [pytest.param(SGD, id="sgd", marks=pytest.mark.slow), pytest.param(ALL, id="all")]
)
def test_a_resumed_run_ends_with_the_same_bits(arrays, tmp_path, capsys, changes):  # noqa: F811
    params = with_changes(**changes)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(arrays, tmp_path / "whole", params)
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "stopped", params, stop_in(4))
    resumed = train(arrays, tmp_path / "stopped", params)
    assert results(resumed) == results(whole)
    assert "resuming run run after epoch 3 of 4, left " in capsys.readouterr().out
    logged = pd.read_csv(tmp_path / "stopped/live/plots/metrics/val_loss.tsv", sep="\t")
    assert logged["step"].tolist() == [0, 1, 2, 3], "the live log holds each epoch once"
    assert (tmp_path / "stopped/live/report.html").is_file()


@pytest.mark.slow
def test_a_transformer_resumes_with_the_same_bits(arrays, tmp_path):  # noqa: F811
    params = of_encoder("mit_b0", with_changes(**ALL | {"levels": 4}))
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()

    def trained(name, **draw):
        network = loop.build_model(
            Backbone("mit_b0", 1.0, None), params.model, manifest_of(arrays), params.seed
        )
        return train(arrays, tmp_path / name, params, **draw, network=network)

    with pytest.raises(Stopped):
        trained("stopped", draw=stop_in(3))
    assert results(trained("stopped")) == results(trained("whole"))


@pytest.mark.parametrize(
    "stopped_in",
    [
        pytest.param(2, id="first phase", marks=pytest.mark.slow),
        pytest.param(3, id="between phases", marks=pytest.mark.slow),
        pytest.param(4, id="second phase", marks=pytest.mark.slow),
    ],
)
def test_a_run_of_two_phases_resumes_in_either_and_between_them(arrays, tmp_path, stopped_in):  # noqa: F811
    params = with_changes(frozen=True, **TWO_PHASES, previews={"samples": 2, "every": 1})
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = train(arrays, tmp_path / "whole", params)
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "stopped", params, stop_in(stopped_in))
    assert results(train(arrays, tmp_path / "stopped", params)) == results(whole)


@pytest.mark.slow
def test_a_run_of_two_phases_goes_back_over_the_border_where_its_newest_checkpoint_is_lost(
    arrays,  # noqa: F811
    tmp_path,
):
    params = with_changes(frozen=True, **TWO_PHASES)
    whole = results(train(arrays, tmp_path, params))
    newest, before = Run(tmp_path / "run").checkpoints
    shutil.copy(before, before.with_name("epoch-0002.npz"))  # as of the first phase: it is not
    newest.unlink()
    before.unlink()
    assert train(arrays, tmp_path, params)[1].epoch == 4, "one that does not fit is set aside"
    assert results(train(arrays, tmp_path, params)) == whole


def test_a_run_stopped_after_its_last_epoch_only_hands_over(arrays, tmp_path):  # noqa: F811
    params = with_changes(**SGD)
    whole = results(train(arrays, tmp_path, params))
    drawn = []
    again = train(arrays, tmp_path, params, lambda epoch, masks: drawn.append(epoch))
    assert results(again) == whole
    assert drawn == []


@pytest.fixture
def network():
    """A network with all kinds of state: weights, statistics, a random state, the optimizer's slots."""
    layers = [
        keras.layers.Dense(3),
        keras.layers.Dropout(0.5, seed=1),
        keras.layers.BatchNormalization(),
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(keras.optimizers.Adam(use_ema=True), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def run_of_three(tmp_path, network):
    """A run with checkpoints of epochs 2 and 3 (of 1 no longer), in which every value is the epoch."""
    found = Run(tmp_path / "run")
    for epoch in (1, 2, 3):
        for variable in state_of(network):
            variable.assign(keras.ops.full(variable.shape, epoch, variable.dtype))
        row = {"epoch": epoch, "loss": 1 / 3}
        state = Progress(epoch, 0.5, [row] * epoch, 1, 0.1 + 0.2, [np.full((2,), np.float32(0.1))])
        save(found, state, network)
    return found


def as_it_is(epoch):
    """What readies the network for an epoch: it has its optimizer already."""


def state_of(network):
    return [*network.variables, *network.optimizer.variables]


def test_a_checkpoint_brings_back_model_optimizer_history_and_best_to_the_bit(run_of_three, network):
    for variable in state_of(network):
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    restored = restore(run_of_three, network, as_it_is)
    assert {float(keras.ops.min(v)) for v in state_of(network)} == {3.0}
    assert len(state_of(network)) == 7 + 2 + 3 * 4, (
        "weights and random state; counters; three slots each"
    )
    assert restored.best_weights.pop().tobytes() == np.full((2,), np.float32(0.1)).tobytes()
    assert restored == Progress(3, 0.5, [{"epoch": 3, "loss": 1 / 3}] * 3, 1, 0.1 + 0.2, [])


def test_the_last_two_checkpoints_are_kept(run_of_three):
    assert sorted(path.name for path in run_of_three.folder.iterdir()) == [
        "epoch-0002.npz", "epoch-0003.npz",
    ]  # fmt: skip


def test_what_a_killed_write_left_is_no_obstacle(run_of_three, network):
    half = run_of_three.folder / ".epoch-0004.npz.partial"
    half.write_bytes(b"half of it")
    assert restore(run_of_three, network, as_it_is).epoch == 3
    save(run_of_three, Progress(4), network)
    assert restore(run_of_three, network, as_it_is).epoch == 4
    assert not half.exists()


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def rewrite(path, **changed):
    with np.load(path) as archive:
        content = {**archive, **changed}
    with path.open("wb") as file:
        np.savez(file, **content)


def of_another_network(path):
    rewrite(path, arr_0=np.zeros((1, 2, 3), np.float32))


def of_another_version(path):
    rewrite(path, progress=np.array(json.dumps({"epoch": 2, "phase": "of the moon"})))


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_flipped_bit_in_a_checkpoint_goes_unnoticed_or_stops_the_run(run_of_three, network, data):
    newest, _ = run_of_three.checkpoints
    content = newest.read_bytes()
    spoiled = bytearray(content)
    spoiled[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    newest.write_bytes(spoiled)
    state = restore(run_of_three, network, as_it_is)
    newest.write_bytes(content)
    assert {float(keras.ops.min(v)) for v in state_of(network)} == {float(state.epoch)}
    assert state.epoch in (2, 3)  # 3 where the bit has no meaning, such as in a date
    assert state.history == [{"epoch": state.epoch, "loss": 1 / 3}] * state.epoch
    assert [w.tolist() for w in state.best_weights] == [[np.float32(0.1)] * 2]


@pytest.mark.parametrize("damage", [cut, empty, of_another_network, of_another_version])
def test_a_checkpoint_that_cannot_be_read_is_set_aside_and_the_one_before_is_used(
    run_of_three, network, capsys, damage
):
    newest, before = run_of_three.checkpoints
    damage(newest)
    assert restore(run_of_three, network, as_it_is).epoch == 2
    assert {float(keras.ops.min(v)) for v in state_of(network)} == {2.0}
    assert capsys.readouterr().out.startswith(f"warning: {newest} cannot be read (")
    assert newest.with_suffix(".unreadable").exists()
    damage(before)
    assert restore(run_of_three, network, as_it_is) == Progress(), "with none left, the run begins again"


def test_checkpoints_stay_where_a_gpu_is_full(run_of_three, network):
    def full(epoch):
        raise MemoryError

    before = run_of_three.checkpoints
    with pytest.raises(MemoryError):
        restore(run_of_three, network, full)
    assert run_of_three.checkpoints == before


# From here on through the true entry points, on real processes.


@pytest.fixture
def project(finished_project, tmp_path):
    shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    set_params(tmp_path / "project", {"train.epochs": 3000})
    return tmp_path / "project"


STAGE = (sys.executable, "stages/train.py")


@pytest.mark.slow
def test_a_run_under_way_is_listed_and_neither_cleared_nor_run_twice(project):
    process = start(project, *STAGE)
    try:
        (found,) = runs_of(project)
        who = f"process {process.pid} on "
        listed = run("segpipe", "runs", cwd=project, COLUMNS="200").stdout
        assert found.fingerprint in listed
        assert "of 3000" in listed and who in listed
        kept = run("segpipe", "runs", "--clear", cwd=project).stdout
        assert kept.startswith(f"{found.fingerprint}: left alone, trained by {who}")
        assert f"is being trained already, by {who}" in error_line(run_stage("train", project))
    finally:
        end(process, signal.SIGTERM)
    assert found.trained_by is None, "the lock died with its holder"
    assert run("segpipe", "runs", "--clear", cwd=project).stdout == f"{found.fingerprint}: removed\n"
    assert run("segpipe", "runs", cwd=project).stdout == "no unfinished run\n"


@pytest.mark.slow
def test_fewer_epochs_than_the_checkpoint_has_start_afresh_and_say_so(project):
    """The best of two epochs is not the best of one."""
    end(start(project, *STAGE), signal.SIGINT)
    set_params(project, {"train.epochs": 1})
    printed = run_stage("train", project).stdout
    assert "starting afresh: the last unfinished run, " in printed
    assert "differs in train.epochs (3000, now 1)\n" in printed
    assert "resuming" not in printed
    assert len((project / "results/train/history.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_changed_code_starts_afresh_and_says_so(project):
    end(start(project, *STAGE), signal.SIGINT)
    with (project / "src/segpipe/train/augment.py").open("a") as file:
        file.write("# another\n")
    process = start(project, *STAGE, epoch=0)
    said = ""
    while "training run" not in said:
        line = process.stdout.readline()
        assert line and "resuming run" not in line, said + line
        said += line
    assert "differs in src/segpipe/train/augment.py\n" in said
    end(process, signal.SIGKILL)


def test_a_place_for_checkpoints_that_cannot_be_written_is_named(project):
    (project / ".dvc/tmp/segpipe").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(project / ".dvc/tmp/segpipe/runs", ignore_errors=True)
    (project / ".dvc/tmp/segpipe/runs").write_text("in the way")
    assert ".dvc/tmp/segpipe/runs" in error_line(run_stage("train", project))


@pytest.mark.slow
def test_where_dvc_alone_was_killed_training_stops_and_can_be_resumed(project):
    process = start(project, "dvc", "repro")
    (found,) = runs_of(project)
    process.kill()
    printed = process.communicate()[0]
    assert "error: the DVC that ran this stage is gone; run the same command again" in printed
    assert found.trained_by is None
    assert found.epoch >= 2


@pytest.mark.slow
def test_a_disk_that_fills_up_with_checkpoints_ends_in_one_line_and_loses_no_epoch(project, small_disk):
    disk = small_disk("1500k")  # enough for a few checkpoints' pictures
    assert "No space left" in error_line(run_stage("train", project, DVC_ROOT=str(disk)))
    (left,) = runs_of(disk)
    assert left.epoch > 0
    small_disk("20m")
    set_params(project, {"train.epochs": 3000})
    process = subprocess.Popen(
        STAGE, cwd=project, env=environment(DVC_ROOT=str(disk)), start_new_session=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "resuming run" not in (line := process.stdout.readline()):
        assert line, "it did not resume"
    end(process, signal.SIGKILL)
    assert f"after epoch {left.epoch} of 3000" in line


FEW = {"train.epochs": 20, "data.synthetic.train": 100, "train.ema": 0.9, "train.schedule": "cosine"}
MANY = FEW | {"train.epochs": 60, "data.synthetic.train": 400}


def outcome(project):
    """The bytes of all that training gives."""
    files = [project / "models/model.keras", *(project / "results/train").rglob("*")]
    return {path.relative_to(project): path.read_bytes() for path in files if path.is_file()}


def prepared(path, params=FEW):
    project = make_project(path, **params)
    assert run("dvc", "repro", "preprocess", "fetch_encoder", cwd=project).returncode == 0
    commit(project)
    return project


def trained(project):
    """What a run gives that nothing stopped."""
    assert run("dvc", "repro", "train", cwd=project).returncode == 0
    return outcome(project)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(prepared(tmp_path_factory.mktemp("whole") / "project"))


@pytest.mark.slow
def test_twenty_kills_at_random_moments_and_inside_writes_leave_the_bits_as_they_are(tmp_path, rng):
    project = prepared(tmp_path / "project", MANY)
    inside = at_random = 0
    while inside + at_random < 22:
        process = subprocess.Popen(STAGE, cwd=project, env=environment(), start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        if (inside + at_random) % 2:
            # Ready or not: during the imports, the reading, the tracing, or an epoch.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 12))
            how = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][rng.integers(3)]
            os.killpg(process.pid, how)
            at_random += 1
        else:
            inside += killed_while_writing(process, project)
        process.wait()
    assert inside >= 10
    assert 0 < runs_of(project)[0].epoch < 60, "all kills were spread over one run"
    found = trained(project)
    assert runs_of(project) == [], "a run that has succeeded leaves no checkpoint"
    assert found == trained(prepared(tmp_path / "whole", MANY))


def killed_while_writing(process, project):
    """Kill a process while it writes its second checkpoint; whether that was then half-written."""
    folder = project / ".dvc/tmp/segpipe/runs"
    before = max((found.epoch for found in runs_of(project)), default=0)
    while not any(found.epoch > before for found in runs_of(project)):
        assert process.poll() is None
        time.sleep(0.01)
    while not (writing := list(folder.glob("*/.epoch-*.partial"))):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return writing[0].exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("dvc", "repro"), ("dvc", "exp", "run"), ("dvc", "exp", "run", "--temp")], ids=" ".join
)
def test_the_same_command_goes_on_under_dvc(whole, tmp_path, command):
    project = prepared(tmp_path / "project")
    end(start(project, *command), signal.SIGKILL)
    result = run(*command, cwd=project)
    assert result.returncode == 0, result.stderr
    assert "resuming run" in result.stdout
    if "--temp" in command:
        (name,) = run("dvc", "exp", "list", "--name-only", cwd=project).stdout.split()
        assert run("dvc", "exp", "apply", name, cwd=project).returncode == 0
    assert outcome(project) == whole


def work_off_the_queue(project):
    # The workers outlive the command and would keep a pipe open.
    started = subprocess.run(
        ["dvc", "queue", "start", "-j", "2"], cwd=project, env=environment(), check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert started.returncode == 0


def queue_is_done(project):
    status = run("dvc", "queue", "status", cwd=project).stdout
    return not any(word in status for word in ("Queued", "Running"))


@pytest.mark.slow
def test_a_queued_experiment_that_was_killed_goes_on_when_it_is_queued_again(whole, tmp_path):
    project = prepared(tmp_path / "project")
    assert run("dvc", "exp", "run", "--queue", cwd=project).returncode == 0
    work_off_the_queue(project)
    deadline = time.monotonic() + 120
    while not any(found.epoch >= 2 for found in runs_of(project)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (found,) = runs_of(project)
    os.kill(int(found.trained_by.split()[1]), signal.SIGKILL)
    while not queue_is_done(project):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert run("dvc", "exp", "run", "--queue", "--name", "again", cwd=project).returncode == 0
    work_off_the_queue(project)
    while "again" not in run("dvc", "exp", "list", "--name-only", cwd=project).stdout:
        assert time.monotonic() < deadline + 120
        time.sleep(1)
    assert "resuming run" in run("dvc", "queue", "logs", "again", cwd=project).stdout
    assert run("dvc", "exp", "apply", "again", cwd=project).returncode == 0
    assert outcome(project) == whole


@pytest.mark.slow
def test_five_queued_experiments_on_two_workers_give_five_results_none_mixed_up(
    finished_project, tmp_path
):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    commit(project)
    with_venv(project)
    for change in ("seed=1,2,3", "train.learning_rate=0.002,0.004"):  # each a grid
        assert run("dvc", "exp", "run", "--queue", "-S", change, cwd=project).returncode == 0
    work_off_the_queue(project)
    deadline = time.monotonic() + 400
    while not queue_is_done(project):
        assert time.monotonic() < deadline
        time.sleep(1)
    names = run("dvc", "exp", "list", "--name-only", cwd=project).stdout.split()
    assert len(names) == 5
    seen = {}
    for name in names:
        assert run("dvc", "exp", "apply", name, cwd=project).returncode == 0
        card = json.loads(json.dumps(Path(project / "results/train/params.yaml").read_text()))
        seen[name] = (card, outcome(project)[Path("models/model.keras")])
    assert len(set(seen.values())) == 5
    for (params, model), name in zip(seen.values(), seen, strict=True):
        assert run("dvc", "exp", "apply", name, cwd=project).returncode == 0
        again = run_stage("train", project)
        assert again.returncode == 0, again.stderr
        assert outcome(project)[Path("models/model.keras")] == model, params
    table = run("make", "-s", "experiments", cwd=project, COLUMNS="200")
    header = next(line for line in table.stdout.splitlines() if "Experiment" in line).split()
    assert header[:2] == ["Experiment", "State"]
    assert set(header[2:]) == {
        "val_mean_iou", "original.pixel_accuracy", "original.mean_iou", "seed", "train.learning_rate",
    }  # fmt: skip
