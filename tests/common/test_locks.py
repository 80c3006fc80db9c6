"""Folders for copies are removed, even if the process that made them was killed."""

import subprocess
import sys

import pytest

from segpipe.common.locks import scratch

HOLD = """
import sys
from pathlib import Path
from segpipe.common.locks import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "copy").write_text("large")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holds(root):
    """A process with a folder in `root`, and the folder's name."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def test_a_scratch_folder_is_removed_when_its_block_ends_or_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), scratch(tmp_path / "root") as folder:
        (folder / "copy").write_text("large")
        raise ZeroDivisionError
    assert not any((tmp_path / "root").iterdir())


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    killed, left = holds(tmp_path)
    living, used = holds(tmp_path)
    killed.kill()
    killed.wait()
    assert {left, used} <= {str(path) for path in tmp_path.iterdir()}
    with scratch(tmp_path) as folder:
        found = {path for path in tmp_path.iterdir() if path.is_dir()}
        assert {str(path) for path in found} == {str(folder), used}
    living.communicate("")
    assert not any(tmp_path.iterdir())
