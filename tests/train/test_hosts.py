"""Several hosts train one model: two of a Ray cluster on loopback, each with processes of its own."""

import re
import shutil
import signal
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from helpers import error_line, make_project, run, run_stage, runs_of, set_params, start
from loopback import FIRST, OTHER

from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.common.network import load_network
from segpipe.train import hosts

pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

STAGE = ("python", "stages/train.py")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project with records and a network of few layers. Adam would amplify rounding."""
    project = make_project(
        tmp_path_factory.mktemp("prepared") / "project",
        **{
            "train.hosts": 2,
            "train.epochs": 6,
            "train.optimizer": "sgd",
            "train.ema": 0.5,
            "model.encoder.layers": ["Conv1_relu", "block_1_depthwise_relu"],
        },
    )
    for stage in ("fetch", "fetch_encoder", "preprocess"):
        assert run_stage(stage, project).returncode == 0
    return project


@pytest.fixture
def project(prepared, tmp_path):
    return Path(shutil.copytree(prepared, tmp_path / "project", symlinks=True))


def trained(project, variables, **params):
    """History and weights of a run to its end."""
    set_params(project, {f"train.{key}": value for key, value in params.items()})
    done = run_stage("train", project, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    history = pd.read_csv(project / "results/train/history.csv").to_numpy()
    path = project / "models/model.keras"
    return history, load_network(path, read_card(path)).get_weights(), done.stdout


def outs(project):
    """The bytes of the model and of the history."""
    return [
        (project / path).read_bytes() for path in ("models/model.keras", "results/train/history.csv")
    ]


@pytest.fixture(scope="module")
def unbroken(cluster, prepared, tmp_path_factory):
    """A project that two hosts trained without a break."""
    project = tmp_path_factory.mktemp("unbroken") / "project"
    shutil.copytree(prepared, project, symlinks=True)
    trained(project, cluster.variables)
    return project


def assert_equal_but_for_rounding(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    for weights, others in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(weights, others, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def two_devices(cluster, prepared, tmp_path_factory):
    """The results of two devices of this machine, where Ray cannot be imported."""
    folder = tmp_path_factory.mktemp("alone")
    project = Path(shutil.copytree(prepared, folder / "project", symlinks=True))
    (folder / "ray.py").write_text("raise ImportError('hosts: 1 needs no Ray')")
    without_ray = {"PYTHONPATH": str(folder), **cluster.jax}
    return trained(project, without_ray, hosts=1, devices=2)


@pytest.mark.slow
def test_two_hosts_train_as_two_devices_of_one_do(cluster, project, two_devices):
    """18 samples are 4 batches of 4, 6 of validation a batch of 4 and one of 2."""
    found = trained(project, cluster.variables)
    assert f"training on 2 hosts: {FIRST} (this one), {OTHER}\n" in found[2]
    assert_equal_but_for_rounding(found, two_devices)
    assert not cluster.processes("ray::_Host")


@pytest.mark.slow
def test_two_hosts_with_two_devices_each_train_as_two_devices_do(cluster, project, two_devices):
    """Four devices do not divide the validation batch of 2: all of them validate the whole batches."""
    assert_equal_but_for_rounding(trained(project, cluster.variables, devices=2), two_devices)


@pytest.mark.slow
def test_auto_takes_all_hosts_that_divide_the_batch(cluster, project, two_devices):
    found = trained(project, cluster.variables, hosts="auto")
    assert "training on 2 hosts" in found[2]
    assert_equal_but_for_rounding(found, two_devices)


@pytest.mark.slow
def test_equal_hosts_give_equal_bits(cluster, project, unbroken):
    trained(project, cluster.variables)
    assert outs(project) == outs(unbroken)


NO_SHARDS = """
import sys

def refuse(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".tfrecord"):
        raise PermissionError(f"no shard may be opened here: {arguments[0]}")

sys.addaudithook(refuse)
"""


@pytest.fixture
def without_shards(cluster, tmp_path):
    """The other host's Python opens no shard, neither to read nor to write one."""
    (tmp_path / "sitecustomize.py").write_text(NO_SHARDS)
    cluster.stop(OTHER)
    cluster.start(OTHER, PYTHONPATH=str(tmp_path))
    yield
    cluster.stop(OTHER)
    cluster.start(OTHER)


@pytest.mark.slow
@pytest.mark.usefixtures("without_shards")
def test_samples_streamed_from_the_first_hosts_shards_give_equal_results(cluster, project, unbroken):
    """In an unbroken run both hosts hold them in memory."""
    _, weights, said = trained(project, cluster.variables, in_memory=False)
    assert "MB of samples, read from the shards when a step needs them\n" in said
    assert outs(project)[1] == outs(unbroken)[1]
    path = unbroken / "models/model.keras"
    for found, expected in zip(weights, load_network(path, read_card(path)).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "line"),
    [
        ("kill", f"error: training failed on the host {OTHER} (the first host's reader has ended ("),
        ("suspend", "error: the first host's reader of samples gave no sign of life for 30 s; run the"),
    ],
)
def test_a_lost_reader_of_the_samples_ends_training_in_one_line(cluster, project, end, line):
    set_params(project, {"train.in_memory": False})
    process = begun(project, cluster)
    (reader,) = cluster.processes("ray::_Reader", FIRST)
    getattr(reader, end)()
    assert said_of_the_end(process).startswith(line)
    assert_no_process_is_left(cluster)


def begun(project, cluster):
    """A training run that has finished its second epoch, on two hosts."""
    return start(project, *cluster.on(cluster.first), *STAGE, **cluster.variables)


def said_of_the_end(process):
    """The last line, of a process that must have ended within a minute."""
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def assert_goes_on(project, cluster, unbroken, **variables):
    """The same command ends with the bits of a run that was not stopped."""
    done = run(*cluster.on(cluster.first), *STAGE, cwd=project, **cluster.variables, **variables)
    assert "resuming run" in done.stdout, done.stdout + done.stderr
    assert outs(project) == outs(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "how", "reason"),
    [
        ("ray::_Host", signal.SIGKILL, "its process or its Ray has ended"),
        ("raylet/raylet", signal.SIGKILL, "its process or its Ray has ended"),
        ("ray::_Host", signal.SIGSTOP, "it gave no sign of life for 30 s"),
    ],
    ids=["killed", "its raylet killed", "frozen"],
)
def test_a_lost_host_ends_training_in_one_line_and_the_same_command_goes_on(
    cluster, project, unbroken, what, how, reason
):
    process = begun(project, cluster)
    (victim,) = cluster.processes(what)
    victim.send_signal(how)
    assert said_of_the_end(process) == (
        f"error: lost the host {OTHER}, because {reason}; run the same command again to go on"
    )
    assert_no_process_is_left(cluster)
    if what != "ray::_Host":
        cluster.stop(OTHER)
        cluster.start(OTHER)
    assert_goes_on(project, cluster, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_where_the_first_host_is_stopped_the_other_stops_too(cluster, project, unbroken, how):
    process = begun(project, cluster)
    assert cluster.processes("ray::_Host")
    process.send_signal(how)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == -how, said
    if how == signal.SIGINT:
        assert said.splitlines()[-1].startswith("error: interrupted; the same command begins")
    assert_no_process_is_left(cluster)
    assert_goes_on(project, cluster, unbroken)


@pytest.mark.slow
def test_a_cut_network_ends_training_on_both_hosts_within_a_minute(wired, project, unbroken):
    process = begun(project, wired)
    (other,) = wired.processes("ray::_Host")
    wired.plug("down")
    cut = time.monotonic()
    line = f"error: lost the host {wired.other}, because .*; run the same command again to go on"
    assert re.fullmatch(line, said_of_the_end(process))
    other.wait(60 - (time.monotonic() - cut))
    wired.plug("up")
    wired.stop(wired.other)
    wired.start(wired.other)
    assert_goes_on(project, wired, unbroken)


@pytest.mark.slow
def test_a_full_disk_ends_training_on_both_hosts_and_the_same_command_goes_on(
    cluster, project, unbroken, small_disk
):
    disk = small_disk("400k")  # enough for two checkpoints
    done = run_stage("train", project, **cluster.variables, DVC_ROOT=str(disk))
    assert done.returncode == 1
    assert f"training on 2 hosts: {FIRST} (this one), {OTHER}\n" in done.stdout
    (left,) = runs_of(disk)
    path = left.folder / f"epoch-{left.epoch + 1:04d}.npz"
    assert error_line(done) == (
        f"error: {path}: No space left on device; make room there and run the same command again\n"
    )
    assert not [*disk.rglob("*.partial")]
    assert_no_process_is_left(cluster)
    small_disk("20m")
    assert_goes_on(project, cluster, unbroken, DVC_ROOT=str(disk))


KILLS = 20


@pytest.mark.slow
def test_twenty_kills_half_of_them_on_each_host_change_no_bit(cluster, project, tmp_path):
    """Each comes after an epoch of its own."""
    set_params(project, {"train.epochs": 3 * KILLS})
    unbroken = Path(shutil.copytree(project, tmp_path / "unbroken", symlinks=True))
    for kill in range(KILLS):
        epoch = max((found.epoch for found in runs_of(project)), default=0)
        process = start(project, *STAGE, epoch=epoch + 1, **cluster.variables)
        victim = cluster.processes("ray::_Host")[0] if kill % 2 else process
        victim.send_signal(signal.SIGKILL)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == (1 if kill % 2 else -signal.SIGKILL), said
        assert_no_process_is_left(cluster)
    trained(unbroken, cluster.variables)
    assert_goes_on(project, cluster, unbroken)


@pytest.mark.slow
def test_the_first_host_keeps_what_the_others_print(cluster, unbroken):
    said = (unbroken / f"logs/hosts/{OTHER}.log").read_text()
    assert "no GPU found: running on 2 virtual CPU devices of 2 hosts\n" in said
    assert "epoch 6/6: loss " in said


def assert_no_process_is_left(cluster):
    """None may train or read on; Ray takes a moment to end it."""
    end_of_patience = time.monotonic() + 30
    names = [(cluster.other, "ray::_Host"), (cluster.first, "ray::_Reader")]
    while left := [found for host, name in names for found in cluster.processes(name, host)]:
        assert time.monotonic() < end_of_patience, left
        time.sleep(0.1)


@pytest.mark.slow
def test_other_versions_on_another_host_are_an_error(cluster, project, tmp_path):
    """Metadata of another Keras lie before those of the true one there."""
    (tmp_path / "keras-1.2.3.dist-info").mkdir()
    (tmp_path / "keras-1.2.3.dist-info/METADATA").write_text("Name: keras\nVersion: 1.2.3\n")
    cluster.stop(OTHER)
    cluster.start(OTHER, PYTHONPATH=str(tmp_path))
    message = error_line(run_stage("train", project, **cluster.variables))
    cluster.stop(OTHER)
    cluster.start(OTHER)
    assert message.startswith(f"error: another host cannot train along: {OTHER} has keras 1.2.3, not ")
    assert message.count("\n") == 1


@pytest.mark.slow
def test_too_few_hosts_are_an_error_that_says_how_many_and_how_long_it_waited(cluster, project):
    set_params(project, {"train.hosts": 4})
    assert error_line(run_stage("train", project, **cluster.variables)) == (
        "error: train.hosts = 4 needs 1 CPU free on 4 hosts, but fewer of the 2 hosts in the Ray "
        "cluster had that within 60 s; add hosts (`ray start --address=...`), or lower train.hosts\n"
    )


def test_a_host_without_room_is_told_from_one_that_fell_silent(monkeypatch):
    """Its process does not start within 60 s; a silent one has started."""
    import ray

    job = MagicMock()
    monkeypatch.setattr(ray, "remote", MagicMock())
    monkeypatch.setattr(ray, "get", MagicMock(side_effect=ray.exceptions.GetTimeoutError))
    monkeypatch.setattr(hosts, "_has_gpus", lambda: False)
    with pytest.raises(UserError) as caught:
        hosts._train_on_one_host(job, "10.0.0.2")
    assert str(caught.value) == (
        "no room on the host 10.0.0.2 within 60 s: training needs 1 CPU (`ray status` shows what is in "
        "use); run the same command again to go on"
    )
    monkeypatch.setattr(hosts, "_send_files", MagicMock())
    monkeypatch.setattr(ray, "wait", lambda *_, **__: ([], []))
    with pytest.raises(UserError, match=r"^lost the host 10\.0\.0\.2, .* no sign of life for 30 s;"):
        hosts._train_on_one_host(job, "10.0.0.2")


WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None
sys.path.insert(0, "stages")
runpy.run_path("stages/train.py", run_name="__main__")
"""


@pytest.mark.slow
def test_without_a_cluster_without_ray_and_without_jax_several_hosts_are_an_error(project):
    found = [
        error_line(run_stage("train", project, RAY_ADDRESS="127.0.0.2:1")),
        error_line(run("python", "-c", WITHOUT_RAY, cwd=project)),
        error_line(run_stage("train", project, KERAS_BACKEND="tensorflow")),
    ]
    expected = [
        "error: train.hosts = 2, but no Ray cluster answers at RAY_ADDRESS = '127.0.0.2:1'; start one",
        "error: train.hosts = 2 needs Ray, which is not here; pip install -e '.[cluster]'",
        "error: train.hosts = 2 needs JAX, since TensorFlow's MultiWorkerMirroredStrategy does not work",
    ]
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)
        assert line.count("\n") == 1
