"""Files and folders are written whole or not at all."""

import errno
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import name_hash, replaces, write_json, write_text


def test_an_error_while_writing_leaves_the_old_content(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replaces(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]


def test_a_file_of_the_longest_name_is_replaced(tmp_path):
    path = tmp_path / ("ü" * 125 + ".png")  # 254 bytes
    write_text(path, "old")
    write_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(path.name, "new")]


def test_an_error_that_is_not_the_systems_keeps_its_words(tmp_path):
    with pytest.raises(OSError, match=r"^encoder error -2$"), replaces(tmp_path / "file"):
        raise OSError("encoder error -2")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("one", "two"):
        with replaces(tmp_path / "out") as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["out", "out/two"]


def test_an_error_while_writing_a_folder_leaves_the_old_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(KeyboardInterrupt), replaces(tmp_path / "out") as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["out", "out/old"]


def test_a_process_killed_while_writing_leaves_the_old_content_and_no_obstacle(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    code = (
        "import os, pathlib, signal, sys\n"
        "from segpipe.common.files import replaces\n"
        "with replaces(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "new")]


def killed_at(path, left):
    """Replace a folder in a process that is killed once the old one, or both, are at their places."""
    at = "os.kill(os.getpid(), signal.SIGKILL)"
    stop = f"pathlib.Path.replace = lambda one, to: (os.rename(one, to), {at})"
    if left == "both":
        stop = f"shutil.rmtree = lambda one: {at}"
    code = (
        "import os, pathlib, shutil, signal, sys\n"
        "from segpipe.common.files import replaces\n"
        "with replaces(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.mkdir()\n"
        "    (partial / 'killed').touch()\n"
        f"    {stop}\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9


@pytest.mark.parametrize("left", ["old", "both"])
def test_a_process_killed_while_replacing_a_folder_is_no_obstacle_to_the_next(tmp_path, left):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    killed_at(path, left)
    assert (tmp_path / ".out.partial.old/old").exists() and path.exists() == (left == "both")
    with pytest.raises(KeyboardInterrupt), replaces(path):
        raise KeyboardInterrupt
    assert [*path.iterdir()] == [path / ("killed" if left == "both" else "old")]
    killed_at(path, left)
    with replaces(path) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["out", "out/new"]


def test_json_refuses_nan_which_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "scores.json", {"iou": float("nan")})
    assert not list(tmp_path.iterdir())


@given(st.text(), st.sampled_from(["val", "test"]))
def test_name_hash_is_a_share_that_depends_on_name_and_purpose_only(name, purpose):
    assert 0 <= name_hash(name, purpose) < 1
    assert name_hash(name, purpose) == name_hash(name, purpose)


def test_name_hash_never_changes():
    # printf val/Abyssinian_1 | sha256sum | cut -c1-14, divided by 16^14
    assert name_hash("Abyssinian_1", "val") == pytest.approx(0.8018833700186846)
    shares = [name_hash(f"photo {n}", "val") < 0.1 for n in range(10_000)]
    assert 0.09 < sum(shares) / len(shares) < 0.11


def test_where_a_copy_fills_the_disk_the_copy_is_named_and_not_its_source(capsys):
    @exits_cleanly
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "big/11.jpg", None, "out/11.jpg")

    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("error: out/11.jpg: No space left on device; make room")
