"""`docs/architecture.md` names the folders, floors and dependencies that there are."""

import re

import pytest
from helpers import ROOT
from test_wiring import FLOORS, ROOMS, STAGES

PAGE = (ROOT / "docs/architecture.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its first two lines."""
    section = PAGE.split(f"## {heading}\n")[1]
    table = re.search(r"(?m)(?:^\|.*\n)+", section).group()
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


TABLE = {quoted(folder)[0].rstrip("/"): (floor, deps) for floor, folder, _, deps in rows("The rooms")}
FOLDERS = {path.name for path in ROOMS.iterdir() if path.is_dir() and path.name != "__pycache__"}


def test_every_folder_is_in_the_table_once_and_no_other():
    assert set(TABLE) == FOLDERS
    assert len(rows("The rooms")) == len(TABLE)


@pytest.mark.parametrize("folder", TABLE)
def test_a_folder_is_a_dependency_of_the_stages_that_the_table_names(folder):
    named = TABLE[folder][1]
    expected = {name for name, stage in STAGES.items() if f"src/segpipe/{folder}" in stage["deps"]}
    assert {"none": set(), "every stage": set(STAGES)}.get(named, set(quoted(named))) == expected


@pytest.mark.parametrize("folder", TABLE)
def test_a_folder_is_on_the_floor_that_the_import_rule_gives_it(folder):
    assert folder in FLOORS[int(TABLE[folder][0]) - 1]


def test_the_way_of_the_data_names_each_stage_and_its_outs():
    diagram = re.search(r"```text\n(params.yaml.*?)```", PAGE, re.DOTALL).group(1)
    assert re.findall(r"[├└]─ (\w+)", diagram) == [*STAGES]
    for name, line in zip(STAGES, diagram.splitlines()[2:], strict=True):
        written = re.findall(r"(?:data|models|results)/[\w./]+", line.split("─►")[1])
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in _outs(STAGES[name])]
        assert all(any(out.startswith(path) for path in written) for out in outs), name
        assert all(any(out.startswith(path) for out in outs) for path in written), name


def _outs(stage):
    return [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]


@pytest.mark.parametrize("row", rows("Where is …?"), ids=lambda row: row[0])
def test_the_files_that_answer_where_something_is_exist(row):
    paths = quoted(row[1])
    assert paths
    assert [path for path in paths if not (ROOMS / path).exists()] == []


def test_where_is_answers_what_people_ask_most():
    asked = {
        "augmentation", "a new encoder", "a new layout", "the loss", "resume", "the test score",
        "the pull-request comment", "which GPU",
    }  # fmt: skip
    assert asked <= {row[0] for row in rows("Where is …?")}


def test_the_paths_beside_the_library_exist():
    rows_beside = PAGE.split("Beside `src/segpipe`:")[1].split("##")[0]
    paths = re.findall(r"(?m)^\| `([^`]+)`", rows_beside)
    assert len(paths) == 11
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_modules_that_the_upgrade_names_are_there():
    table = (ROOT / "docs/upgrading.md").read_text().split("| 0.2.0 | 0.3.0 |\n")[1].split("\n\n")[0]
    cells = [line.strip("|").split("|")[1] for line in table.splitlines()[1:]]
    modules = [name for cell in cells for name in quoted(cell) if name.startswith("segpipe.")]
    assert len(modules) > 15
    paths = [ROOMS.joinpath(*name.split(".")[1:]) for name in modules]
    assert [path for path in paths if not (path.is_dir() or path.with_suffix(".py").is_file())] == []
