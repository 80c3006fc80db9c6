"""DVC runs the whole graph: what reruns for which change, and that the same gives the same bytes."""

import json
import re
import shutil

import pytest
import yaml
from helpers import ROOT, commit, git, make_project, run, set_params, some_quick, with_venv

ALL = ["fetch", "fetch_encoder", "preprocess", "train", "evaluate", "report"]


@pytest.fixture
def project(finished_project, tmp_path):
    """A copy of the finished project, to be changed."""
    shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def repro(project, *arguments):
    """Run `dvc repro` and return the stages that ran."""
    result = run("dvc", "repro", *arguments, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    return re.findall(r"Running stage '([\w@-]+)'", result.stdout)


def outs(project):
    """The md5 of every out, by path."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def append(path, text):
    path.write_text(path.read_text() + text)


def test_a_finished_project_holds_every_promised_result(finished_project):
    for path in (
        "data/raw/summary.json", "data/encoder/encoder.json", "data/records/manifest.json",
        "results/fetch/labels.json",
        "models/model.keras", "results/train/history.csv", "results/train/params.yaml",
        "results/train/previews/epoch-000.png", "results/train/previews/epoch-001.png",
        "results/evaluate/metrics.json", "results/evaluate/counts.json",
        "results/evaluate/per_image.csv", "results/evaluate/per_class.csv",
        "results/evaluate/confusion.csv", "results/evaluate/calibration.csv",
        "results/evaluate/by_distance.csv",
        "results/report/index.html", "results/report/report.md", "results/samples.jpg",
    ):  # fmt: skip
        assert (finished_project / path).is_file(), path
    assert list((finished_project / "logs/live").iterdir()), "the live log"


def test_a_run_leaves_git_with_nothing_but_metrics_and_the_lock(finished_project):
    status = git(finished_project, "status --porcelain -uall")
    assert {line[3:] for line in status.splitlines()} == {
        "dvc.lock", "results/fetch/labels.json",
        "results/evaluate/metrics.json", "results/evaluate/counts.json",
        "results/evaluate/confusion.csv", "results/evaluate/per_class.csv",
        "results/train/history.csv", "results/train/summary.json",
        "results/samples.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({}, []),
        ({"report.samples": 3}, ["report"]),
        pytest.param({"evaluate.batch_size": 3}, ["evaluate", "report"], marks=pytest.mark.slow),
        pytest.param({"train.epochs": 3}, ["train", "evaluate", "report"], marks=pytest.mark.slow),
        pytest.param({"seed": 1}, ["train", "evaluate", "report"], marks=pytest.mark.slow),
        pytest.param(
            {"model.encoder.alpha": 0.5},
            ["fetch_encoder", "train", "evaluate", "report"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"data.image_size": 64},
            ["preprocess", "train", "evaluate", "report"],
            marks=pytest.mark.slow,
        ),
        ({"data.on_bad": "skip"}, ["fetch"]),
        pytest.param(
            {"data.synthetic.seed": 1},
            ["fetch", "preprocess", "train", "evaluate", "report"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_a_changed_param_reruns_the_affected_stages_and_no_others(project, change, stages):
    set_params(project, change)
    assert repro(project) == stages


def test_what_ran_once_does_not_run_again_even_where_the_lock_and_all_outs_are_gone(project):
    expected = outs(project)
    (project / "dvc.lock").unlink()
    for folder in ("data/raw", "data/encoder", "data/records", "models", "results"):
        shutil.rmtree(project / folder)
    assert repro(project) == []
    assert outs(project) == expected


def test_a_comment_in_params_reruns_nothing(project):
    append(project / "params.yaml", "# a comment\n")
    assert repro(project) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("report/params.py", "    worst:", "    best: int = 0\n    worst:", ["report"]),  # a new field
        pytest.param("report/plots.py", "\n", "\n\n", ["report"], marks=pytest.mark.slow),
        pytest.param("report/templates/page.md", "\n", "\n\n", ["report"], marks=pytest.mark.slow),
        ("review/check.py", "there is no base", "there is nothing to compare with", []),  # a message
        pytest.param("review/templates/check.md", "\n", "\n\n", [], marks=pytest.mark.slow),
        pytest.param("params/load.py", "\n", "\n\n", [], marks=pytest.mark.slow),
        ("cli/results.py", "\n", "\n\n", []),
        ("fetch/integrity.py", "\n", "\n\n", ["fetch"]),
        pytest.param(
            "preprocess/resize.py", "\n", "\n\n", ["preprocess", "evaluate"], marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_changed_code_reruns_the_stages_whose_folder_it_is_in(project, file, old, new, stages):
    path = project / "src/segpipe" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert repro(project) == stages


@pytest.mark.parametrize(("file", "stages"), [("baseline.json", ["report"]), ("README.md", [])])
def test_a_changed_file_reruns_the_stages_that_read_it(project, file, stages):
    append(project / file, "\n")
    assert repro(project) == stages


@pytest.mark.slow
def test_a_new_export_format_reruns_the_exports_alone(project):
    set_params(project, {"export.formats": ["savedmodel"], "export.max_drop": 1.0})
    assert repro(project) == ["export@savedmodel"]
    formats = project / "src/segpipe/export/__init__.py"
    onnx = '    ONNX = "onnx"\n'
    assert onnx in formats.read_text()
    formats.write_text(formats.read_text().replace(onnx, onnx + '    COREML = "coreml"\n'))
    assert repro(project) == ["export@savedmodel"]


@pytest.mark.slow
def test_what_python_and_editors_leave_beside_the_code_reruns_nothing(project):
    room = project / "src/segpipe/train"
    (room / "__pycache__").mkdir(exist_ok=True)
    for name in (
        "__pycache__/stray.cpython-311.pyc",
        "stray.pyc",
        ".loop.py.swp",
        "loop.py~",
        "#loop.py#",
    ):
        (room / name).write_text("left here")
    (room / ".#loop.py").symlink_to("someone@machine.1234")  # Emacs' lock, which dangles
    assert repro(project) == []
    append(room / "loop.py", "# a change\n")
    assert repro(project)[0] == "train", "it is noticed beside them"


@pytest.mark.parametrize("change", some_quick(["add", "change", "remove"], "change"))
def test_a_change_in_the_users_folder_reruns_fetch(pairs, tmp_path, change):
    project = make_project(
        tmp_path / "project", **{"data.source": "folder", "data.folder.path": str(pairs)}
    )
    assert repro(project, "fetch") == ["fetch"]
    assert repro(project, "fetch") == []
    image, mask = pairs / "images/photo 00.jpg", pairs / "masks/photo 00.png"
    for path in (image, mask):
        if change == "remove":
            path.unlink()
        else:
            shutil.copy(
                path.with_stem("photo 01"), path.with_stem("a new one") if change == "add" else path
            )
    assert repro(project, "fetch") == ["fetch"]
    counts = json.loads((project / "data/raw/summary.json").read_text())["splits"].values()
    expected = {"add": 13, "change": 12, "remove": 11}[change]
    assert sum(split["samples"] for split in counts) == expected


@pytest.mark.slow
def test_another_clone_in_another_folder_gives_the_same_md5_of_every_out(finished_project, tmp_path):
    clone = make_project(tmp_path / "elsewhere" / "with a space")
    assert repro(clone) == ALL
    assert outs(clone) == outs(finished_project)


def test_metrics_are_as_the_contract_says(finished_project):
    scores = json.loads((finished_project / "results/evaluate/metrics.json").read_text())
    assert set(scores) == {"images", "loss", "calibration_error", "network", "original"}
    means = {"pixel_accuracy", "mean_iou", "mean_dice"}
    for size, more in (("network", set()), ("original", {"interval", "boundary_f1"})):
        assert set(scores[size]) == means | {"iou", "dice"} | more
        assert set(scores[size]["iou"]) == {"pet", "background", "border"}
    assert set(scores["original"]["boundary_f1"]) == {"2px", "5px"}
    interval = scores["original"]["interval"]
    assert set(interval) == means
    assert all(
        interval[name]["low"] <= scores["original"][name] <= interval[name]["high"] for name in means
    )
    assert scores["images"] == 6


def test_history_is_as_the_contract_says(finished_project):
    header, *rows = (finished_project / "results/train/history.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,mean_iou,val_loss,val_accuracy,val_mean_iou,learning_rate"
    assert [row.split(",")[0] for row in rows] == ["1"]


def test_no_out_holds_an_absolute_path(finished_project):
    for path in [*(finished_project / "results").rglob("*"), *(finished_project / "data").rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert str(finished_project).encode() not in content
            assert str(ROOT).encode() not in content


@pytest.mark.slow
def test_an_experiment_in_a_copy_of_the_repository_runs_the_copys_code(project):
    """The installed package is the original's; a queued experiment must not run that."""
    commit(project)
    report = project / "stages/report.py"
    tell = "import segpipe; print(segpipe.__file__)"
    report.write_text(report.read_text().replace("import yaml\n", f"import yaml\n{tell}\n"))
    result = run("dvc", "exp", "run", "--temp", "-S", "report.samples=3", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    (used,) = re.findall(r"\S+/src/segpipe/__init__\.py", result.stdout)
    assert "/.dvc/tmp/exps/" in used


@pytest.mark.slow
def test_experiments_show_metrics_diff_and_plots_work(project):
    commit(project)
    for command in (
        ["exp", "run", "-S", "train.learning_rate=0.02", "-n", "fastest"],
        ["exp", "run", "--temp", "-S", "train.learning_rate=0.03", "-n", "faster"],
    ):
        result = run("dvc", *command, cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr
    shown = run("dvc", "exp", "show", "--csv", cwd=project).stdout
    assert "fastest" in shown and "faster" in shown
    assert "original.mean_iou" in shown
    diff = json.loads(run("dvc", "metrics", "diff", "--json", cwd=project).stdout)
    assert diff["results/evaluate/metrics.json"]["loss"]["diff"] != 0
    plots = json.loads(run("dvc", "plots", "show", "--json", cwd=project).stdout)
    assert {"loss", "accuracy", "mean_iou"} <= set(plots["data"])
    assert run("dvc", "plots", "show", "-o", "plots", cwd=project).returncode == 0
    assert (project / "plots/index.html").is_file()
    assert "train" in run("dvc", "dag", cwd=project).stdout


@pytest.mark.slow
def test_the_demo_reaches_its_bar_and_leaves_git_clean(tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, f"clone --quiet {ROOT} clone")
    result = run("make", "demo", cwd=with_venv(clone))
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((clone / ".demo/results/evaluate/metrics.json").read_text())
    assert scores["original"]["mean_iou"] >= 0.85
    assert "mean_iou" in result.stdout
    assert f"report: {clone / '.demo/results/report/index.html'}\n" in result.stdout
    assert git(clone, "status --porcelain") == ""
