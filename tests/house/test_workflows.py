"""GitHub's workflows: pinned, read-only, and every `run:` line works by hand in a fresh clone."""

import re
import subprocess

import pytest
import yaml
from helpers import ROOT, commit, environment, git, set_params, with_venv

WORKFLOWS = {p.name: yaml.safe_load(p.read_text()) for p in (ROOT / ".github/workflows").iterdir()}
STEPS = [
    (name, job, step)
    for name, workflow in WORKFLOWS.items()
    for job, content in workflow["jobs"].items()
    for step in content["steps"]
]
RUNS = sorted({step["run"] for _, _, step in STEPS if "run" in step})
REVIEW = "make review BASE=HEAD^1"


@pytest.fixture
def merged(changed_project, tmp_path):
    """What GitHub checks out for a pull request: its head merged into its base, two commits deep."""
    origin = tmp_path / "origin"
    git(tmp_path, f"clone -q --no-local {changed_project} origin")
    git(origin, "config user.name tester")
    git(origin, "config user.email tester@example.org")
    git(origin, "switch -q main")
    git(origin, "merge -q --no-ff --no-edit change")
    clone = tmp_path / "clone"
    git(tmp_path, f"clone -q --depth 2 file://{origin} clone")
    git(clone, "config user.name tester")
    git(clone, "config user.email tester@example.org")
    return with_venv(clone)


def run_line(line, clone, **extra):
    """Run a `run:` line as GitHub does; of the tests, but one."""
    return subprocess.run(
        ["bash", "-e", "-c", line], cwd=clone, capture_output=True, text=True, check=False,
        env=environment(PYTEST_ADDOPTS="-k version_is_shown", **extra),
    )  # fmt: skip


def test_actions_are_pinned_to_a_commit_with_the_version_beside_it():
    lines = [
        line
        for path in (ROOT / ".github/workflows").iterdir()
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert len(lines) > 5
    assert all(re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in lines)


def test_only_the_job_without_code_of_the_pull_request_may_write():
    writing = [
        (name, job)
        for name, workflow in WORKFLOWS.items()
        for job, content in workflow["jobs"].items()
        if "write" in content["permissions"].values()
    ]
    assert writing == [("pull-request.yml", "comment")]
    steps = WORKFLOWS["pull-request.yml"]["jobs"]["comment"]["steps"]
    assert not [step for step in steps if "run" in step or "checkout" in step["uses"]]
    assert all(workflow["permissions"] == {} for workflow in WORKFLOWS.values())


def test_no_secret_is_read_and_no_expression_stands_in_a_command():
    for path in (ROOT / ".github/workflows").iterdir():
        assert not re.search(r"\$\{\{[^}]*secrets", path.read_text())
        assert "pull_request_target" not in path.read_text()
    assert not [run for run in RUNS if "${{" in run]


def test_the_oldest_and_the_newest_python_are_those_of_the_project():
    matrix = WORKFLOWS["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    declared = re.search(
        r'requires-python = ">=(3\.\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()
    )
    assert matrix == [declared[1], f"3.{int(declared[2]) - 1}"]


def test_each_step_is_one_make_or_segpipe_call():
    assert RUNS == ["make demo", "make lint", REVIEW, "make test"]


def test_a_pull_request_whose_gates_hold_passes_with_summary_and_page(merged, tmp_path):
    set_params(merged, {"gates": [{"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.5}]})
    commit(merged)
    git(merged, "reset -q --soft HEAD~1")  # part of the merge, as if the pull request had brought it
    git(merged, "commit -q --amend --no-edit")
    summary = tmp_path / "summary.md"
    result = run_line(REVIEW, merged, GITHUB_STEP_SUMMARY=str(summary))
    assert result.returncode == 0, result.stdout + result.stderr
    comment = (merged / "logs/review/comment.md").read_text()
    assert comment == summary.read_text()
    assert "may be merged" in comment
    assert "| train.epochs | 1 | 2 |" in comment
    assert "xychart-beta" in comment
    assert (merged / "logs/review/page/index.html").is_file()


def test_a_pull_request_whose_gates_fail_is_blocked_and_still_commented(merged):
    result = run_line(REVIEW, merged)
    assert result.returncode != 0
    assert "must not be merged" in (merged / "logs/review/comment.md").read_text()


def test_a_base_that_was_not_fetched_blocks_and_is_commented(merged):
    result = run_line("make review BASE=origin/nowhere", merged)
    assert result.returncode != 0
    comment = (merged / "logs/review/comment.md").read_text()
    assert "git fetch --depth 1 origin \\+nowhere:refs/remotes/origin/nowhere" in comment


@pytest.mark.slow
def test_pictures_of_the_comment_are_those_of_the_commits_that_last(merged):
    """A test merge is short-lived on GitHub; its parents stay."""
    git(merged, "remote set-url origin https://example.org/owner/name.git")
    run_line(REVIEW, merged)
    comment = (merged / "logs/review/comment.md").read_text()
    base, head = git(merged, "rev-parse HEAD^1 HEAD^2").split()
    links = re.findall(r"\((https://[^)]+)\)", comment)
    assert links == [
        f"https://example.org/owner/name/raw/{sha}/results/samples.jpg" for sha in (base, head)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in RUNS if line != REVIEW])
def test_every_other_line_runs_in_a_fresh_clone(merged, line):
    result = run_line(line, merged)
    assert result.returncode == 0, result.stdout + result.stderr
