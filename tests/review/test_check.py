"""`segpipe check`: what may be merged, what not, what nobody can tell; in shallow clones."""

import itertools
import json
import os
import shutil
from dataclasses import replace

import pytest
import yaml
from helpers import commit, git, make_repository, make_toy_project, run, set_params
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from segpipe.evaluate.counts import decode, encode
from segpipe.fetch import tally
from segpipe.params.load import GateParams
from segpipe.report.changes import MISSING, changes
from segpipe.review.check import EXIT_CODES, check_against
from segpipe.review.freshness import freshness
from segpipe.review.gates import judge
from segpipe.review.paired import Verdicts
from segpipe.review.revision import COUNTS, MASK_TALLY

METRICS = "results/evaluate/metrics.json"


@pytest.fixture
def check(monkeypatch):
    """Answer in a project: the exit code, and what `--json` prints."""

    def answer_in(project, base="origin/main"):
        monkeypatch.chdir(project)
        answer = check_against(base)
        return EXIT_CODES[answer.verdict], answer.to_json()

    return answer_in


def gated(project, *gates):
    """Give a project these gates, and commit."""
    set_params(project, {"gates": list(gates)})
    commit(project)


def score(project, revision, name="mean_iou"):
    return json.loads(git(project, f"show {revision}:{METRICS}"))["original"][name]


def test_a_change_whose_gates_hold_may_be_merged_without_pulling_data(check, pull_request):
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.5})
    code, answer = check(pull_request)
    assert (code, answer["verdict"], answer["stale"]) == (0, "yes", {})
    assert not (pull_request / "data/records").exists(), "nothing was pulled"
    (iou,) = (s for s in answer["scores"] if s["name"] == "original.mean_iou")
    before, after = score(pull_request, "origin/main"), score(pull_request, "HEAD")
    assert (iou["base"], iou["here"], iou["difference"]) == (before, after, after - before)
    changed = {p["name"]: (p["base"], p["here"]) for p in answer["params"]}
    assert changed["train.epochs"] == (1, 2)


def test_a_failing_gate_exits_with_1_and_says_why(check, pull_request):
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.99})
    code, answer = check(pull_request)
    here = score(pull_request, "HEAD")
    assert (code, answer["verdict"]) == (1, "no")
    assert answer["gates"][0]["failures"] == [f"{here:.4f} is below min 0.99"]


def test_a_param_changed_without_a_run_is_stale_though_no_data_is_here(check, pull_request):
    gated(pull_request)
    set_params(pull_request, {"train.learning_rate": 0.5})
    commit(pull_request)
    assert check(pull_request)[1]["stale"] == {"train": ["param train.learning_rate changed"]}


def test_where_dvc_lock_has_no_stages_none_ran(tmp_path, monkeypatch):
    pipeline = "stages:\n  train:\n    cmd: touch model\n    outs: [model]\n"
    project = make_toy_project(tmp_path / "project", "", pipeline)
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    commit(project)
    monkeypatch.chdir(project)
    assert freshness().stale == {"train": ["it never ran"]}


def test_changed_removed_code_and_results_changed_by_hand_are_stale(check, pull_request):
    gated(pull_request)
    for path, text in (("src/segpipe/report/plots.py", "\n"), (METRICS, " ")):
        with (pull_request / path).open("a") as file:
            file.write(text)
    (pull_request / "src/segpipe/train/losses.py").unlink()
    commit(pull_request)
    code, answer = check(pull_request)
    assert code == 1
    assert answer["stale"] == {
        "train": ["src/segpipe/train changed (losses.py deleted)"],
        "evaluate": [f"{METRICS} is not what it wrote"],
        "report": [f"{METRICS} changed", "src/segpipe/report changed (plots.py)"],
    }


LOSSES = "src/segpipe/train/losses.py"


def edit(project, path=LOSSES):
    with (project / path).open("a") as file:
        file.write("\n")


def test_of_a_changed_folder_the_files_are_named(check, pull_request):
    edit(pull_request)
    code, answer = check(pull_request)
    assert (code, answer["stale"]) == (1, {"train": ["src/segpipe/train changed (losses.py)"]})
    assert answer["doubts"] == [f"not committed, so not what would be merged: {LOSSES}"]
    (pull_request / "src/segpipe/train/new.py").touch()  # not even known to Git
    (pull_request / LOSSES).unlink()
    reason = "src/segpipe/train changed (losses.py deleted, new.py new)"
    assert check(pull_request)[1]["stale"] == {"train": [reason]}
    commit(pull_request)
    assert check(pull_request)[1]["stale"] == {"train": [reason]}


def test_of_many_changed_files_a_few_are_named(check, pull_request):
    for name in "abcdef":
        (pull_request / f"src/segpipe/train/{name}.py").touch()
    reason = "src/segpipe/train changed (a.py new, b.py new, c.py new, d.py new, and 2 more)"
    assert check(pull_request)[1]["stale"] == {"train": [reason]}


def test_where_history_is_cut_the_folder_alone_is_named(check, pull_request, tmp_path):
    edit(pull_request)
    commit(pull_request)
    git(tmp_path, f"clone -q --depth 1 file://{pull_request} shallow")
    code, answer = check(tmp_path / "shallow", "HEAD")
    assert (code, answer["stale"]) == (1, {"train": ["src/segpipe/train changed"]})


def test_after_a_run_with_code_that_no_commit_holds_the_folder_alone_is_named(check, pull_request):
    lock = yaml.safe_load((pull_request / "dvc.lock").read_text())
    folder = next(d for d in lock["stages"]["train"]["deps"] if d["path"] == "src/segpipe/train")
    folder["md5"] = "0" * 32 + ".dir"
    (pull_request / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert check(pull_request)[1]["stale"] == {"train": ["src/segpipe/train changed"]}


def test_in_the_test_merge_of_ci_the_files_are_named(check, changed_project, tmp_path):
    """It comes with its two parents, the second of which holds the pull request."""
    project = tmp_path / "project"
    shutil.copytree(changed_project, project, symlinks=True)
    git(project, "switch -q -c edited")
    edit(project)
    commit(project)
    git(project, "switch -q change")
    git(project, "merge -q --no-ff -m merge edited")
    git(tmp_path, f"clone -q --depth 2 -b change file://{project} clone")
    code, answer = check(tmp_path / "clone", "HEAD^1")
    assert (code, answer["stale"]) == (1, {"train": ["src/segpipe/train changed (losses.py)"]})


def test_what_python_and_editors_leave_changes_nothing(check, pull_request):
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.5})
    names = ["__pycache__/loop.pyc", "loop.pyc", ".loop.py.swp", "loop.py~", ".#loop.py", "#loop.py#"]
    names += ["notes.txt"]  # DVC ignores it, Git does not
    for name in names:
        path = pull_request / "src/segpipe/train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("left behind")
    code, answer = check(pull_request)
    assert (code, answer["stale"], answer["doubts"]) == (0, {}, [])


def test_a_stage_that_ran_on_another_model_than_the_lock_holds_is_stale(check, pull_request):
    """As after `dvc repro train` alone: what is not pulled can only be compared inside dvc.lock."""
    gated(pull_request)
    lock = yaml.safe_load((pull_request / "dvc.lock").read_text())
    model = next(o for o in lock["stages"]["train"]["outs"] if o["path"] == "models/model.keras")
    model["md5"] = "0" * 32
    (pull_request / "dvc.lock").write_text(yaml.safe_dump(lock))
    commit(pull_request)
    assert check(pull_request)[1]["stale"] == {"evaluate": ["it ran on another models/model.keras"]}


def test_without_a_lock_no_stage_ever_ran(check, pull_request):
    gated(pull_request)
    (pull_request / "dvc.lock").unlink()
    commit(pull_request)
    code, answer = check(pull_request)
    assert code == 1
    assert answer["stale"]["fetch"] == ["it never ran"]
    assert len(answer["stale"]) == 6


def test_results_removed_from_git_are_stale(check, pull_request):
    gated(pull_request)
    git(pull_request, f"rm -q {METRICS}")
    commit(pull_request)
    assert check(pull_request)[1]["stale"] == {"evaluate": [f"{METRICS} is deleted"]}


def train_frozen(stages):
    stages["train"]["frozen"] = True


def new_dep(stages):
    stages["evaluate"]["deps"].append("data/encoder")


def new_out(stages):
    stages["train"]["outs"].append("models/other.keras")


def unwatched_params(stages):
    stages["train"]["params"].remove("train")


def unwatched_code(stages):
    stages["report"]["deps"].remove("src/segpipe/report")


def cached_all_at_once(stages):
    stages["report"]["plots"] = ["results/samples.jpg"]


@pytest.mark.parametrize(
    ("change", "stage", "reason"),
    [
        (train_frozen, "train", "param train.learning_rate changed"),
        (new_dep, "evaluate", "data/encoder is new to it"),
        (new_out, "train", "out models/other.keras is new to it"),
        (unwatched_params, "train", "param train is no longer declared"),
        (unwatched_code, "report", "src/segpipe/report is no longer declared"),
        (cached_all_at_once, "report", "results/samples.jpg is not what it wrote"),
    ],
)
def test_a_pipeline_that_watches_less_or_other_things_is_stale(
    check, pull_request, change, stage, reason
):
    """`dvc status` is content with each of these, in a clone without data."""
    pipeline = yaml.safe_load((pull_request / "dvc.yaml").read_text())
    change(pipeline["stages"])
    (pull_request / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    with (pull_request / "results/samples.jpg").open("ab") as file:
        file.write(b"x" if change is cached_all_at_once else b"")
    if change is train_frozen:
        set_params(pull_request, {"train.learning_rate": 0.5})
    gated(pull_request)
    code, answer = check(pull_request)
    assert code == 1
    assert answer["stale"] == {stage: [reason]}


def test_a_lock_that_lost_an_md5_is_stale(check, pull_request):
    gated(pull_request)
    lock = yaml.safe_load((pull_request / "dvc.lock").read_text())
    del lock["stages"]["preprocess"]["outs"][0]["md5"]
    (pull_request / "dvc.lock").write_text(yaml.safe_dump(lock))
    commit(pull_request)
    code, answer = check(pull_request)
    assert code == 1
    assert "dvc.lock has no md5 of data/records" in answer["stale"]["preprocess"]


def test_metrics_that_no_stage_writes_get_no_green_light(check, pull_request):
    pipeline = yaml.safe_load((pull_request / "dvc.yaml").read_text())
    del pipeline["stages"]["evaluate"], pipeline["stages"]["report"]
    (pull_request / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    gated(pull_request)
    code, answer = check(pull_request)
    assert code == 2
    assert answer["doubts"] == [f"no stage writes {METRICS}, so nothing proves its scores"]


def test_a_result_that_was_not_committed_gets_no_green_light(check, changed_project, tmp_path):
    """As after `git add` of some of the results: the commit is not what was checked."""
    project = tmp_path / "project"
    shutil.copytree(changed_project, project, symlinks=True)
    gated(project)
    set_params(project, {"report.samples": 4})
    assert run("dvc", "repro", cwd=project).returncode == 0
    git(project, "add params.yaml dvc.lock")
    (project / "results/samples.jpg").write_bytes(b"another")
    assert run("dvc", "commit", "--force", "report", cwd=project).returncode == 0
    git(project, "add dvc.lock")
    git(project, "commit -q -m partly")
    code, answer = check(project, "main")
    assert code == 2
    assert answer["doubts"] == ["not committed, so not what would be merged: results/samples.jpg"]


def test_data_that_dvc_add_keeps_is_compared_though_not_pulled(check, pull_request):
    """The path may be spelled with a slash at its end."""
    gated(pull_request)
    lock = (pull_request / "dvc.lock").read_text().replace("path: data/folder", "path: data/mine/")
    (pull_request / "dvc.lock").write_text(lock)
    set_params(pull_request, {"data.folder.path": "data/mine/"})
    md5 = yaml.safe_load(lock)["stages"]["fetch"]["deps"][0]["md5"]
    for kept, stale in ((md5, {}), ("0" * 32 + ".dir", {"fetch": ["it ran on another data/mine"]})):
        added = {"outs": [{"md5": kept, "hash": "md5", "path": "mine"}]}
        (pull_request / "data/mine.dvc").write_text(yaml.safe_dump(added))
        (pull_request / "data/.gitignore").write_text("/mine\n")
        commit(pull_request)
        found = check(pull_request)[1]["stale"]
        assert found.get("fetch") == stale.get("fetch")


def test_a_folder_that_git_ignores_and_this_machine_lacks_gets_no_green_light(check, pull_request):
    gated(pull_request)
    lock = (pull_request / "dvc.lock").read_text().replace("path: data/folder", "path: data/mine")
    (pull_request / "dvc.lock").write_text(lock)
    set_params(pull_request, {"data.folder.path": "data/mine"})
    (pull_request / "data/.gitignore").write_text("/mine\n")
    commit(pull_request)
    assert "data/mine is not here to be compared" in check(pull_request)[1]["doubts"][0]


def test_a_data_folder_outside_the_repository_is_named_as_not_compared(check, pull_request, tmp_path):
    """CI rarely has it; the lock says with which contents the results were made."""
    gated(pull_request)
    lock = (pull_request / "dvc.lock").read_text()
    set_params(pull_request, {"data.folder.path": "/data/not here"})
    (pull_request / "dvc.lock").write_text(lock.replace("path: data/folder", "path: /data/not here"))
    commit(pull_request)
    _, answer = check(pull_request)
    assert "not compared, since not on this machine: /data/not here" in answer["notes"]


def test_uncommitted_changes_get_no_green_light(check, pull_request):
    gated(pull_request)
    set_params(pull_request, {"gates": [{"metric": "loss", "max": 100}]})
    code, answer = check(pull_request)
    assert (code, answer["verdict"]) == (2, "cannot tell")
    assert answer["doubts"] == ["not committed, so not what would be merged: params.yaml"]


def test_results_deleted_by_hand_fail_and_are_named(check, pull_request):
    gated(pull_request, {"metric": "loss", "max": 100})
    shutil.rmtree(pull_request / "results")
    code, answer = check(pull_request)
    assert code == 1
    assert f"{METRICS} is deleted" in answer["stale"]["evaluate"]
    assert answer["gates"][0]["failures"] == ["missing here"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not JSON {", f"{METRICS} of the working tree: not JSON (Expecting value"),
        ('{"loss": NaN}', f"{METRICS} of the working tree: holds NaN, which is no score; `dvc repro`"),
        ('{"loss": 1e400}', f"{METRICS} of the working tree: holds 1e400, which is no score"),
        ("[1]", f"{METRICS} of the working tree: holds no table of scores"),
        ("[" * 100000, "RecursionError"),
    ],
)
def test_a_broken_metrics_file_is_no_green_light(check, pull_request, content, words):
    (pull_request / METRICS).write_text(content)
    commit(pull_request)
    code, answer = check(pull_request)
    assert (code, answer["verdict"]) == (2, "cannot tell")
    assert answer["doubts"][0].startswith(words)


def test_broken_metrics_at_the_base_are_named_with_the_base(check, pull_request):
    git(pull_request, "switch -q -c broken origin/main")
    (pull_request / METRICS).write_text('{"loss": Infinity}')
    commit(pull_request)
    git(pull_request, "switch -q change")
    code, answer = check(pull_request, "broken")
    assert code == 2
    assert answer["doubts"] == [
        f"{METRICS} of broken: holds Infinity, which is no score; fix it there first"
    ]


@pytest.mark.parametrize(
    ("base", "line"),
    [
        ("origin/release", "git fetch --depth 1 origin +release:refs/remotes/origin/release"),
        ("v1.0", "git fetch --depth 1 origin v1.0:v1.0"),
        ("HEAD^1", "git fetch --deepen 1 origin"),
        ("a" * 40, "git fetch --depth 1 origin " + "a" * 40),
        ("origin/x y", "git fetch --depth 1 origin '+x y:refs/remotes/origin/x y'"),
    ],
)
def test_a_base_that_is_not_here_comes_with_the_line_that_fetches_it(check, pull_request, base, line):
    code, answer = check(pull_request, base)
    assert code == 2
    assert answer["doubts"][0].startswith(f"{base}: no such revision here; ")
    assert answer["doubts"][0].endswith(line)


def test_the_line_that_fetches_a_base_does(check, pull_request, changed_project):
    git(pull_request, "update-ref -d refs/remotes/origin/main")
    line = check(pull_request)[1]["doubts"][0].split(": git ")[1]
    assert line == "fetch --depth 1 origin +main:refs/remotes/origin/main"
    git(pull_request, line)
    assert check(pull_request)[0] == 1  # the gates of the tiny project do not hold


def test_outside_a_repository_and_before_the_first_commit_it_cannot_tell(check, tmp_path):
    code, answer = check(tmp_path)
    assert code == 2
    (doubt,) = answer["doubts"]
    assert doubt.startswith(
        f"{tmp_path} is in no Git repository that can be read (fatal: not a git repo"
    )
    assert doubt.endswith("; run this in a clone")
    git(tmp_path, "init -q")
    assert check(tmp_path)[1]["doubts"] == ["the repository has no commits yet; commit first"]


def test_in_a_folder_of_the_repository_it_names_the_root(check, pull_request):
    _, answer = check(pull_request / "stages")
    assert answer["doubts"][0].endswith(f"is not the root of the repository; run this in {pull_request}")


def test_a_project_in_a_sub_folder_is_told_so_and_not_sent_to_a_root_without_one(check, tmp_path):
    project = tmp_path / "vision/segmentation"
    project.mkdir(parents=True)
    (project / "params.yaml").touch()
    git(tmp_path, "init -q")
    code, answer = check(project)
    assert code == 2
    assert answer["doubts"] == [
        f"{project} lies in a sub-folder of the repository {tmp_path}; give the project a repository of "
        "its own, or make it a Git submodule"
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder to another user")
def test_of_a_repository_of_another_user_gits_own_words_are_shown(check, tmp_path):
    git(tmp_path, "init -q")
    os.chown(tmp_path, 4321, 4321)
    os.chown(tmp_path / ".git", 4321, 4321)
    code, answer = check(tmp_path)
    assert code == 2
    assert "dubious ownership" in answer["doubts"][0]
    assert f"git config --global --add safe.directory {tmp_path}" in answer["doubts"][0]


def test_a_latin_1_terminal_gets_the_answer_and_no_traceback(pull_request):
    ended = run("segpipe", "scores", cwd=pull_request, PYTHONIOENCODING="latin-1")
    assert ended.returncode == 0, ended.stderr
    assert "\\u2013" in ended.stdout  # the dash of a score that does not exist
    ended = run("segpipe", "check", cwd=pull_request, PYTHONIOENCODING="latin-1")
    assert ended.returncode in (0, 1) and "Traceback" not in ended.stderr, ended.stderr


def test_the_first_commit_of_a_project_is_held_to_min_and_max_alone(check, pull_request):
    shutil.rmtree(pull_request / ".git")
    make_repository(pull_request)
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.001})
    code, answer = check(pull_request)
    assert (code, answer["base"]) == (0, None)
    assert answer["notes"] == [
        "this is the first commit, so there is no base: only min and max are checked"
    ]


def test_a_branch_without_a_parent_is_not_the_first_commit(check, pull_request):
    """Its base may exist, and only not be here."""
    git(pull_request, "update-ref -d refs/remotes/origin/main")
    git(pull_request, "checkout -q --orphan other")
    commit(pull_request)
    code, answer = check(pull_request)
    assert code == 2
    assert "git fetch" in answer["doubts"][0]


@pytest.mark.parametrize("base", ["", "--markdown"])
def test_a_base_that_is_no_name_is_no_base(check, pull_request, base):
    code, answer = check(pull_request, base)
    assert (code, answer["doubts"]) == (2, [f"{base!r} names no revision"])


def test_no_gates_and_changed_gates_are_said(check, pull_request):
    gated(pull_request)
    assert "params.yaml has no gates: any scores pass" in check(pull_request)[1]["notes"]
    gated(pull_request, {"metric": "loss", "max": 100})
    assert "this change alters the gates" in check(pull_request)[1]["notes"]


def test_a_damaged_index_gets_no_green_light(check, pull_request):
    (pull_request / ".git/index").write_text("junk")
    assert check(pull_request) == (
        2, {"verdict": "cannot tell", "doubts": ["`git status` fails; run it to see why"]}
    )  # fmt: skip


def test_a_base_without_any_results_is_no_base_to_compare_with(check, pull_request):
    """Who starts from this repository as a template has code on main, and no results yet."""
    git(pull_request, "switch -q -c template origin/main")
    git(pull_request, "rm -q -r results dvc.lock")
    commit(pull_request)
    git(pull_request, "switch -q change")
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.001})
    code, answer = check(pull_request, "template")
    assert code == 0
    assert "template has no results yet: only min and max are checked" in answer["notes"]


def test_wrong_params_are_no_green_light(check, pull_request):
    gated(pull_request, {"metric": "loss"})
    code, answer = check(pull_request)
    assert code == 2
    assert answer["doubts"] == [
        "params.yaml: gates.0: the gate on loss needs min, max, max_drop or worse"
    ]


@pytest.mark.parametrize("metric", ["original.boundary_f1.2px", "network.mean_iou", "loss"])
def test_only_scores_of_each_images_counts_can_be_tested(check, pull_request, metric):
    gated(pull_request, {"metric": metric, "worse": "significant"})
    code, answer = check(pull_request)
    assert code == 2
    assert answer["doubts"] == [
        f"params.yaml: gates.0: the gate on {metric} has worse, which takes scores of each image's "
        "counts: original.pixel_accuracy, .mean_iou, .mean_dice, .iou.CLASS or .dice.CLASS"
    ]


def test_a_loss_that_chance_does_not_explain_fails_and_the_comment_says_who_pays(check, pull_request):
    """Without data: the counts of both sides are in Git."""
    gated(pull_request, {"metric": "original.mean_iou", "worse": "significant"})
    path = pull_request / COUNTS
    counts = decode(path.read_text())
    counts.pixels[:, 0] = 0  # nothing is right any more
    path.write_text(encode(counts))
    commit(pull_request)
    code, answer = check(pull_request)
    (gate,) = answer["gates"]
    assert (code, gate["failures"]) == (1, ["worse than chance explains"])
    assert gate["tested"].startswith("mean IoU fell from ") and gate["tested"].endswith(": worse")
    assert answer["stale"]["evaluate"] == [f"{COUNTS} is not what it wrote"]
    comment = run("segpipe", "check", "--markdown", cwd=pull_request).stdout
    assert "most affected classes: " in comment and "; images: test-0000" in comment.replace("\\", "")


def test_an_unchanged_model_is_not_worse_and_other_limits_hold_beside(check, pull_request):
    git(pull_request, f"checkout -q origin/main -- {COUNTS}")
    gated(pull_request, {"metric": "original.mean_iou", "max": 0.001, "worse": "significant"})
    (gate,) = check(pull_request)[1]["gates"]
    assert gate["tested"].endswith(": no difference to be seen")
    assert gate["failures"][0].endswith("is above max 0.001") and len(gate["failures"]) == 1


def test_a_base_without_counts_gets_no_green_light_and_a_failing_gate_still_fails(check, pull_request):
    git(pull_request, "checkout -q origin/main")
    git(pull_request, f"rm -q {COUNTS}")
    commit(pull_request)
    git(pull_request, "update-ref refs/remotes/origin/main HEAD")
    git(pull_request, "checkout -q change")
    gated(pull_request, {"metric": "original.mean_iou", "worse": "significant"})
    code, answer = check(pull_request)
    assert (code, answer["gates"][0]["failures"], answer["gates"][0]["holds"]) == (2, [], None)
    comment = run("segpipe", "check", "--markdown", cwd=pull_request).stdout
    assert "| worse significant | " in comment and comment.count(" | ❓ |") == 1
    assert answer["doubts"] == [
        f"origin/main has no {COUNTS}, which `worse: significant` needs; merge the counts first, the "
        "gate afterwards"
    ]
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.99, "worse": "significant"})
    code, answer = check(pull_request)
    assert (code, answer["gates"][0]["holds"]) == (1, False)


def test_two_test_splits_that_share_no_image_get_no_green_light(check, pull_request):
    git(pull_request, "checkout -q origin/main")
    path = pull_request / COUNTS
    counts = decode(path.read_text())
    path.write_text(encode(replace(counts, images=[f"other {name}" for name in counts.images])))
    commit(pull_request)
    git(pull_request, "update-ref refs/remotes/origin/main HEAD")
    git(pull_request, "checkout -q change")
    gated(pull_request, {"metric": "original.mean_iou", "worse": "significant"})
    code, answer = check(pull_request)
    assert (code, answer["gates"][0]["holds"], len(answer["doubts"])) == (2, None, 1)
    assert answer["doubts"][0].startswith("too few test images to compare: both sides share 0 test")
    shown = run("segpipe", "check", "--markdown", cwd=pull_request)
    assert shown.returncode == 2
    assert shown.stdout.startswith("## ❓ segpipe check: cannot tell\n")
    assert "| worse significant | " in shown.stdout and shown.stdout.count(" | ❓ |") == 1


def test_a_damaged_tally_of_masks_at_the_base_hides_no_failing_gate(check, pull_request):
    git(pull_request, "checkout -q origin/main")
    (pull_request / MASK_TALLY).write_text("{}")
    commit(pull_request)
    git(pull_request, "update-ref refs/remotes/origin/main HEAD")
    git(pull_request, "checkout -q change")
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.99})
    code, answer = check(pull_request)
    assert (code, answer["doubts"], len(answer["gates"])) == (1, [], 1)
    (note,) = [note for note in answer["notes"] if "labels" in note]
    assert note.startswith(f"labels are not compared: {MASK_TALLY} of origin/main: no tally of masks (")


def test_a_broken_lock_is_no_green_light(check, pull_request):
    with (pull_request / "dvc.lock").open("a") as file:
        file.write("<<<<<<< HEAD\n")
    commit(pull_request)
    code, answer = check(pull_request)
    assert code == 2
    assert answer["doubts"][0].startswith("DVC cannot read the pipeline (unable to read: 'dvc.lock'")


def test_people_and_comments_get_the_same_answer(pull_request):
    gated(pull_request, {"metric": "original.mean_iou", "min": 0.99})
    plain = run("segpipe", "check", cwd=pull_request)
    comment = run("segpipe", "check", "--markdown", cwd=pull_request)
    assert plain.returncode == comment.returncode == 1
    assert "must not be merged" in plain.stdout
    html = MarkdownIt("gfm-like", {"linkify": False}).render(comment.stdout)
    assert "<h2>❌ segpipe check: must not be merged</h2>" in html
    assert "<td>original.mean_iou</td>" in html
    assert html.count("<table>") == 4, "gates, main and other scores, params"


def test_names_and_values_from_a_pull_request_stay_text_in_the_comment(pull_request):
    odd = "<script>alert(1)</script> | ![x](http://example.org/x) `\n## heading"
    set_params(pull_request, {"gates": [{"metric": odd, "min": 1}], "data.folder.path": odd})
    commit(pull_request)
    comment = run("segpipe", "check", "--markdown", cwd=pull_request).stdout
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(comment)
    assert "<script" not in html and "<img" not in html
    assert html.count("<h2>") == 1
    assert "&lt;script&gt;" in html


def test_a_comment_on_many_classes_fits_on_github(pull_request):
    path = pull_request / METRICS
    scores = json.loads(path.read_text())
    for size, kind in itertools.product(("network", "original"), ("iou", "dice")):
        scores[size][kind] = {f"class-{n}": n / 1000 for n in range(255)}
    path.write_text(json.dumps(scores))
    classes = [{"name": f"class-{n}", "value": n, "colour": f"#0000{n:02x}"} for n in range(255)]
    set_params(pull_request, {"data.classes": classes})
    commit(pull_request)
    comment = run("segpipe", "check", "--markdown", cwd=pull_request).stdout
    assert len(comment) < 65536
    assert "`segpipe check --json` has all" in comment


def test_the_command_prints_json_and_exits_as_the_answer_says(pull_request):
    result = run("segpipe", "check", "--json", "--base", "nope", cwd=pull_request)
    assert result.returncode == 2
    assert json.loads(result.stdout)["verdict"] == "cannot tell"


def test_one_of_two_formats(pull_request):
    result = run("segpipe", "check", "--json", "--markdown", cwd=pull_request)
    assert result.returncode == 2
    assert "not both" in result.stderr


GATE = GateParams(metric="iou", min=0.5, max=0.9, max_drop=0.01)


@pytest.mark.parametrize(
    ("here", "base", "failures"),
    [
        (0.7, 0.7, []),
        (0.69, 0.7, []),  # 0.7 - 0.69 is 0.010000000000000009 in floats
        (0.5, 0.5, []),
        (0.49, 0.4, ["0.4900 is below min 0.5"]),
        (0.91, 0.9, ["0.9100 is above max 0.9"]),
        (0.6, 0.65, ["fell by 0.0500, more than max_drop 0.01"]),
        (0.4, 0.6, ["0.4000 is below min 0.5", "fell by 0.2000, more than max_drop 0.01"]),
    ],
)
def test_limits_themselves_are_within_the_gate(here, base, failures):
    assert judge(GATE, {"iou": here}, {"iou": base}, Verdicts()).failures == failures


@pytest.mark.parametrize(
    ("here", "base", "failure"),
    [
        ({}, {"iou": 0.7}, "missing here"),
        ({"iou": 0.7}, {}, "missing at the base"),
        ({"iou": None}, {"iou": 0.7}, "missing here"),  # a class that is absent has no score
        ({"iou": "0.7"}, {"iou": 0.7}, "missing here"),
        ({"iuo": 0.7}, {}, "missing here and at the base; did you mean iuo?"),
    ],
)
def test_a_metric_that_a_side_lacks_fails_its_gate(here, base, failure):
    assert judge(GATE, here, base, Verdicts()).failures == [failure]


@pytest.mark.parametrize(
    ("here", "base", "holds"),
    [(0.7, 0.7, None), (0.4, 0.7, False), (0.7, None, True)],  # without a base, worse is not asked
)
def test_a_gate_whose_loss_could_not_be_tested_does_not_hold(here, base, holds):
    gate = GateParams(metric="original.mean_iou", min=0.5, worse="significant")
    sides = [None if score is None else {"original.mean_iou": score} for score in (here, base)]
    assert judge(gate, *sides, Verdicts()).holds is holds


values = st.dictionaries(st.text(max_size=3), st.integers(0, 3) | st.none() | st.just("x"), max_size=6)


@given(base=values, here=values)
def test_changes_are_exactly_the_names_whose_values_differ(base, here):
    found = {change.name: (change.before, change.after) for change in changes(base, here)}
    for name in {*base, *here}:
        sides = base.get(name, MISSING), here.get(name, MISSING)
        assert found.get(name, (sides[0], sides[0])) == sides


def test_dotted_names_are_those_of_dvc(check, pull_request):
    shown = json.loads(run("dvc", "metrics", "diff", "--json", "origin/main", cwd=pull_request).stdout)
    _, answer = check(pull_request)
    ours = {s["name"]: (s["base"], s["here"]) for s in answer["scores"]}
    theirs = {
        name: (sides["old"], sides["new"]) for file in shown.values() for name, sides in file.items()
    }
    assert ours == theirs


def test_changed_labels_are_said_without_any_data(check, pull_request):
    path = pull_request / MASK_TALLY
    assert not [note for note in check(pull_request)[1]["notes"] if "labels" in note]
    masks = tally.decode(path.read_text())
    masks.digests[min(masks.digests)] = "00000000"
    masks.pixels["pet"] *= 2
    path.write_text(tally.encode(masks))
    commit(pull_request)
    notes = check(pull_request)[1]["notes"]
    assert f"labels: {len(masks.digests)} masks, 1 changed: pet +100.0 %" in notes
    path.write_text("{}")
    commit(pull_request)
    (note,) = [note for note in check(pull_request)[1]["notes"] if "labels" in note]
    assert note.startswith(f"labels are not compared: {MASK_TALLY} of the working tree: no tally of mas")
    text = git(pull_request, f"show HEAD~1:{MASK_TALLY}")
    path.unlink()
    commit(pull_request)
    path.write_text(text)
    commit(pull_request)
    assert (
        f"labels are not compared: HEAD~1 has no {MASK_TALLY}"
        in check(pull_request, "HEAD~1")[1]["notes"]
    )
