"""README and docs: every command in them runs, every error that they quote is a real one."""

import re
import shutil
import subprocess
from pathlib import Path

import botocore
import dvc
import dvc_data
import dvc_objects
import dvc_studio_client
import hydra
import numpy as np
import pytest
import scmrepo
import typer
import yaml
from helpers import ROOT, commit, environment, git, set_params, with_venv
from markdown_it import MarkdownIt
from own_folders import FOLDERS

from segpipe.cli import app
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import ENCODERS

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
    if "segpipe corrections" in block:
        assert re.search(r"masks, \d+ changed: ", result.stdout), "the masks are others than before"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_its_language_and_can_be_parsed(page):
    for fence in (t for t in MarkdownIt().parse(page.read_text()) if t.type == "fence"):
        assert fence.info in {"sh", "yaml", "python", "js", "text"}, fence.content
        if fence.info == "python":
            compile(fence.content, page.name, "exec")
        elif fence.info == "sh":
            assert subprocess.run(["bash", "-n", "-c", fence.content], check=False).returncode == 0
        elif fence.info == "yaml":
            assert yaml.safe_load(fence.content)


def test_the_readme_links_every_page():
    readme = PAGES[0].read_text()
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme] == []


def test_the_readme_counts_the_encoders_and_decoders_that_there_are():
    said = f"there are {len(ENCODERS)} encoders and {len(DECODERS)} decoders"
    assert said in PAGES[0].read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_one(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text())
    targets = [(page.parent / file if file else page, anchor) for file, anchor in links]
    pages = [(target, anchor) for target, anchor in targets if target.suffix == ".md"]
    assert [anchor for target, anchor in pages if anchor not in anchors(target)] == []


def anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    tokens = MarkdownIt().parse(page.read_text())
    heads = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads]
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}


OPTIONS = [
    (name, option)
    for name, command in typer.main.get_command(app).commands.items()
    for param in command.params
    for option in param.opts
    if option.startswith("-")
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_stands_on_a_page_that_names_its_command(command, option):
    pages = [text for page in PAGES if f"segpipe {command}" in (text := page.read_text())]
    assert any(re.search(rf"(?<![\w-]){option}(?![\w-])", text) for text in pages)


def test_the_table_of_params_has_all_that_a_stage_reads():
    page = (ROOT / "docs/getting-started.md").read_text()
    rows = "".join(re.findall(r"(?m)^\|.*\|$", page)).replace("`.", "`model.encoder.")
    named = [name.rstrip(".") for name in re.findall(r"`([a-z_.]+)(?:\*)?`", rows)]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    read = {param for stage in stages for param in stage.get("do", stage)["params"]}
    assert [key for key in read if not any(f"{key}.".startswith(f"{name}.") for name in named)] == []


def test_quoted_errors_are_those_of_the_code():
    """Each message stands in our code or in DVC's, its string literals joined."""
    places = [ROOT / "src", ROOT / "stages", ROOT / "Makefile", *_packages(dvc, hydra, scmrepo)]
    code = "".join(_joined(path) for place in places for path in _files(place))
    rows = re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs/troubleshooting.md").read_text())
    quoted = re.findall(r"`([^`]+)`", " ".join(rows))
    assert len(quoted) > 20
    assert [message for message in quoted if message not in code] == []


OF_REMOTES = (
    "no remote specified",
    "No remote provided and no default remote set",
    "Checkout failed for following targets",
    "Unable to locate credentials",
    "Could not connect to the endpoint URL",
    "is supported, but requires",
    "Some of the cache files do not exist neither locally nor on remote",
    "Unable to find artifact",
    "No studio config",
)
"""Parts of messages on the page of remotes, which DVC and its libraries print."""


@pytest.fixture(scope="module")
def code_of_remotes():
    places = _packages(dvc, dvc_data, dvc_objects, dvc_studio_client, botocore)
    return "".join(_joined(path) for place in places for path in _files(place))


@pytest.mark.parametrize("message", OF_REMOTES)
def test_messages_on_the_page_of_remotes_are_those_of_its_libraries(message, code_of_remotes):
    assert message in (ROOT / "docs/remotes.md").read_text()
    assert message in code_of_remotes


def _packages(*packages):
    return [Path(package.__file__).parent for package in packages]


def _files(place):
    return place.rglob("*.py") if place.is_dir() else [place]


def _joined(path):
    """Source text in which neighbouring string literals are one."""
    return re.sub(r'"\s*\n\s*f?"', "", path.read_text())
