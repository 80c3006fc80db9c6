"""The pipeline's wiring: deps, params and floors are what the code says they are."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, run, set_params
from wiring import import_closure, imported_files

STAGES = {
    name: stage.get("do", stage)  # what `foreach` repeats
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}

ROOMS = ROOT / "src/segpipe"

FLOORS = [
    {"common"},
    {"model"},
    {"fetch", "preprocess", "train", "evaluate", "export", "report"},
    {"params"},
    {"drift", "hub", "label", "plan", "predict", "review", "serve", "survey", "sweep"},
    {"cli"},
]
"""Folders of `src/segpipe`, from the ground up. A file imports from its own floor or one below."""


def code_deps(stage):
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_lies_inside_its_deps_and_each_dep_is_imported(stage):
    closure, deps = import_closure(ROOT / "stages" / f"{stage}.py"), code_deps(stage)
    outside = [file for file in closure if not any(file.is_relative_to(dep) for dep in deps)]
    needless = [dep for dep in deps if not any(file.is_relative_to(dep) for file in closure)]
    assert (outside, needless) == ([], [])


def test_an_import_inside_a_function_counts():
    closure = import_closure(ROOT / "stages/fetch.py")
    assert ROOMS / "fetch/tfds.py" in closure, "it is imported only where chosen"
    assert ROOMS / "fetch/layouts/coco.py" in closure, "it is imported by its name"


def test_no_code_lies_outside_a_folder():
    assert {path.name for path in ROOMS.iterdir() if path.is_file()} == {"__init__.py", "py.typed"}


ARGUMENTS = {"export": ["tflite-int8"]}
"""What a stage's script is called with; this is the format that reads the most."""


@pytest.fixture(scope="module")
def read_by(finished_project, tmp_path_factory):
    """Which params each stage reads when it runs, for `fetch` over all sources."""
    project = tmp_path_factory.mktemp("traced") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    trace = str(Path(__file__).with_name("trace_params.py"))

    def reads(stage):
        result = run("python", trace, stage, *ARGUMENTS.get(stage, ()), cwd=project)
        line = next(line for line in result.stdout.splitlines() if line.startswith("READ "))
        return set(json.loads(line[5:]))

    found = {stage: reads(stage) for stage in STAGES}
    for source, changes in (
        ("folder", {}),  # an empty folder: it stops there
        ("tfds", {"data.tfds.name": "no_such_data_set"}),
    ):
        set_params(project, {"data.source": source, **changes})
        found["fetch"] |= reads("fetch")
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_params_of_a_stage_are_exactly_what_it_reads(stage, read_by):
    declared = STAGES[stage]["params"]
    read = read_by[stage]
    undeclared = [key for key in read if not any(f"{key}.".startswith(f"{d}.") for d in declared)]
    unread = [d for d in declared if not any(f"{key}.".startswith(f"{d}.") for key in read)]
    assert (undeclared, unread) == ([], [])


def test_a_file_imports_only_from_its_own_floor_or_one_below():
    level = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
    for path in ROOMS.glob("*/**/*.py"):
        room = path.relative_to(ROOMS).parts[0]
        for target in imported_files(path):
            other = target.relative_to(ROOMS).parts[0]
            assert level[other] <= level[room], f"{path} imports {target}"


def test_the_model_floor_knows_keras_and_no_tensorflow():
    for path in (ROOT / "src/segpipe/model").glob("*.py"):
        assert "tensorflow" not in path.read_text()


@pytest.mark.parametrize("stage", ["report", "preprocess", "fetch"])
def test_a_stage_without_a_network_starts_without_tensorflow(stage):
    code = (
        f"import runpy, sys; sys.path.insert(0, 'stages'); runpy.run_path('stages/{stage}.py');"
        "print('tensorflow' in sys.modules)"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "False\n"


def test_a_check_starts_without_matplotlib_and_scipy_stats():
    """They took a third of its time, and it needs neither."""
    code = "import sys, segpipe.review.check; print({'matplotlib', 'scipy.stats'} & {*sys.modules})"
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "set()\n"


def test_the_command_line_starts_without_anything_heavy():
    heavy = {"tensorflow", "keras", "numpy", "pandas", "matplotlib", "pydantic", "dvc"}
    code = f"import sys, segpipe.cli; print(sorted({heavy} & {{*sys.modules}}))"
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "[]\n"
