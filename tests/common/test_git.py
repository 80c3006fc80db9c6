"""Git, run from one place."""

import subprocess

import pytest

from segpipe.common import git


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", tmp_path], check=True)
    return tmp_path


def test_output_has_no_line_break_at_its_end_and_is_none_where_git_fails(repository):
    assert git.output("symbolic-ref", "HEAD", folder=repository) == "refs/heads/main"
    assert git.output("rev-parse", "--verify", "HEAD", folder=repository) is None


def test_a_file_name_that_is_not_utf_8_survives(repository):
    name = b"caf\xe9.txt".decode(errors="surrogateescape")
    (repository / name).touch()
    assert git.output("status", "--porcelain", "-z", folder=repository) == f"?? {name}\0"


def test_a_machine_without_git_gives_no_output_and_runs_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.output("--version") is None
    with pytest.raises(FileNotFoundError):
        git.run("--version")
