"""The model says what made it, a run shows how it gets on, and scoring refuses what it is not for."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import yaml
from helpers import (
    ROOT,
    as_shown,
    environment,
    error_line,
    git,
    make_project,
    run,
    run_stage,
    set_params,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_training import arrays, train, with_changes  # noqa: F401

from segpipe import __version__
from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.records import open_records
from segpipe.evaluate.load import load_for_records
from segpipe.train import provenance


def test_the_code_of_a_run_is_each_python_file_that_dvc_depends_on(tmp_path):
    deps = ["data/records", "src/pkg/train", "stages/train.py"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": {"deps": deps}}}))
    for name in ("src/pkg/train/loop.py", "src/pkg/train/deep/one.py", "stages/train.py",
                 "src/pkg/train/__pycache__/loop.cpython-311.pyc", "src/pkg/train/.loop.py.swp",
                 "src/pkg/report/page.py", "stages/other.py", "data/records/odd.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "src/pkg/train/.#loop.py").symlink_to("an editor's lock, which leads nowhere")
    found = provenance.code_files(tmp_path / "dvc.yaml", "train")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == [
        "src/pkg/train/deep/one.py", "src/pkg/train/loop.py", "stages/train.py",
    ]  # fmt: skip


def test_the_code_of_a_run_holds_this_repositorys_training_and_no_other_stage():
    found = {path.relative_to(ROOT) for path in provenance.code_files(ROOT / "dvc.yaml", "train")}
    names = {path.as_posix() for path in found}
    assert names >= {"stages/train.py", "src/segpipe/train/augment.py", "src/segpipe/model/unet.py"}
    assert not {name for name in names if "report" in name or "evaluate" in name}


@pytest.fixture
def project(finished_project, tmp_path):
    shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def test_info_prints_what_made_the_model(finished_project):
    card = yaml.safe_load(run("segpipe", "info", "models/model.keras", cwd=finished_project).stdout)
    results = finished_project / "results/train"
    summary = json.loads((results / "summary.json").read_text())
    assert card == as_shown(finished_project / "models/model.keras")
    assert card.pop("profile")["judged"] == 7
    assert re.fullmatch(r"[0-9a-f]{16}", card.pop("fingerprint"))
    assert card == {
        "format": 4,
        "segpipe": __version__,
        "image_size": [32, 32],
        "resize": "stretch",
        "bands": "rgb",
        "intensity": None,
        "depths": ["uint8"],
        "classes": [
            {"name": "pet", "value": 1, "colour": "#0072b2"},
            {"name": "background", "value": 2, "colour": "#999999"},
            {"name": "border", "value": 3, "colour": "#e69f00"},
        ],
        "ignore": [],
        "temperature": summary["calibration"]["temperature"],
        "training": summary,
        "params": yaml.safe_load((results / "params.yaml").read_text()),
        "records": {
            "source": "synthetic", "train": 17, "val": 7,
            "manifest_sha256": sha256(finished_project / "data/records/manifest.json"),
        },
        "encoder_sha256": None,
        "libraries": {name: version(name) for name in ("keras", "numpy", "tensorflow")},
        "backend": "tensorflow",
    }  # fmt: skip


def test_circumstances_are_in_the_logs_and_nowhere_else(finished_project):
    logged = json.loads((finished_project / "logs/train.json").read_text())
    assert logged["git"] == {"revision": git(finished_project, "rev-parse HEAD").strip(), "dirty": False}
    assert logged["host"] == os.uname().nodename
    assert logged["seconds"] > 0
    model = (finished_project / "models/model.keras").read_bytes()
    for value in (logged["git"]["revision"], logged["started"]):
        assert value.encode() not in model


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "text", "missing"])
def test_info_of_what_is_no_model_of_ours_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "model.keras").write_bytes(content)
    message = error_line(run("segpipe", "info", "model.keras", cwd=tmp_path))
    assert message.startswith("error: model.keras: ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('[\n    32', '[\n    64', "1 = pet, 2 = background, 3 = border at 64 x 32 px (stretch)"),
        ('"stretch"', '"pad"', "1 = pet, 2 = background, 3 = border at 32 x 32 px (pad)"),
        ('"pet",', '"cat",', "1 = cat, 2 = background, 3 = border at 32 x 32 px (stretch)"),
        ('"value": 3', '"value": 4', "1 = pet, 2 = background, 4 = border at 32 x 32 px (stretch)"),
        ('"ignore": []', '"ignore": [9]',
         "1 = pet, 2 = background, 3 = border, ignored: [9] at 32 x 32 px (stretch)"),
    ],
)  # fmt: skip
def test_a_model_for_other_records_is_refused_and_both_are_named(project, before, after, found):
    records = project / "data/records/manifest.json"
    text = records.read_text()
    assert before in text
    records.unlink()
    records.write_text(text.replace(before, after))
    with pytest.raises(UserError) as caught:
        load_for_records(project / "models/model.keras", open_records(records.parent))
    assert str(caught.value) == (
        f"{project}/models/model.keras was trained for 1 = pet, 2 = background, 3 = border at "
        f"32 x 32 px (stretch), but the records have {found}; train it on these records"
    )


@pytest.mark.slow
def test_where_there_is_no_terminal_each_epoch_is_a_line_and_changed_params_are_called_dirty(project):
    set_params(project, {"train.epochs": 2})
    lines = run_stage("train", project).stdout.splitlines()
    number, whole = r"[\d.]+", r"\d+"
    shown = [line for line in lines if line.startswith("epoch ")]
    assert len(shown) == 2
    for epoch, line in enumerate(shown, 1):
        assert re.fullmatch(
            rf"epoch {epoch}/2: loss {number}, validation mean IoU {number} \(best {number} in epoch "
            rf"[12]\), {whole} images/s, {whole} (s|min) left",
            line,
        )
    assert json.loads((project / "logs/train.json").read_text())["git"]["dirty"] is True


@pytest.mark.slow
def test_a_terminal_shows_a_bar_with_loss_score_speed_and_time(project):
    set_params(project, {"train.epochs": 3})
    terminal, stage_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "stages/train.py"], cwd=project, stdout=stage_end, stderr=subprocess.DEVNULL,
        env=environment(COLUMNS="150", TERM="xterm"),
    )  # fmt: skip
    os.close(stage_end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the stage has closed its end
            break
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(
        r"epoch 3/3 ━+.* loss [\d.]+, validation mean IoU [\d.]+ "
        r"\(best [\d.]+ in epoch \d\), \d+ images/s \d:\d\d:\d\d",
        text,
    )
    assert "epoch 1/3: " not in text, "a bar or lines, not both"


@pytest.mark.slow
def test_dvclive_s_page_can_be_opened_while_it_trains(project):
    set_params(project, {"train.epochs": 3000})
    process = subprocess.Popen([sys.executable, "stages/train.py"], cwd=project, env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    page = project / "logs/live/report.html"
    page.unlink(missing_ok=True)
    while not (page.exists() and "val_mean_iou" in page.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()


def test_tensorboard_reads_its_logs(arrays, tmp_path):  # noqa: F811
    train(arrays, tmp_path, with_changes(epochs=2, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard/run/validation"))
    events.Reload()
    assert "epoch_mean_iou" in events.Tags()["tensors"]
    assert [event.step for event in events.Tensors("epoch_mean_iou")] == [0, 1]


def test_without_asking_there_are_no_tensorboard_logs(finished_project):
    assert not (finished_project / "logs/tensorboard").exists()


@pytest.mark.slow
def test_one_core_or_two_give_the_same_bytes_with_a_number_of_threads(tmp_path):
    """`train.threads` fixes how sums are split up; all other stages do not depend on it."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, and a system that can take one away")
    locks = []
    for cores in ("0", "0,1"):
        project = make_project(tmp_path / cores.replace(",", ""), **{"train.threads": 2})
        result = run("taskset", "--cpu-list", cores, "dvc", "repro", cwd=project)
        assert result.returncode == 0, result.stderr
        locks.append((project / "dvc.lock").read_text())
    assert locks[0] == locks[1]
