"""Start-up messages of libraries: none where all goes well, all of them where an import fails."""

import os
import shutil
import signal

import pytest
from helpers import run

from segpipe.common.errors import UserError
from segpipe.common.quiet import quiet

NEED_KERAS = [
    ["python", "stages/fetch_encoder.py"],
    ["python", "stages/train.py"],
    ["python", "stages/evaluate.py"],
    ["python", "stages/export.py", "savedmodel"],
    ["segpipe", "model"],
    ["segpipe", "predict", "results/samples.jpg", "-o", "out"],
    ["segpipe", "export", "--to", "onnx"],
]
OTHERS = [["python", f"stages/{name}.py"] for name in ("fetch", "preprocess", "report")]


def some_slow(commands, *quick):
    """The commands as cases, of which those are long tests that are not `quick`."""
    return [
        pytest.param(
            command, id=" ".join(command), marks=[] if command[1] in quick else pytest.mark.slow
        )
        for command in commands
    ]


FAILING = some_slow(NEED_KERAS, "stages/train.py", "model")
SAID = "I0000 a message\nthe reason\n"


def start_with(package, code, command, project, tmp_path):
    """Run a command where a package writes to file descriptor 2, as C++ does, and then runs `code`."""
    (tmp_path / "fake" / package).mkdir(parents=True)
    said = f"import os, signal, time; os.write(2, {SAID.encode()!r}); {code}"
    (tmp_path / "fake" / package / "__init__.py").write_text(said)
    path = os.pathsep.join(filter(None, [str(tmp_path / "fake"), os.environ.get("PYTHONPATH")]))
    return run(*command, cwd=project, PYTHONPATH=path)


@pytest.mark.parametrize("command", some_slow(NEED_KERAS + OTHERS, "stages/train.py", "predict"))
def test_a_command_that_succeeds_prints_nothing_on_standard_error(command, finished_project, tmp_path):
    project = shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    result = run(*command, cwd=project)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("package", ["keras", "tensorflow"])
@pytest.mark.parametrize("command", FAILING)
def test_an_import_that_raises_shows_all_that_was_said(package, command, finished_project, tmp_path):
    result = start_with(
        package, "raise ImportError('no such library')", command, finished_project, tmp_path
    )
    assert result.returncode != 0
    assert result.stderr.startswith(SAID)
    assert result.stderr.endswith("ImportError: no such library\n")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGILL])
@pytest.mark.parametrize("command", FAILING)
def test_an_import_that_ends_the_process_shows_all_that_was_said(
    number, command, finished_project, tmp_path
):
    code = f"os.kill(os.getpid(), {number})"
    result = start_with("tensorflow", code, command, finished_project, tmp_path)
    assert (result.returncode, result.stderr) == (-number, SAID)


@pytest.mark.parametrize("command", FAILING)
def test_ctrl_c_during_an_import_shows_its_one_line_alone(command, finished_project, tmp_path):
    code = "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    result = start_with("tensorflow", code, command, finished_project, tmp_path)
    assert result.returncode != 0
    assert "I0000" not in result.stderr
    lines = ["error: interrupted"] if command[0] == "python" else []  # a command ends without a word
    assert [line[:18] for line in result.stderr.splitlines()] == lines


@pytest.mark.slow
def test_tensorflow_datasets_starts_as_quietly(finished_project, tmp_path):
    """Its source asks for TensorFlow, which it would itself import at the first sample."""
    code = (
        "from segpipe.fetch.params import FetchParams; from segpipe.fetch.sources import open_source;"
        "open_source(FetchParams.model_construct(source='oxford_iiit_pet'))"
    )
    assert run("python", "-c", code, cwd=finished_project).stderr == ""
    result = start_with("tensorflow", "os.abort()", ["python", "-c", code], finished_project, tmp_path)
    assert (result.returncode, result.stderr) == (-signal.SIGABRT, SAID)


def test_what_is_printed_after_the_block_is_not_held_back(capfd):
    with quiet():
        os.write(2, b"held back")
    os.write(2, b"printed")
    assert capfd.readouterr().err == "printed"


def test_a_user_error_speaks_for_itself(capfd):
    with pytest.raises(UserError), quiet():
        os.write(2, b"held back")
        raise UserError("what was found")
    assert capfd.readouterr().err == ""


def test_an_inner_block_that_fails_shows_its_text_where_the_outer_one_fails(capfd):
    with pytest.raises(RuntimeError), quiet():
        os.write(2, b"outer, ")
        with quiet():
            os.write(2, b"inner")
            raise RuntimeError
    assert capfd.readouterr().err == "outer, inner"


def test_blocks_that_overlap_give_standard_error_back(capfd):
    """As in two threads, of which the first ends first."""
    first, second = quiet(), quiet()
    for block in (first, second):
        block.__enter__()
    for block in (first, second):
        block.__exit__(None, None, None)
    os.write(2, b"printed")
    assert capfd.readouterr().err == "printed"


def test_without_a_shell_nothing_is_held_back_and_nothing_fails(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with quiet():
        os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with quiet():
        assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
