"""The console command."""

import json
import re

from helpers import run

from segpipe import __version__


def test_scores_are_those_of_metrics_json_and_the_report_is_named(finished_project):
    printed = run("segpipe", "scores", cwd=finished_project).stdout
    scores = json.loads((finished_project / "results/evaluate/metrics.json").read_text())
    row = re.search(r"mean_iou\D+([\d.]+)\D+([\d.]+)", printed).groups()
    assert row == tuple(f"{scores[size]['mean_iou']:.4f}" for size in ("original", "network"))
    assert printed.endswith(f"report: {finished_project / 'results/report/index.html'}\n")


def test_scores_without_results_name_the_file_on_stderr(tmp_path):
    result = run("segpipe", "scores", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: results/evaluate/metrics.json: no such file; `dvc repro")


def test_version_is_shown(tmp_path):
    assert run("segpipe", "--version", cwd=tmp_path).stdout == f"segpipe {__version__}\n"


def test_data_tells_the_size_and_how_much_memory_training_takes(finished_project, tmp_path):
    """24 pictures of 32 x 32 px take 4 bytes a pixel; were they 1,000 times as many, 98 MB."""
    folder = tmp_path / "records"
    folder.mkdir()
    content = json.loads((finished_project / "data/records/manifest.json").read_text())
    for split in content["splits"].values():
        split["samples"] *= 1000
    (folder / "manifest.json").write_text(json.dumps(content))
    result = run("segpipe", "data", str(folder), cwd=finished_project)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "size:    32 x 32 px, stretch" in lines
    assert "memory:  98 MB of training and validation samples with train.in_memory: true" in lines
