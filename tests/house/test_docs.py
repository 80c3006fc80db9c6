"""README and docs: every command in them runs, every error that they quote is a real one."""

import re
import shutil
import subprocess
from pathlib import Path

import dvc
import hydra
import numpy as np
import pytest
import scmrepo
from helpers import ROOT, commit, environment, git, set_params, with_venv
from markdown_it import MarkdownIt
from own_folders import FOLDERS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = ("# Needs a network.", "# Needs a GPU.")
"""The first line of a block that cannot run here."""


def blocks(page, language):
    fences = (t for t in MarkdownIt().parse(page.read_text()) if t.type == "fence")
    return [fence.content for fence in fences if fence.info == language]


COMMANDS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "sh"), 1)
    if not block.startswith(ELSEWHERE)
]


@pytest.fixture
def clone(changed_project, tmp_path):
    """The project as the docs find it: on main, with results; `make setup` has nothing left to do."""
    project = tmp_path / "clone"
    shutil.copytree(changed_project, project, symlinks=True)
    git(project, "switch -q main")
    gates = [{"metric": "original.mean_iou", "min": 0.01, "max_drop": 0.5}]
    set_params(project, {"gates": gates, "export.max_drop": 1.0})
    FOLDERS["binary"][1](project / "my_data", np.random.default_rng(0))
    commit(project)
    return with_venv(project)


@pytest.mark.slow
@pytest.mark.parametrize("block", COMMANDS)
def test_the_commands_run(clone, block):
    subprocess.run(["dvc", "checkout", "-q"], cwd=clone, env=environment(), check=True)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=clone, capture_output=True, text=True,
        env=environment(PYTEST_ADDOPTS="-k version_is_shown"),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_fence_says_its_language_and_every_page_is_linked():
    readme = PAGES[0].read_text()
    for page in PAGES:
        infos = {t.info for t in MarkdownIt().parse(page.read_text()) if t.type == "fence"}
        assert infos <= {"sh", "yaml", ""}, page
        assert page.name == "README.md" or f"docs/{page.name}" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_quoted_errors_are_those_of_the_code():
    """Each message stands in our code or in DVC's, its string literals joined."""
    places = [ROOT / "src", ROOT / "stages", ROOT / "Makefile", *_packages(dvc, hydra, scmrepo)]
    code = "".join(_joined(path) for place in places for path in _files(place))
    rows = re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs/troubleshooting.md").read_text())
    quoted = re.findall(r"`([^`]+)`", " ".join(rows))
    assert len(quoted) > 20
    assert [message for message in quoted if message not in code] == []


def _packages(*packages):
    return [Path(package.__file__).parent for package in packages]


def _files(place):
    return place.rglob("*.py") if place.is_dir() else [place]


def _joined(path):
    """Source text in which neighbouring string literals are one."""
    return re.sub(r'"\s*\n\s*f?"', "", path.read_text())
