"""Unfinished runs: who holds one, how it is described, and why another one is not resumed."""

import json
import os
import subprocess
import sys
import time

import pytest

from segpipe.cli.runs import runs
from segpipe.common.errors import UserError
from segpipe.train import resume
from segpipe.train.resume import Run, claim, fingerprint

IDENTITY = {
    "params": {"seed": 0, "train": {"epochs": 9, "flip": True}},
    "records": "12ab",
    "code": {"src/segpipe/a.py": "34cd", "src/segpipe/b.py": "56ef"},
    "libraries": {"keras": "3.14.0"},
}


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def leave(name, identity=IDENTITY, epoch=3):
    """Leave an unfinished run, as a killed process does."""
    folder = resume.root() / name
    folder.mkdir(parents=True)
    (folder / "identity.json").write_text(json.dumps(identity))
    (folder / f"epoch-{epoch:04d}.npz").write_bytes(b"1234567890")
    return Run(folder)


def changed(**sections):
    return {**IDENTITY, **sections}


def test_the_epochs_of_a_run_are_those_of_both_phases(capsys):
    train = {"epochs": 9, "fine_tuning": {"epochs": 4, "learning_rate": 0.1}}
    leave("0123", changed(params={"seed": 0, "train": train}), epoch=11)
    leave("4567", epoch=3)
    runs(clear=False)
    listed = capsys.readouterr().out
    assert "11 of 13" in listed
    assert "3 of 9" in listed


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (
            changed(params={"seed": 0, "train": {"epochs": 9, "flip": False}}),
            "train.flip (True, now False)",
        ),
        (changed(params={"seed": 1, "train": {"epochs": 9, "flip": True}}), "seed (0, now 1)"),
        (changed(code={**IDENTITY["code"], "src/segpipe/b.py": "78"}), "src/segpipe/b.py"),
        (changed(libraries={"keras": "3.15.0"}), "libraries.keras (3.14.0, now 3.15.0)"),
        (changed(records="another"), "records"),
        (
            changed(params={"seed": 1, "train": {"epochs": 8, "flip": False}}, records="another"),
            "seed (0, now 1), train.epochs (9, now 8), train.flip (True, now False) and 1 more",
        ),
    ],
)
def test_a_fresh_start_beside_an_unfinished_run_says_what_is_different(capsys, identity, words):
    leave("0123")
    with claim(identity):
        pass
    assert capsys.readouterr().out == (
        f"starting afresh: the last unfinished run, 0123 after epoch 3, differs in {words}\n"
    )


def test_a_first_run_and_one_that_is_resumed_say_nothing(capsys):
    with claim(IDENTITY):
        pass
    leave(fingerprint(IDENTITY))
    with claim(IDENTITY):
        pass
    assert capsys.readouterr().out == ""


def test_a_run_without_an_error_leaves_nothing_and_one_with_an_error_all():
    with claim(IDENTITY) as run:
        (run.folder / "epoch-0001.npz").write_bytes(b"x")
    assert list(resume.root().iterdir()) == []
    with pytest.raises(KeyboardInterrupt), claim(IDENTITY) as run:
        (run.folder / "epoch-0001.npz").write_bytes(b"x")
        raise KeyboardInterrupt
    (left,) = resume.unfinished_runs()
    assert (left.fingerprint, left.epoch, left.identity) == (fingerprint(IDENTITY), 1, IDENTITY)


HOLD = """
import sys
from segpipe.train.resume import claim
with claim({}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_claim_of_another_process_is_respected_until_that_process_dies(repository):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    (run,) = resume.unfinished_runs()
    assert run.trained_by.startswith(f"process {process.pid} on ")
    assert [who for _, who in resume.clear()] == [run.trained_by]
    with pytest.raises(UserError, match=f"trained already, by process {process.pid} on "), claim({}):
        pass
    process.kill()
    process.wait()
    assert run.trained_by is None
    with claim({}):
        pass


def test_clearing_removes_every_run_and_its_lock():
    for name in ("0123", "4567"):
        leave(name)
    assert {(run.fingerprint, who) for run, who in resume.clear()} == {("0123", None), ("4567", None)}
    assert list(resume.root().iterdir()) == []


def test_epoch_age_and_size_are_those_of_the_newest_checkpoint():
    run = leave("0123", epoch=9999)
    (run.folder / "epoch-10000.npz").write_bytes(bytes(1000))
    assert run.epoch == 10000
    assert run.size == 1000 + 10 + len(json.dumps(IDENTITY))
    hour_ago = time.time() - 3600
    os.utime(run.checkpoints[0], (hour_ago, hour_ago))
    assert run.age == pytest.approx(3600, abs=60)


def test_a_clock_that_was_set_back_gives_the_age_zero():
    run = leave("0123")
    tomorrow = time.time() + 86400
    os.utime(run.checkpoints[0], (tomorrow, tomorrow))
    assert run.age == 0


def test_a_damaged_description_is_said_to_be_lost(capsys):
    run = leave("0123")
    (run.folder / "identity.json").write_text("{")
    with claim(IDENTITY):
        pass
    assert capsys.readouterr().out == (
        "starting afresh: the last unfinished run, 0123 after epoch 3, has lost its description\n"
    )


def test_a_run_that_was_being_removed_when_the_process_died_is_not_resumed():
    run = leave(fingerprint(IDENTITY))
    run.folder.rename(run.folder.with_suffix(".gone"))
    assert resume.unfinished_runs() == []
    with claim(IDENTITY):
        assert run.checkpoints == []
    assert list(resume.root().iterdir()) == []


def test_runs_are_found_from_a_folder_further_down(repository, monkeypatch):
    leave("0123")
    (repository / "a/b").mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(repository / "a/b")
    assert [run.fingerprint for run in resume.unfinished_runs()] == ["0123"]
