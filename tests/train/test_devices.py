"""GPUs are shared out among processes, and several devices train as one does.

The machine needs no GPU: a lock is on a name, and a CPU can be split into virtual devices.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT, make_project, run_stage, set_params
from test_training import with_changes

from segpipe.common.devices import acceptable_counts, installed_gpus, visible_gpus
from segpipe.common.errors import UserError
from segpipe.train.on_tensorflow import TensorFlowEngine

GPUS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]

TAKE = """
import json, sys
from segpipe.common.devices import lock_free
print(*lock_free(sys.argv[2:], json.loads(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, GPUS),
        ("0,2", ["GPU-aa11", "GPU-bb33"]),
        ("2,0", ["GPU-bb33", "GPU-aa11"]),
        ("GPU-aa22", ["GPU-aa22"]),
        ("GPU-b", ["GPU-bb33"]),
        ("1,-1,0", ["GPU-aa22"]),
        ("-1", []),
        ("", []),
        ("7", []),
        ("GPU-aa", []),
        ("MIG-12", ["MIG-12"]),
    ],
)
def test_cuda_visible_devices_is_understood_as_by_cuda(chosen, left):
    assert visible_gpus(GPUS, chosen) == left


@pytest.mark.parametrize("chosen", [None, "0", "MIG-12"])
def test_without_gpus_there_is_none_to_choose(chosen):
    assert visible_gpus([], chosen) == []


def test_installed_gpus_are_named_by_uuid_or_there_are_none():
    assert all(name.startswith("GPU-") for name in installed_gpus())
    assert bool(installed_gpus()) == os.path.exists("/proc/driver/nvidia/gpus")  # noqa: PTH110


def take(cache, numbers, *gpus):
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, json.dumps(numbers), *gpus],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(*processes):
    for process in processes:
        process.kill()
        process.wait()


def test_each_process_takes_a_gpu_of_its_own_and_a_third_waits_for_one(tmp_path):
    first, second = take(tmp_path, [1], *GPUS[:2]), None
    taken = [first.stdout.readline().strip()]
    second = take(tmp_path, [1], *GPUS[:2])
    taken.append(second.stdout.readline().strip())
    assert taken == GPUS[:2]
    third = take(tmp_path, [1], *GPUS[:2])
    said = third.stdout.readline()
    assert said.startswith(f"2 of 2 GPUs are busy (GPU-aa11 by process {first.pid} on ")
    assert said.endswith("); waiting for 1\n")
    second.kill()
    assert third.stdout.readline() == "GPU-aa22\n", "the lock died with its holder"
    end(first, second, third)


def test_a_process_that_waits_for_several_gpus_holds_none_meanwhile(tmp_path):
    first = take(tmp_path, [1], *GPUS)
    assert first.stdout.readline() == "GPU-aa11\n"
    all_three = take(tmp_path, [3], *GPUS)
    assert all_three.stdout.readline().endswith("waiting for 3\n")
    others = take(tmp_path, [2], *GPUS)
    assert others.stdout.readline() == "GPU-aa22 GPU-bb33\n"
    end(first, others)
    assert all_three.stdout.readline() == " ".join(GPUS) + "\n"
    end(all_three)


def test_the_largest_number_of_gpus_that_may_be_taken_is(tmp_path):
    first = take(tmp_path, [1], *GPUS)
    first.stdout.readline()
    rest = take(tmp_path, [3, 1], *GPUS)
    assert rest.stdout.readline() == "GPU-aa22\n", "two are free, but are no number that may be"
    end(first, rest)


@pytest.mark.parametrize(
    ("wanted", "there", "batch_size", "numbers"),
    [(1, 4, 8, [1]), (4, 4, 8, [4]), ("auto", 4, 8, [4, 2, 1]), ("auto", 8, 6, [6, 3, 2, 1])],
)
def test_auto_takes_as_many_gpus_as_divide_the_batch(wanted, there, batch_size, numbers):
    assert acceptable_counts(wanted, there, batch_size) == numbers


def test_more_gpus_than_there_are_is_an_error_that_says_how_many_are():
    with pytest.raises(
        UserError, match=r"^train\.devices = 4, but .* leave 2 here; set it to 2 or less"
    ):
        acceptable_counts(4, 2, 8)


def test_tensorflow_takes_one_gpu_and_refuses_several_devices_in_one_line():
    engine = TensorFlowEngine()
    assert [engine.gpus(with_changes(devices=wanted).train) for wanted in (1, "auto")] == [1, 1]
    with pytest.raises(UserError) as caught:
        engine.gpus(with_changes(devices=2).train)
    assert str(caught.value) == (
        "train.devices = 2, but TensorFlow trains on one device; set train.backend to jax "
        "(pip install -e '.[jax]'), or train.devices to 1"
    )


BACKEND = """
import sys
sys.path.insert(0, "stages")
import _backend, os
print(os.environ.get("KERAS_BACKEND"))
"""
NO_JAX = "import sys; sys.modules['jax'] = None"


def backend_of(tmp_path, environment=None, installed=True, **train):
    """What Keras will be set to with these params: the process."""
    content = with_changes(**train).model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "sitecustomize.py").write_text("" if installed else NO_JAX)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    own = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    paths = {"PYTHONPATH": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", BACKEND], cwd=tmp_path, env={**own, **paths, **(environment or {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("train", "environment", "backend"),
    [
        ({"devices": 2}, {}, "jax"),
        ({"devices": 2}, {"KERAS_BACKEND": "tensorflow"}, "tensorflow"),
        ({"devices": 1}, {}, "None"),
        ({"devices": "auto"}, {}, "None"),
        ({"backend": "tensorflow", "devices": 2}, {}, "tensorflow"),
        ({"backend": "jax"}, {"KERAS_BACKEND": "tensorflow"}, "jax"),
    ],
)
def test_auto_takes_jax_for_several_devices_unless_the_environment_names_a_backend(
    tmp_path, train, environment, backend
):
    pytest.importorskip("jax")
    assert backend_of(tmp_path, environment, **train).stdout == f"{backend}\n"


@pytest.mark.parametrize(
    ("train", "asked"), [({"devices": 2}, "train.devices = 2"), ({"backend": "jax"}, "train.backend")]
)
def test_without_jax_one_line_names_what_installs_it(tmp_path, train, asked):
    done = backend_of(tmp_path, installed=False, **train)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {asked} needs jax, which is not installed here; pip install -e '.[jax]' installs it\n"
    )


PIXELS = {"cross_entropy": 1.0, "focal": 0.5, "label_smoothing": 0.1}
CASES = {
    # Two devices divide the 14 samples, whose last batch has 2, and not the 13.
    "pixels": {
        "samples": 14, "weights": {"b": 3.0},
        "train": {"loss": PIXELS, "clip_norm": 0.5, "ema": 0.9},
    },
    "regions": {
        "samples": 13, "weights": "none", "again": True,
        "train": {"loss": {"cross_entropy": 0.0, "dice": 1.0, "lovasz": 1.0}},
    },
}  # fmt: skip
for case in CASES.values():  # Adam would make a step of a rounding error
    case["train"] |= {"epochs": 2, "batch_size": 4, "optimizer": "sgd", "learning_rate": 0.05}


@pytest.fixture(scope="module")
def on_one_and_two(tmp_path_factory):
    """What each case gives on one device and on two."""
    pytest.importorskip("jax")
    found = []
    for number in (1, 2):
        output = tmp_path_factory.mktemp("trained") / "found.npz"
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("train_on.py"), str(number), output],
            env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
            input=json.dumps(CASES), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("running on 2 virtual CPU devices" in done.stdout) == (number == 2)
        found.append(dict(np.load(output)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_devices_train_as_one_does(on_one_and_two, case):
    """Losses and scores of each epoch, and the weights, though half of the pictures hardly count."""
    one, two = ({k: v for k, v in found.items() if k.startswith(case)} for found in on_one_and_two)
    assert one.keys() == two.keys()
    assert (one.pop(f"{case} copies"), two.pop(f"{case} copies")) == (1, 2)
    assert two.pop(f"{case} history") == pytest.approx(one.pop(f"{case} history"), rel=1e-4)
    assert np.mean(two.pop(f"{case} previews") == one.pop(f"{case} previews")) > 0.99
    for name, weights in one.items():
        assert two[name] == pytest.approx(weights, rel=1e-3, abs=1e-5), name


PIECES = {"data.resize": "tiles", "data.image_size": 32, "train.sampling": "balanced"}


@pytest.mark.slow
@pytest.mark.parametrize("data", [{}, PIECES], ids=["pictures", "pieces"])
def test_the_stage_trains_on_two_devices_to_a_model_that_does_not_tell(tmp_path, data):
    pytest.importorskip("jax")
    project = make_project(tmp_path / "project", **data, **{"train.backend": "auto", "train.devices": 2})
    for stage in ("fetch", "fetch_encoder", "preprocess", "train"):
        done = run_stage(stage, project)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "no GPU found: running on 2 virtual CPU devices" in done.stdout
    on_two = architecture(project), pd.read_csv(project / "results/train/history.csv")
    temperature = best_temperature(project)
    set_params(project, {"train.backend": "jax", "train.devices": 1})
    assert run_stage("train", project).returncode == 0
    assert on_two[0] == architecture(project)
    history = pd.read_csv(project / "results/train/history.csv")
    assert on_two[1]["loss"].tolist() == pytest.approx(history["loss"].tolist(), rel=1e-3)
    assert temperature == pytest.approx(best_temperature(project), rel=0.01)


def best_temperature(project):
    return json.loads((project / "results/train/summary.json").read_text())["calibration"]["best"]


def architecture(project):
    with zipfile.ZipFile(project / "models/model.keras") as model:
        return model.read("config.json")
