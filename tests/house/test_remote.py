"""What `make remote-demo` promises: what one pushed, another pulls, and nothing runs."""

import re
import runpy
import shutil

import pytest
from helpers import ROOT, environment, git, make_project, run, set_params, with_venv


@pytest.mark.slow
def test_a_pull_from_an_s3_bucket_spares_every_stage_and_the_demo_leaves_no_trace(tmp_path):
    project = with_venv(make_project(tmp_path / "project"))
    before = settings(project)
    user = tmp_path / "user"
    user.mkdir()
    (user / "config").write_text("[cache]\n    dir = /dev/null\n")
    result = run(
        "make", "remote-demo", cwd=project,
        DVC_GLOBAL_CONFIG_DIR=str(user), AWS_PROFILE="absent", AWS_ENDPOINT_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    anna, ben = re.split(r"\n.remote-demo\$ git clone --quiet anna ben\n", result.stdout)
    assert re.search(r"anna\$ dvc push --run-cache\n\d+ files pushed", anna)
    assert anna.count("Running stage") == 6
    assert "Running stage" not in ben
    assert ben.count("didn't change, skipping") == 6
    assert ben.count("is cached - skipping run") == 3 + 6
    scratch = project / ".remote-demo"
    assert (scratch / "ben/models/model.keras").read_bytes() == (scratch / "unet.keras").read_bytes()
    assert settings(project) == before
    assert git(project, "status --porcelain") == ""


@pytest.mark.slow
def test_the_demo_ends_with_an_error_where_a_stage_runs_after_the_pull(
    finished_project, tmp_path, monkeypatch
):
    shutil.copytree(finished_project, tmp_path / "ben", symlinks=True)
    set_params(tmp_path / "ben", {"report.samples": 3})
    demo = runpy.run_path(str(ROOT / "examples/remote_demo.py"))
    monkeypatch.setitem(demo["repro_runs_nothing"].__globals__, "BEN", tmp_path / "ben")
    monkeypatch.setenv("PATH", environment()["PATH"])
    with pytest.raises(
        SystemExit, match=r"^error: in .*/ben ran report; after the pull none should run"
    ):
        demo["repro_runs_nothing"]()


def settings(project):
    """Every file of DVC in a project, with its content."""
    return {path: path.read_bytes() for path in (project / ".dvc").rglob("*") if path.is_file()}
