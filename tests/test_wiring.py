"""The pipeline's wiring: deps, params and floors are what the code says they are."""

import ast
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, run, set_params
from wiring import import_closure

STAGES = {
    name: stage.get("do", stage)  # what `foreach` repeats
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}

FLOORS = [
    (
        "ground",
        {
            "changes",
            "config",
            "classes",
            "errors",
            "families",
            "files",
            "formats",
            "locks",
            "metrics",
            "nested",
            "paramsfile",
            "recipes",
            "scales",
            "words",
        },
    ),
    ("data", {"data"}),
    ("model", {"model"}),
    (
        "runs",
        {
            "training",
            "evaluation",
            "prediction",
            "pretrained",
            "unfinished",
            "provenance",
            "devices",
            "network",
            "summary",
            "modelfile",
            "export",
        },
    ),
    (
        "views",
        {
            "grids",
            "blocks",
            "pages",
            "plotpage",
            "report",
            "review",
        },
    ),
    ("edges", {"cli"}),
]


def code_deps(stage):
    return {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_of_a_stage_are_exactly_the_files_that_it_imports(stage):
    assert code_deps(stage) == import_closure(ROOT / "stages" / f"{stage}.py")


def test_the_templates_are_a_dep_of_the_stage_that_reads_them():
    assert [s for s in STAGES if "src/segpipe/templates" in STAGES[s]["deps"]] == ["report"]


def test_an_import_inside_a_function_counts(tmp_path):
    assert "src/segpipe/data/sources/tfds.py" in code_deps("fetch"), "it is imported only where chosen"


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
    level = {name: n for n, (_, names) in enumerate(FLOORS) for name in names}
    for path in (ROOT / "src/segpipe").rglob("*.py"):
        parts = path.relative_to(ROOT / "src/segpipe").with_suffix("").parts
        if parts == ("__init__",):
            continue
        for target in _imports(path):
            assert level[target] <= level[parts[0]], f"{path} imports segpipe.{target}"


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


def test_the_command_line_starts_without_anything_heavy():
    heavy = {"tensorflow", "keras", "numpy", "pandas", "matplotlib", "pydantic", "dvc"}
    code = f"import sys, segpipe.cli; print(sorted({heavy} & {{*sys.modules}}))"
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "[]\n"


def _imports(path):
    """The parts of segpipe that a file imports, by their first name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("segpipe."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("segpipe"):
            parts = node.module.split(".")
            yield from parts[1:2] or [alias.name for alias in node.names]
